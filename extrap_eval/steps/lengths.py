"""How long correct, incorrect and cut completions are, by the difficulty of their problems (e3 Fig. 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.quantiles import trace_quantile
from extrap_eval.metrics.traces import trace_mean
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.curves import named
from extrap_eval.steps.endings import ALL, ENDINGS, endings, in_ending
from extrap_eval.steps.outcomes import RunOutcomes, as_run, outcomes, sampled_maximum

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run

By = Literal["difficulty", "accuracy", "all"]
_MOST_PARTS = 6  # different difficulties; more than that are put together in thirds


@dataclass(frozen=True, eq=False)
class Lengths:
    """The completions of a run at the sampled maximum. ``parts``: name -> its problems, bool (P,), easiest first;
    ``by``: what they are parts by; ``codes`` int8 (P, n): index into ``endings.ENDINGS``.
    """

    found: RunOutcomes
    codes: np.ndarray
    parts: dict[str, np.ndarray]
    by: By

    @property
    def cap(self) -> int:
        """Tokens up to which was sampled."""
        return int(self.found.budgets[-1])


def lengths(
    run: str | Path | Run, *, by: By | None = None, n: int | None = None, rule: AnswerRule = AnswerRule()
) -> Lengths:
    """The lengths of a scored run's completions, by part.

    ``by`` "difficulty": that of the benchmark, each value a part, in thirds where there are more than six; "accuracy":
    thirds of the problems by this run's own pass@1, which tells nothing new about how often a part is solved; "all":
    one part. By default difficulty where the benchmark gives it for every problem, accuracy where not. Problems of one
    value stay together, so thirds may differ in size, and be fewer. Raises UserError as ``steps.outcomes.outcomes``
    does, and for a difficulty that is not known.
    """
    run = as_run(run)
    found = outcomes(run, [sampled_maximum(run)], rule=rule, n=n)
    known = {problem.id: problem.difficulty for problem in run.problems()}
    difficulties = [known[id] for id in found.problem_ids]
    missing = [id for id, value in zip(found.problem_ids, difficulties, strict=True) if value is None]
    chosen: By = by or ("accuracy" if missing else "difficulty")
    if chosen == "difficulty":
        if missing:
            raise UserError(
                f"{run.path}: {len(missing)} of {len(difficulties)} problems have no difficulty (first: {missing[0]}): "
                "use --by accuracy"
            )
        parts = _by_difficulty(np.array(difficulties, np.float64))
    elif chosen == "accuracy":
        parts = _by_accuracy(found.correct[..., 0].mean(axis=1))
    else:
        parts = {ALL: np.ones(len(difficulties), bool)}
    return Lengths(found, endings(found)[..., 0], parts, chosen)


def length_rows(read: Lengths) -> pd.DataFrame:
    """One row per completion: model, benchmark, by, part, ending, n_tokens, cap, training_budget."""
    import pandas as pd

    found = read.found
    tables = []
    for part, problems in read.parts.items():
        names = np.array(ENDINGS)[read.codes[problems].ravel()]
        tables.append(pd.DataFrame({"part": part, "ending": names, "n_tokens": found.n_tokens[problems].ravel()}))
    table = pd.concat(tables, ignore_index=True)
    facts = {"model": found.model, "benchmark": found.benchmark, "by": read.by}
    table = table.assign(**facts, cap=read.cap, training_budget=found.training_budget)
    return table.astype({"training_budget": "Int64"})


def length_table(read: Lengths, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """One row per part (and "all" where there are several) and ending (and "all").

    Columns: model, benchmark, by, part, ending, problems (that have such completions), completions, share (of the
    part's), and in tokens mean, median and p90 (90th percentile), each with its _low and _high (intervals over
    problems, every completion counting the same; nan without completions, or with those of one problem).
    """
    import pandas as pd

    found = read.found
    draws = intervals.resamples(len(found.problem_ids), resamples, seed)
    everything = {ALL: np.ones(len(found.problem_ids), bool)}
    rows: list[dict[str, Any]] = []
    for part, problems in (read.parts | everything if len(read.parts) > 1 else read.parts).items():
        for ending in (ALL, *ENDINGS):
            inside = in_ending(read.codes, ending) & problems[:, None]
            values = np.where(inside, found.n_tokens, np.nan)
            row: dict[str, Any] = {
                "model": found.model,
                "benchmark": found.benchmark,
                "by": read.by,
                "part": part,
                "ending": ending,
                "problems": int(inside.any(axis=1).sum()),
                "completions": int(inside.sum()),
                "share": inside.sum() / (problems.sum() * found.n),
            }
            estimates = {
                "mean": trace_mean(values, draws, level=level, weigh="trace", fractions=False),
                "median": trace_quantile(values, draws, 0.5, level=level),
                "p90": trace_quantile(values, draws, 0.9, level=level),
            }
            for name, estimate in estimates.items():
                row |= {name: float(estimate.value), f"{name}_low": float(estimate.low)}
                row |= {f"{name}_high": float(estimate.high)}
            rows.append(row)
    return pd.DataFrame(rows)


def lengths_of_runs(runs: Sequence[str | Path | Run], **options: Any) -> list[tuple[str, Lengths]]:
    """``lengths`` of several runs, those of one model and benchmark told apart by their folder."""
    return [(name, lengths(run, **options)) for name, run in named(runs)]


def _by_difficulty(values: np.ndarray) -> dict[str, np.ndarray]:
    distinct = np.unique(values)
    if len(distinct) <= _MOST_PARTS:
        return {f"difficulty {value:g}": values == value for value in distinct.tolist()}
    return {f"difficulty {_span(values[part], 1, 'g')}": part for part in _thirds(values)}


def _by_accuracy(accuracy: np.ndarray) -> dict[str, np.ndarray]:
    parts = _thirds(accuracy)[::-1]
    names = {1: ("all",), 2: ("easy", "hard"), 3: ("easy", "middle", "hard")}[len(parts)]
    return {
        f"{name}: pass@1 {_span(accuracy[part], 100, '.0f')} %": part for name, part in zip(names, parts, strict=True)
    }


def _thirds(values: np.ndarray) -> list[np.ndarray]:
    """Masks (P,) of up to three parts, smallest values first; equal values are in one part."""
    group = np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values, side="left")
    return [group == place for place in np.unique(group).tolist()]


def _span(values: np.ndarray, factor: int, form: str) -> str:
    low, high = (format(factor * end, form) for end in (values.min(), values.max()))
    return low if low == high else f"{low}–{high}"

"""Chained asymmetries (e3, arXiv 2506.09026, section 2): attempts and verifications within a trace, and their worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import efficiency, intervals
from extrap_eval.metrics.majk import class_counts, maj_at_k_many
from extrap_eval.metrics.passk import pass_at_k, powers_of_two
from extrap_eval.metrics.traces import of_problems, trace_mean
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.episodes import Rules
from extrap_eval.steps.outcomes import as_run
from extrap_eval.steps.stopped import Chained, Unit, read_chained

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from extrap_eval.store import Run


def count_table(found: Chained, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How many verifications, candidates and episodes right and wrong traces have.

    One row per unit and part: "right", "wrong" (mean over all such traces) and "difference" (right - wrong within a
    problem, mean over the problems that have both, so that it is not that between easy and hard ones). Columns: model,
    benchmark, unit, part, value, low, high, traces, problems (that count). nan where there are none.
    """
    import pandas as pd

    draws = intervals.resamples(len(found.problem_ids), resamples, seed)
    rows = []
    for unit, counts in found.counts.items():
        parts = {name: np.where(found.right == (name == "right"), counts, np.nan) for name in ("right", "wrong")}
        for name, values in parts.items():
            mean = trace_mean(values, draws, level=level, weigh="trace", fractions=False)
            there = ~np.isnan(values)
            rows.append((unit, name, mean, int(there.sum()), int(there.any(axis=1).sum())))
        with_both = found.right.any(axis=1, keepdims=True) & ~found.right.all(axis=1, keepdims=True)
        sums = [np.nansum(values, axis=1, keepdims=True) for values in parts.values()]
        sizes = [np.maximum((~np.isnan(values)).sum(axis=1, keepdims=True), 1) for values in parts.values()]
        change = np.where(with_both, sums[0] / sizes[0] - sums[1] / sizes[1], np.nan)
        mean = trace_mean(change, draws, level=level, fractions=False)
        rows.append((unit, "difference", mean, found.n * int(with_both.sum()), int(with_both.sum())))
    return pd.DataFrame(
        [
            {
                "model": found.model,
                "benchmark": found.benchmark,
                "unit": unit,
                "part": part,
                "value": float(mean.value),
                "low": float(mean.low),
                "high": float(mean.high),
                "traces": traces,
                "problems": problems,
            }
            for unit, part, mean, traces, problems in rows
        ]
    )


def trace_table(found: Chained, unit: Unit = "verifications") -> pd.DataFrame:
    """One row per trace, for its histogram: model, benchmark, problem_id, sample_index, part (right, wrong), and one
    column per unit with its number; ``count`` is that of ``unit``.
    """
    import pandas as pd

    problems, samples = np.indices(found.right.shape)
    table = pd.DataFrame(
        {
            "model": found.model,
            "benchmark": found.benchmark,
            "problem_id": np.array(found.problem_ids)[problems.ravel()],
            "sample_index": samples.ravel(),
            "part": np.where(found.right.ravel(), "right", "wrong"),
        }
    )
    for each, counts in found.counts.items():
        table[each] = counts.ravel()
    return table.assign(count=table[unit])


def cap_table(
    found: Chained, *, ks: Sequence[int] | None = None, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """pass@k of traces that are stopped after at most j attempts, exact (e3, Fig. 10, read off the traces themselves).

    Columns: model, benchmark, vote ("pass"), unit, group (j, a cap), k (default: powers of two up to n), tokens (of all
    k stopped traces, mean), value, low, high. ``probe`` and ``plot --figure grid`` do the same with an answer that is
    forced after j groups of episodes. Raises UserError for k beyond the samples.
    """
    import pandas as pd

    chosen = powers_of_two(found.n) if ks is None else sorted(set(ks))
    if not chosen or not 1 <= chosen[0] <= chosen[-1] <= found.n:
        raise UserError(f"{found.model}: --k: {chosen} is not in 1..{found.n}, the samples per problem")
    draws = intervals.resamples(len(found.problem_ids), resamples, seed)
    last = np.full(found.right.shape, len(found.caps) - 1)
    nothing = np.zeros(found.tokens.shape)
    grid = efficiency.attempt_grid(
        found.class_id[..., None], found.correct[..., None], found.tokens, nothing, last, chosen, draws, level=level
    )
    common = {"model": found.model, "benchmark": found.benchmark, "vote": "pass", "unit": found.unit}
    return pd.DataFrame(
        [
            common
            | {"group": cap, "k": k, "tokens": grid.tokens[j, i]}
            | {name: getattr(grid.value, name)[j, i] for name in ("value", "low", "high")}
            for j, cap in enumerate(found.caps)
            for i, k in enumerate(grid.ks)
        ]
    )


def gap_table(found: Chained, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The verification-generation gap of e3, Definition 2.1, as differences with intervals, one row per cap j.

    The definition, in substance: a model has the gap on a problem if generating, then verifying and generating anew
    what was found wrong, for some number of tokens, earns more reward than generating alone. Measured here, on traces
    that the model sampled as it pleased: *chained*, the accuracy of one trace stopped after at most j attempts, whose
    answer is the one that its own verification left standing; *alone*, the accuracy of the last answer tried within the
    first attempt. ``gap`` is chained - alone. The definition starts the two procedures on purpose, by prompts, and
    takes expectations at a given length; here the model decides when to verify, and a first attempt may hold some
    verification of its own where attempts are episodes (take ``unit`` "candidates" to have none).

    What the same number of generations is worth without chaining: *votes*, exact maj@j of the first attempts of j
    traces (nobody verifies), and *best*, their pass@j (perfect verification). ``over_votes`` is chained - votes. Both
    are missing for j > n. Columns: model, benchmark, unit, candidates (what was taken for an answer that is tried),
    attempts (j), alone, chained, votes, best, gap, over_votes, each with its _low and _high (over problems; differences
    are paired), tokens (mean, of the stopped trace), tokens_apart (of j first attempts), tried (share of the first
    attempts that try an answer at all), n, problems.
    """
    import pandas as pd

    problems = len(found.problem_ids)
    draws = intervals.resamples(problems, resamples, seed)
    votes = class_counts(found.first_class, found.first_right)
    first = found.first_right.mean(axis=1)
    rows = []
    for i, j in enumerate(found.caps):
        chained = found.correct[..., i].mean(axis=1)
        apart = j <= found.n
        nothing = np.full(problems, np.nan)
        voted = maj_at_k_many(*votes, j, "abstain")[0] if apart else nothing
        best = pass_at_k(found.first_right.sum(axis=1), found.n, j) if apart else nothing
        row = {
            "model": found.model,
            "benchmark": found.benchmark,
            "unit": found.unit,
            "candidates": str(found.rule),
            "attempts": j,
        }
        for name, values in {"alone": first, "chained": chained, "votes": voted, "best": best}.items():
            if name in ("alone", "chained") or apart:
                mean = of_problems(values, draws, level=level)
                row |= {name: float(mean.value), f"{name}_low": float(mean.low), f"{name}_high": float(mean.high)}
            else:
                row |= {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
        for name, change in {"gap": chained - first, "over_votes": chained - voted}.items():
            low, high = (np.nan, np.nan)
            if not np.isnan(change).any():
                low, high = (float(end) for end in intervals.difference_interval(change, draws, level))
            row |= {name: float(change.mean()), f"{name}_low": low, f"{name}_high": high}
        rows.append(
            row
            | {
                "tokens": float(found.tokens[..., i].mean()),
                "tokens_apart": j * _first_tokens(found),
                "tried": float((found.first_class >= 0).mean()),
                "n": found.n,
                "problems": problems,
            }
        )
    return pd.DataFrame(rows)


def _first_tokens(found: Chained) -> float:
    """Mean tokens of a trace stopped after its first attempt; nan where that was not among the caps."""
    return float(found.tokens[..., 0].mean()) if found.caps[0] == 1 else float("nan")


@dataclass(frozen=True, eq=False)
class ChainedTables:
    """``count_table``, ``cap_table``, ``gap_table`` and ``trace_table`` of several runs, one below the other."""

    counts: pd.DataFrame
    caps: pd.DataFrame
    gap: pd.DataFrame
    traces: pd.DataFrame


def chained_tables(
    runs: Sequence[str | Path | Run],
    *,
    unit: Unit = "episodes",
    caps: Sequence[int] | None = None,
    ks: Sequence[int] | None = None,
    phrases: Sequence[str] | None = None,
    rules: Rules = Rules(),
    pattern: str | None = None,
    n: int | None = None,
    level: float = 0.95,
    answer_rule: AnswerRule = AnswerRule(),
) -> ChainedTables:
    """All tables of scored runs, as ``read_chained`` reads them. Raises UserError as that and the tables do."""
    import pandas as pd

    opened = [as_run(run) for run in runs]
    parts: list[list[pd.DataFrame]] = []
    for run, name in zip(opened, run_names(opened), strict=True):
        found = read_chained(
            run, unit=unit, caps=caps, phrases=phrases, rules=rules, pattern=pattern, n=n, answer_rule=answer_rule
        )
        tables = (
            count_table(found, level=level),
            cap_table(found, ks=ks, level=level),
            gap_table(found, level=level),
            trace_table(found),
        )
        parts.append([table.assign(model=name) for table in tables])
    return ChainedTables(*(pd.concat(each, ignore_index=True) for each in zip(*parts, strict=True)))


def draw_chained(
    runs: Sequence[str | Path | Run],
    *,
    ks: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    rule: AnswerRule = AnswerRule(),
) -> Figure:
    """The figure of ``chained_tables``."""
    from extrap_eval.figures import chained_attempts

    tables = chained_tables(runs, ks=ks, n=n, level=level, answer_rule=rule)
    return chained_attempts(tables.traces, tables.caps, tables.gap)

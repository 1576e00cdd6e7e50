"""Which problems several runs never solve, and which of these they have in common (RLVR-exploration, Fig. 1c)."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.traces import of_problems
from extrap_eval.metrics.unsolvable import chance_unsolved, exactly, never_right, overlap
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.likeness import refuse_unlike
from extrap_eval.steps.outcomes import as_run, outcomes, sampled_maximum

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from extrap_eval.store import Run

_MOST_RUNS = 12  # 4095 regions


@dataclass(frozen=True, eq=False)
class UnsolvedSets:
    """The k-rollout unsolvable sets of M runs on the same P problems, at one budget.

    ``chances`` float64 (M, P): probability that k random ones of a run's samples are all wrong. ``inside`` bool (M, P):
    the set of the first k samples; with k = n both say the same. ``samples`` (M,): n of each run.
    """

    names: tuple[str, ...]
    benchmark: str
    k: int
    budget: int
    samples: tuple[int, ...]
    problem_ids: tuple[str, ...]
    chances: np.ndarray
    inside: np.ndarray
    unlike: tuple[str, ...]

    @property
    def overlap(self) -> float:
        """Share of the problems in any of the sets of the first k samples that is in all of them; nan without any."""
        return float(overlap(self.inside))


def read_unsolved(
    runs: Sequence[str | Path | Run],
    *,
    k: int | None = None,
    budget: int | None = None,
    n: int | None = None,
    layer: str = "default",
    rule: AnswerRule = AnswerRule(),
    allow: Collection[str] = (),
) -> UnsolvedSets:
    """The unsolvable sets of scored runs. ``k``: default as many samples as all runs have (of the first ``n``).

    ``budget``: default the most tokens that all runs were sampled to. ``allow``: in what they may differ besides the
    model (``likeness.LIKENESS`` without problems). Raises UserError for runs that differ otherwise, for k beyond the
    samples, for too many runs, for one that is given twice, and as ``outcomes`` does.
    """
    opened = [as_run(run) for run in runs]
    if not 1 <= len(opened) <= _MOST_RUNS:
        raise UserError(f"{len(opened)} runs: unsolvable sets are compared for 1 to {_MOST_RUNS}")
    paths = [run.path.resolve() for run in opened]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UserError(f"{twice}: is given twice: name every run once")
    if "problems" in allow:
        raise UserError("--allow: problems: sets of different problems have nothing in common")
    unlike = tuple(dict.fromkeys(d for other in opened[1:] for d in refuse_unlike(opened[0], other, layer, allow)))
    at = min(map(sampled_maximum, opened)) if budget is None else budget
    found = [outcomes(run, [at], layer, rule, n=n) for run in opened]
    for run, each in zip(opened[1:], found[1:], strict=True):
        if each.problem_ids != found[0].problem_ids:
            raise UserError(f"{run.path} and {opened[0].path} leave out different problems: score both again")
    most = min(each.n for each in found)
    size = most if k is None else k
    if not 1 <= size <= most:
        raise UserError(f"--k: {size} is not in 1..{most}, the samples per problem that every run has")
    return UnsolvedSets(
        names=tuple(run_names(opened)),
        benchmark=found[0].benchmark,
        k=size,
        budget=int(at),
        samples=tuple(each.n for each in found),
        problem_ids=found[0].problem_ids,
        chances=np.stack([chance_unsolved(each.correct[..., 0].sum(axis=1), each.n, size) for each in found]),
        inside=np.stack([never_right(each.correct[..., 0], size) for each in found]),
        unlike=unlike,
    )


def set_table(sets: UnsolvedSets, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """One row per run: model, benchmark, budget, k, n, problems, expected (mean size of the set over all choices of k
    of the n samples, exact), low, high (interval over problems, in problems), size (the set of the first k samples).
    """
    import pandas as pd

    problems = len(sets.problem_ids)
    found = of_problems(sets.chances, intervals.resamples(problems, resamples, seed), level=level)
    return pd.DataFrame(
        {
            "model": sets.names,
            "benchmark": sets.benchmark,
            "budget": sets.budget,
            "k": sets.k,
            "n": sets.samples,
            "problems": problems,
            "expected": problems * found.value,
            "low": problems * found.low,
            "high": problems * found.high,
            "size": sets.inside.sum(axis=1),
        }
    )


def region_table(sets: UnsolvedSets, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """One row per combination of runs: the problems that exactly these leave unsolved, the most runs first.

    Columns: benchmark, budget, k, members ("101": of the first and the third run), models (their names, joined by
    " + "), expected, low, high (problems), size (in the sets of the first k samples), problem_ids (those, joined by
    spaces). With more than three runs, combinations that no problem is in are left out.
    """
    import pandas as pd

    problems = len(sets.problem_ids)
    draws = intervals.resamples(problems, resamples, seed)
    ids = np.array(sets.problem_ids)
    rows = []
    for members in sorted(itertools.product((True, False), repeat=len(sets.names)), key=lambda m: (-sum(m), *_not(m))):
        if not any(members):
            continue
        inside = exactly(sets.inside, members) > 0.5
        if len(sets.names) > 3 and not inside.any():
            continue
        found = of_problems(exactly(sets.chances, members), draws, level=level)
        rows.append(
            {
                "benchmark": sets.benchmark,
                "budget": sets.budget,
                "k": sets.k,
                "members": "".join("01"[member] for member in members),
                "models": " + ".join(name for name, member in zip(sets.names, members, strict=True) if member),
                "expected": problems * float(found.value),
                "low": problems * float(found.low),
                "high": problems * float(found.high),
                "size": int(inside.sum()),
                "problem_ids": " ".join(ids[inside]),
            }
        )
    columns = ["benchmark", "budget", "k", "members", "models", "expected", "low", "high", "size", "problem_ids"]
    return pd.DataFrame(rows, columns=columns)


def draw_unsolvable(
    runs: Sequence[str | Path | Run],
    *,
    ks: Sequence[int] | None = None,
    budgets: Sequence[int] | None = None,
    n: int | None = None,
    rule: AnswerRule = AnswerRule(),
) -> Figure:
    """The picture of the sets of ``read_unsolved``. Raises UserError for several k or budgets, and as that does."""
    from extrap_eval.figures import unsolvable_sets

    k, budget = (one_of(option, values) for option, values in (("--k", ks), ("--budgets", budgets)))
    sets = read_unsolved(runs, k=k, budget=budget, n=n, rule=rule)
    return unsolvable_sets(set_table(sets), region_table(sets))


def one_of(option: str, values: Sequence[int] | None) -> int | None:
    """The only one of these values, None for none. UserError for several."""
    if values is not None and len(values) > 1:
        raise UserError(f"{option}: {', '.join(map(str, values))}: one is needed here, not {len(values)}")
    return values[0] if values else None


def _not(members: tuple[bool, ...]) -> tuple[bool, ...]:
    return tuple(not member for member in members)

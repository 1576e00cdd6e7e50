"""Which budget to train at, by e3's Eq. 3, in both of its readings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.budgets import FoundBudget, Reading, training_budget
from extrap_eval.metrics.extrapolation import gain
from extrap_eval.metrics.traces import of_problems
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.outcomes import as_run, default_budgets, outcomes, problem_values, sampled_maximum

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run


@dataclass(frozen=True)
class Choice:
    """The budget that one reading chooses, and its condition in words."""

    reading: Reading
    found: FoundBudget
    condition: str


def choices(
    budgets: Sequence[int],
    values: np.ndarray,
    doubled: np.ndarray,
    lengths: np.ndarray,
    draws: np.ndarray,
    *,
    kappa: float = 1.2,
    floor: int | None = None,
    level: float = 0.95,
) -> Iterator[Choice]:
    """Both readings of Eq. 3 over candidate ``budgets`` (B,), ascending.

    ``values`` and ``doubled`` (B, P): each problem's pass@1 at B and at 2B; ``lengths`` (P,): mean tokens of its
    completions, whose mean is the least budget of the workshop's reading; ``floor``: B0 of the full paper's, by default
    the smallest candidate.
    """
    least = floor or budgets[0]
    readings: tuple[tuple[Reading, np.ndarray | int, str], ...] = (
        ("workshop", lengths, f"J(2B) ≥ {kappa:g}·J(B), B ≥ mean length ({lengths.mean():.0f} tokens)"),
        ("paper", least, f"J(2B) ≤ {kappa:g}·J(B), B ≥ B0 ({least} tokens)"),
    )
    for reading, at_least, condition in readings:
        found = training_budget(budgets, values, doubled, at_least, draws, reading=reading, kappa=kappa, level=level)
        yield Choice(reading, found, condition)


@dataclass(frozen=True, eq=False)
class TrainingBudgets:
    """What Eq. 3 says about a run. ``candidates``: one row each; see ``training_budgets``."""

    candidates: pd.DataFrame
    choices: tuple[Choice, ...]


def training_budgets(
    run: str | Path | Run,
    *,
    budgets: Sequence[int] | None = None,
    n: int | None = None,
    kappa: float = 1.2,
    floor: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    rule: AnswerRule = AnswerRule(),
) -> TrainingBudgets | None:
    """Every candidate budget of Eq. 3 with what decides about it, and the choices of both readings.

    ``budgets``: candidates, by default ``default_budgets`` as far as their double was sampled; None where there are no
    such. Columns of the candidates: model, benchmark, budget, value, low, high (J(B), pass@1), doubled (J(2B)), ratio,
    ratio_low, ratio_high (J(2B) / J(B), paired), workshop and paper: the share of resamples of the problems in which
    that reading chooses this budget (nan for a single problem). A last row with the budget inf has the share of those
    that choose none, if there are any. Raises UserError as ``steps.outcomes.outcomes`` does, among others for a given
    budget whose double was not sampled.
    """
    import pandas as pd

    run = as_run(run)
    largest = sampled_maximum(run)
    if budgets is not None and (beyond := [b for b in budgets if 2 * b > largest]):
        raise UserError(
            f"{run.path}: budget: twice {beyond[0]} is more than the {largest} tokens sampled: choose smaller ones"
        )
    candidates = [b for b in sorted(set(budgets or default_budgets(run))) if 2 * b <= largest]
    if not candidates:
        return None
    found = outcomes(run, sorted({*candidates, *(2 * b for b in candidates)}), rule=rule, n=n)
    solved, _ = problem_values(found, "pass@k", 1)
    values, doubled = (solved[np.searchsorted(found.budgets, np.multiply(candidates, by))] for by in (1, 2))
    draws = intervals.resamples(len(found.problem_ids), resamples, seed)
    lengths = found.n_tokens.mean(axis=1)
    chosen = tuple(choices(candidates, values, doubled, lengths, draws, kappa=kappa, floor=floor, level=level))
    estimate = of_problems(values, draws, level=level)
    rows = []
    for i, budget in enumerate(candidates):
        gained = gain(values[i], doubled[i], draws, budgets=(budget, 2 * budget), level=level)
        rows.append(
            {
                "budget": float(budget),
                "value": float(estimate.value[i]),
                "low": float(estimate.low[i]),
                "high": float(estimate.high[i]),
                "doubled": float(doubled[i].mean()),
                "ratio": gained.ratio,
                "ratio_low": gained.ratio_low,
                "ratio_high": gained.ratio_high,
            }
        )
    if any(budget == math.inf for choice in chosen for budget, _ in choice.found.shares):
        rows.append({"budget": math.inf})
    for row in rows:
        for choice in chosen:
            known = dict(choice.found.shares)
            row[choice.reading] = known.get(row["budget"], 0.0) if known else math.nan
    table = pd.DataFrame(rows)
    table.insert(0, "model", found.model)
    table.insert(1, "benchmark", found.benchmark)
    return TrainingBudgets(table, chosen)

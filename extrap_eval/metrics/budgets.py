"""Budgets that a curve points to: where it saturates, and which one to train at (e3, Eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.intervals import resampled_means

Reading = Literal["workshop", "paper"]


@dataclass(frozen=True)
class FoundBudget:
    """A budget with its interval over problems, in tokens; inf: none of those that were looked at.

    ``agreement``: share of resamples that point to the same one. low and high are nan for a single problem. ``shares``:
    the budgets that resamples point to, ascending, each with the share that does; empty for a single problem.
    """

    budget: float
    low: float
    high: float
    agreement: float
    shares: tuple[tuple[float, float], ...] = ()


def saturation_budget(
    budgets: npt.ArrayLike, values: npt.ArrayLike, draws: np.ndarray, *, tolerance: float = 0.01, level: float = 0.95
) -> FoundBudget:
    """The smallest budget after which accuracy grows by no more than ``tolerance`` (a fraction).

    ``budgets`` (B,) ascending, ``values`` (B, P) in [0, 1]. The largest budget has none after it, so a result there
    means that growth was not seen to end.
    """
    at, array = np.asarray(budgets, np.float64), np.asarray(values, np.float64)

    def find(means: np.ndarray) -> np.ndarray:  # (B, ...) -> (...)
        best_after = np.maximum.accumulate(means[::-1], axis=0)[::-1]
        return np.asarray(at[(best_after - means <= tolerance + 1e-12).argmax(axis=0)])

    return _found(find, [array], draws, level)


def training_budget(
    budgets: npt.ArrayLike,
    values: npt.ArrayLike,
    doubled: npt.ArrayLike,
    floor: npt.ArrayLike,
    draws: np.ndarray,
    *,
    reading: Reading,
    kappa: float = 1.2,
    level: float = 0.95,
) -> FoundBudget:
    """B*_tr of e3's Eq. 3: the smallest budget of a set that meets a condition on J(2B) / J(B) and a floor.

    ``budgets`` (B,) ascending; ``values`` and ``doubled`` (B, P): each problem's accuracy at B and at 2B. "workshop"
    asks for J(2B) >= kappa J(B), "paper" for J(2B) <= kappa J(B). ``floor``: B must be at least that: a number of
    tokens (B0, the paper), or one per problem (P,), of which the mean counts (mean completion length, the workshop).
    A budget at which nothing is solved, nor at its double, meets neither condition.
    """
    if reading not in ("workshop", "paper"):
        raise ValueError(f"reading must be 'workshop' or 'paper', not {reading!r}")
    at = np.asarray(budgets, np.float64)
    problems = draws.shape[1]
    least = np.broadcast_to(np.asarray(floor, np.float64), (problems,))

    def find(first: np.ndarray, second: np.ndarray, lowest: np.ndarray) -> np.ndarray:
        enough = second >= kappa * first - 1e-12 if reading == "workshop" else second <= kappa * first + 1e-12
        place = at.reshape(-1, *(1,) * (first.ndim - 1))
        meets = enough & (second > 0) & (place >= lowest - 1e-9)
        return np.where(meets.any(axis=0), at[meets.argmax(axis=0)], np.inf)

    series = [np.asarray(each, np.float64) for each in (values, doubled)]
    return _found(find, [*series, least], draws, level)


def _found(find: Callable[..., np.ndarray], series: list[np.ndarray], draws: np.ndarray, level: float) -> FoundBudget:
    budget = float(find(*[each.mean(axis=-1) for each in series]))
    if draws.shape[1] < 2:
        return FoundBudget(budget, math.nan, math.nan, math.nan)
    drawn = find(*[resampled_means(each, draws) for each in series])
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    low, high = min(float(ends[0]), budget), max(float(ends[1]), budget)
    chosen, counts = np.unique(drawn, return_counts=True)
    shares = tuple(zip(chosen.tolist(), (counts / len(drawn)).tolist(), strict=True))
    return FoundBudget(budget, low, high, float((drawn == budget).mean()), shares)

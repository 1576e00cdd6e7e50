"""Does the model use tokens beyond its training budget? The gain from B_tr to 2 B_tr, with a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.intervals import (
    accelerated_interval,
    agreement_bound,
    difference_interval,
    resampled_means,
    smallest_detectable,
)


@dataclass(frozen=True)
class Gain:
    """J(B) is the mean over problems; fractions, not points."""

    difference: float  # J(2B) - J(B)
    low: float
    high: float
    ratio: float  # J(2B) / J(B); inf or nan where J(B) = 0
    ratio_low: float
    ratio_high: float
    detectable: float  # smallest difference found with 80 % power
    verdict: str  # one sentence, in percentage points


def gain(
    at_budget: npt.ArrayLike,
    at_double: npt.ArrayLike,
    draws: np.ndarray,
    *,
    budgets: tuple[int, int],
    level: float = 0.95,
) -> Gain:
    """Paired gain from one budget to another, usually B_tr and 2 B_tr.

    ``at_budget`` and ``at_double`` float (P,): the same problems' values (for example pass@1 per problem) at
    ``budgets[0]`` and ``budgets[1]`` completion tokens; ``draws`` from ``intervals.resamples``. The ratio is
    the quantity of e3's rule for choosing a training budget (Eq. 3). Raises ValueError for different shapes.
    """
    first, second = np.asarray(at_budget, dtype=np.float64), np.asarray(at_double, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"values must be (P,) at both budgets, not {first.shape} and {second.shape}")
    change = second - first
    low, high = (float(end) for end in difference_interval(change, draws, level))
    ratio, ratio_low, ratio_high = _ratio(first, second, draws, level)
    difference = float(change.mean())
    detectable = smallest_detectable(change, level)
    return Gain(
        difference=difference,
        low=low,
        high=high,
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        detectable=detectable,
        verdict=_sentence(difference, low, high, detectable, budgets, level),
    )


def _ratio(first: np.ndarray, second: np.ndarray, draws: np.ndarray, level: float) -> tuple[float, float, float]:
    base = float(first.mean())
    if base <= 0:
        return (math.inf if second.mean() > 0 else math.nan), math.nan, math.nan
    ratio = float(second.mean()) / base
    influence = (second - ratio * first) / base
    if np.abs(second - first).max() < 1e-12:  # no problem changed: the bound on the difference, over J(B)
        bound = agreement_bound(len(first), level) / base if len(first) > 1 else math.nan
        return ratio, max(0.0, 1 - bound), 1 + bound
    bottom, top = resampled_means(first, draws), resampled_means(second, draws)
    resampled = np.full(len(draws), np.inf)  # a resample without any success at the first budget
    np.divide(top, bottom, out=resampled, where=bottom > 0)
    low, high = accelerated_interval(ratio, resampled, influence, level)
    return ratio, max(0.0, float(low)), float(high)


def _sentence(
    difference: float, low: float, high: float, detectable: float, budgets: tuple[int, int], level: float
) -> str:
    gained = f"{_points(difference)} points from {budgets[0]} to {budgets[1]} tokens"
    if math.isnan(low):
        return f"{gained} (one problem: no interval)"
    span = f"{100 * level:g} % CI {_points(low)} … {_points(high)}"
    if low > 0 or high < 0:
        return f"{gained} ({span})"
    smallest = f"smallest detectable gain ≈ {100 * detectable:.1f} points"
    return f"indistinguishable at this n ({gained}, {span}; {smallest})"


def _points(fraction: float) -> str:
    text = f"{100 * fraction:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")

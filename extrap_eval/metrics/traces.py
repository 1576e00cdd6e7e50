"""Means over traces, with intervals over problems.

Arrays about traces have the shape (P, n, ...): P problems, n samples each. Traces differ in what they have (the number
of episodes, whether they were extended), so nan stands for what a trace does not have and means leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.intervals import accelerated_interval, interval, resampled_means

Weighing = Literal["problem", "trace"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value with its interval; float64 arrays of one shape. Where fewer than two problems count, low and high are
    nan."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def trace_mean(
    values: npt.ArrayLike,
    draws: np.ndarray,
    *,
    level: float = 0.95,
    weigh: Weighing = "problem",
    fractions: bool = True,
) -> Estimate:
    """Mean of (P, n, ...) over the traces that have the value, as an estimate of shape (...).

    ``weigh`` "problem": first over the traces of a problem, then over the problems that have one; "trace": every trace
    counts the same. ``fractions``: the values lie in [0, 1], which allows a better interval; give False for tokens and
    differences. ``draws`` from ``intervals.resamples``. nan where no trace has the value.
    """
    array = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(array)
    counts = np.moveaxis(there.sum(axis=1), 0, -1)  # (..., P)
    sums = np.moveaxis(np.where(there, array, 0.0).sum(axis=1), 0, -1)
    means = sums / np.maximum(counts, 1)
    weights = counts if weigh == "trace" else (counts > 0).astype(np.int64)
    if not fractions:
        return ratio_of_means(weights * means, weights, draws, level=level)
    with np.errstate(invalid="ignore"):
        value = (weights * means).sum(axis=-1) / weights.sum(axis=-1)
    return Estimate(value, *interval(means, draws, level, weights))


def ratio_of_means(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, draws: np.ndarray, *, level: float = 0.95
) -> Estimate:
    """The sum over problems of ``numerators`` (..., P) over that of ``denominators`` (..., P, not negative).

    Only problems with a positive denominator count. The interval is the bias-corrected accelerated one of
    ``intervals.accelerated_interval``. nan where no problem counts.
    """
    top, bottom = np.broadcast_arrays(np.asarray(numerators, np.float64), np.asarray(denominators, np.float64))
    counts = bottom > 0
    top, bottom = np.where(counts, top, 0.0), np.where(counts, bottom, 0.0)
    shape = top.shape[:-1]
    value, low, high = (np.full(shape, np.nan) for _ in range(3))
    drawn_top, drawn_bottom = resampled_means(top, draws), resampled_means(bottom, draws)
    for where in np.ndindex(shape):
        here = counts[where]
        if not here.any():
            continue
        ratio = top[where].sum() / bottom[where].sum()
        drawn = drawn_bottom[where] > 0
        # Resamples in which no problem counts are replaced by repeating the others.
        resampled = np.resize(drawn_top[where][drawn] / drawn_bottom[where][drawn], len(draws))
        influence = (top[where] - ratio * bottom[where])[here]
        value[where] = ratio
        low[where], high[where] = accelerated_interval(ratio, resampled, influence, level)
    return Estimate(value, low, high)


def of_problems(values: npt.ArrayLike, draws: np.ndarray, *, level: float = 0.95) -> Estimate:
    """Mean over problems of fractions (..., P), one per problem, as an estimate of shape (...)."""
    array = np.asarray(values, dtype=np.float64)
    return Estimate(array.mean(axis=-1), *interval(array, draws, level))

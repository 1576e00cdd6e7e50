"""Quantiles of what traces have, with intervals over problems."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.intervals import t_quantile
from extrap_eval.metrics.traces import Estimate

_AT_ONCE = 4_000_000  # weights in memory


def trace_quantile(values: npt.ArrayLike, draws: np.ndarray, quantile: float = 0.5, *, level: float = 0.95) -> Estimate:
    """A quantile of (P, n) over all traces that have a value (nan: none), as an estimate of shape ().

    Every trace counts the same. The quantile is where the distribution function reaches it, halfway to the next value
    where it stays there, so 0.5 is the ordinary median. ``draws`` from ``intervals.resamples``: problems are drawn with
    all their traces; the limits are percentiles, their tails expanded for few problems as in ``metrics.intervals``. nan
    limits where fewer than two problems have a value. Raises ValueError for a quantile outside (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie between 0 and 1, not {quantile}")
    array = np.asarray(values, np.float64)
    problem, _ = np.nonzero(~np.isnan(array))
    known = array[~np.isnan(array)]
    nan = np.array(math.nan)
    if not known.size:
        return Estimate(nan, nan, nan)
    order = np.argsort(known, kind="stable")
    ordered, problem = known[order], problem[order]
    value = float(_quantiles(ordered, np.ones((1, len(ordered)), np.int64), quantile)[0])
    problems = len(np.unique(problem))
    if problems < 2:
        return Estimate(np.array(value), nan, nan)
    found = []
    step = max(1, _AT_ONCE // len(ordered))
    for start in range(0, len(draws), step):
        some = draws[start : start + step]
        places = some + np.arange(len(some))[:, None] * draws.shape[1]
        drawn = np.bincount(places.ravel(), minlength=some.size).reshape(some.shape)[:, problem]
        found.append(_quantiles(ordered, drawn[drawn.any(axis=1)], quantile))
    reach = math.sqrt(problems / (problems - 1)) * t_quantile((1 + level) / 2, problems - 1)
    tail = NormalDist().cdf(-reach)
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail], method="inverted_cdf")
    return Estimate(np.array(value), np.array(min(float(low), value)), np.array(max(float(high), value)))


def _quantiles(ordered: np.ndarray, weights: np.ndarray, quantile: float) -> np.ndarray:
    """Of ascending values (M,), one for each row of whole weights (R, M), none of which is all zero."""
    reached = np.cumsum(weights, axis=1)
    wanted = quantile * reached[:, -1:]
    lower = ordered[(reached >= wanted - 1e-9).argmax(axis=1)]
    upper = ordered[(reached > wanted + 1e-9).argmax(axis=1)]
    return np.asarray((lower + upper) / 2)

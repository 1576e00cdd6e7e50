"""What replacing one token does to accuracy (RLVR-exploration, Eq. 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extrap_eval.metrics.traces import Estimate, trace_mean


@dataclass(frozen=True, eq=False)
class Effect:
    """In each of B bins: accuracy of what goes on with the trace's own token (``kept``) and with the other
    (``replaced``), and ``difference``, replaced minus kept, paired by position. Estimates of shape (B,), nan where a
    bin has no position. ``positions``, ``problems`` int64 (B,): how many positions there are, on how many problems.
    """

    kept: Estimate
    replaced: Estimate
    difference: Estimate
    positions: np.ndarray
    problems: np.ndarray


def replacement_effect(
    kept: np.ndarray,
    replaced: np.ndarray,
    relative: np.ndarray,
    draws: np.ndarray,
    *,
    edges: Sequence[float] = (0.0, 1.0),
    level: float = 0.95,
) -> Effect:
    """Over positions of problems, float (P, N) each: accuracies, and where in its trace each position is (0 to 1); nan
    where a problem has fewer than N positions.

    The mean over the positions of a problem, then over the problems that have any, with an interval over problems.
    ``edges``: B + 1, ascending; positions between every two of them are a bin (one at an edge belongs to the bin above,
    at the last to the one below). ``draws`` from ``intervals.resamples``, for P problems.
    """
    ends = np.asarray(edges, dtype=np.float64)
    there = ~np.isnan(kept) & ~np.isnan(replaced) & (relative >= ends[0]) & (relative <= ends[-1])
    place = np.minimum(np.searchsorted(ends, relative, side="right") - 1, len(ends) - 2)
    inside = there[..., None] & (place[..., None] == np.arange(len(ends) - 1))  # (P, N, B)
    own, other = (np.where(inside, each[..., None], np.nan) for each in (kept, replaced))
    return Effect(
        kept=trace_mean(own, draws, level=level),
        replaced=trace_mean(other, draws, level=level),
        difference=trace_mean(other - own, draws, level=level, fractions=False),
        positions=inside.sum(axis=(0, 1)),
        problems=inside.any(axis=1).sum(axis=0),
    )

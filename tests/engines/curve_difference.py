"""Whether two engines draw from the same distribution, judged by accuracy against budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 4999


@dataclass(frozen=True)
class CurveDifference:
    """``points`` float (B,): accuracy of the second minus the first at each budget, in points. ``p_value``: how often
    samples that are the same in distribution differ as much at any budget.
    """

    points: np.ndarray
    standard_errors: np.ndarray
    p_value: float


def compare(first: np.ndarray, second: np.ndarray, seed: int = 0) -> CurveDifference:
    """Paired by problem: ``first`` bool (P, n, B), ``second`` bool (P, m, B), the same problems and budgets.

    If both engines sample each problem alike, the labels of that problem's n + m samples are exchangeable, so a
    permutation of labels within problems is exact: the test raises a false alarm at level a with a probability
    of at most a, however few or dependent the budgets are. The statistic is the largest difference over the budgets,
    each in units of its own standard deviation under permutation; that is what pays for looking at all of them.
    """
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([first, second], axis=1).astype(np.float64)
    problems, total, _ = pooled.shape
    n = first.shape[1]
    labels = np.tile(np.arange(total) >= n, (problems, 1))
    weights = np.where(labels, 1 / (problems * (total - n)), -1 / (problems * n))
    differences = np.empty((RESAMPLES + 1, pooled.shape[2]))
    for i in range(RESAMPLES + 1):
        differences[i] = np.einsum("pt,ptb->b", weights, pooled)
        rng.permuted(weights, axis=1, out=weights)  # after the first, which is as observed
    spread = differences.std(axis=0)
    spread[spread == 0] = np.inf
    largest = np.abs(differences / spread).max(axis=1)
    p_value = float(np.mean(largest >= largest[0] - 1e-12))
    return CurveDifference(100 * differences[0], 100 * spread, p_value)

"""k-rollout unsolvable sets: the problems that none of k samples solves (RLVR-exploration, Fig. 1c)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.passk import pass_at_k


def never_right(correct: npt.ArrayLike, k: int) -> np.ndarray:
    """The unsolvable set of the first ``k`` samples: correct bool (P, n, ...) -> bool (P, ...).

    ValueError for k outside 1..n.
    """
    array = np.asarray(correct, dtype=bool)
    if not 1 <= k <= array.shape[1]:
        raise ValueError(f"k: {k} is not in 1..{array.shape[1]}")
    return np.asarray(~array[:, :k].any(axis=1))


def chance_unsolved(correct_counts: npt.ArrayLike, n: int, k: int) -> np.ndarray:
    """Probability that k random ones of n samples are all wrong: C(n - c, k) / C(n, k), exact; (..., P) -> (..., P).

    Its sum over problems is the expected size of the k-rollout unsolvable set: which problems are in it depends on
    which k samples are taken, unless k = n. Raises ValueError as ``pass_at_k`` does.
    """
    return np.asarray(1.0 - pass_at_k(correct_counts, n, k))


def exactly(chances: npt.ArrayLike, members: Sequence[bool]) -> np.ndarray:
    """Probability that each problem is in the sets of ``members`` and in no other: (M, ..., P) -> float64 (..., P).

    The samples of different models are independent, so the product is exact; sets that are known (bool) give 0 or 1.
    ValueError when ``members`` does not name every set.
    """
    array = np.asarray(chances, dtype=np.float64)
    if len(members) != len(array):
        raise ValueError(f"{len(members)} members for {len(array)} sets")
    inside = np.asarray(members, dtype=bool).reshape(-1, *[1] * (array.ndim - 1))
    return np.asarray(np.where(inside, array, 1.0 - array).prod(axis=0))


def overlap(sets: npt.ArrayLike) -> np.ndarray:
    """Of the problems in any of the sets, the share that is in all: bool (M, ..., P) -> float64 (...) (Jaccard).

    nan where all sets are empty.
    """
    array = np.asarray(sets, dtype=bool)
    shared, together = array.all(axis=0).sum(axis=-1), array.any(axis=0).sum(axis=-1)
    return np.divide(shared, together, out=np.full(np.shape(together), np.nan), where=np.asarray(together) > 0)

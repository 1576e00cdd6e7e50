"""How many different answers k samples give, and how many different attempts traces make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.majk import class_counts
from extrap_eval.metrics.passk import pass_at_k


def distinct_at_k(counts: npt.ArrayLike, n: int, k: int) -> np.ndarray:
    """Expected number of distinct answer classes among k random ones of n samples: counts int (..., C) -> (...).

    The answer diversity of RLVR-exploration, Fig. 1, which plots it without a definition. Class i, of m_i samples, is
    among the k with probability 1 - C(n - m_i, k) / C(n, k), and expectations add up: exact. Samples without an answer
    are in no class, so the result is 0 where nobody answers. Raises ValueError for k outside 1..n and for counts
    outside 0..n.
    """
    return np.asarray(pass_at_k(counts, n, k).sum(axis=-1))


def answer_diversity(class_id: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """``distinct_at_k`` for every k: class_id int (..., n), -1 for no answer -> float64 (K, ...)."""
    n = class_id.shape[-1]
    counts = class_counts(class_id, np.zeros(class_id.shape, dtype=bool))[0]
    return np.stack([distinct_at_k(counts, n, k) for k in ks])


def first_times(keys: npt.ArrayLike) -> np.ndarray:
    """Which of a sequence of attempts were not made before in it: int (A,) -> bool (A,)."""
    array = np.asarray(keys)
    new = np.zeros(len(array), dtype=bool)
    new[np.unique(array, return_index=True)[1]] = True
    return new


def counted_within(ends: npt.ArrayLike, budgets: npt.ArrayLike) -> np.ndarray:
    """How many events end within each budget: ends int (A,), in any order, budgets int (B,) -> int64 (B,)."""
    return np.searchsorted(np.sort(np.asarray(ends)), np.asarray(budgets), side="right").astype(np.int64)

"""Unbiased pass@k."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pass_at_k(correct_counts: npt.ArrayLike, n: int, k: int) -> np.ndarray:
    """Probability that a random k-subset of n samples holds at least one correct one: 1 - C(n-c,k)/C(n,k).

    ``correct_counts`` holds c, integers in 0..n, any shape (..., P); the result is float64 of the same shape,
    one estimate per problem (average over problems for the benchmark's pass@k). With c = n - j failures the
    ratio of binomials is the product of (1 - k/i) over i = n-c+1 .. n; its logarithm is summed, so nothing
    over- or underflows and small values keep their digits (n = 10 000 is fine).

    Raises ValueError for k < 1, for k > n (undefined, never 1.0) and for counts outside 0..n.
    """
    counts = np.asarray(correct_counts)
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} is undefined for n = {n} samples: k must be in 1..{n}")
    if counts.size and (not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0 or counts.max() > n):
        raise ValueError(f"correct_counts must be integers in 0..{n}")
    factors = np.arange(n, 0, -1, dtype=np.float64)  # i = n, n-1, .., 1
    log_fail = np.full(n + 1, -np.inf)  # by c: log of the probability that every drawn sample is wrong
    log_fail[0] = 0.0
    log_fail[1 : n - k + 1] = np.cumsum(np.log1p(-k / factors[: n - k]))
    table: np.ndarray = -np.expm1(log_fail)
    return table[counts.astype(np.int64)]


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, … up to ``most``: the k that are shown where none are named."""
    return [2**i for i in range(most.bit_length())]

"""Two models on the same problems: is the difference more than chance, and which problems make it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FLIPS = 10_000  # random sign vectors; all of them are taken where there are no more than that
_CHUNK = 2_000


def sign_flip_test(differences: npt.ArrayLike, *, flips: int = FLIPS, seed: int = 0) -> np.ndarray:
    """Two-sided permutation p-value of the mean of paired differences: (..., P) -> float64 (...).

    If both models are the same, a problem's difference might as well have had the other sign. So the absolute mean is
    ranked among those under changed signs: all 2^P of them where that is at most ``flips``, otherwise ``flips`` random
    ones and the observed one itself, so that p is never 0 (Phipson and Smyth, "Permutation p-values should never be
    zero", 2010). All series get the same signs, and no shape of distribution is assumed.

    Ties count half (the mid-p value of Lancaster, JASA 56, 1961). Differences are multiples of 1 / n, so that ties are
    frequent with few samples: counting them in full would reject in 3 % where 5 % is meant, with 30 problems of 8
    samples. Differences that are all 0 give 1.
    """
    array = np.asarray(differences, dtype=np.float64)
    problems = array.shape[-1]
    rows = array.reshape(-1, problems)
    observed = np.abs(rows.sum(axis=-1))
    slack = 1e-9 * np.abs(rows).sum(axis=-1)  # sums in another order differ in their last digits
    if 2**problems <= flips:
        # Half of the vectors: a vector and its opposite give the same absolute sum.
        bits = np.arange(2 ** max(problems - 1, 0))[:, None] >> np.arange(problems)
        p = _extreme(1.0 - 2.0 * (bits & 1), rows, observed, slack) / len(bits)
    else:
        extreme = np.full(len(rows), 0.5)  # the observed one, a tie with itself
        rng = np.random.default_rng(seed)
        for start in range(0, flips, _CHUNK):
            signs = 1.0 - 2.0 * rng.integers(0, 2, size=(min(_CHUNK, flips - start), problems))
            extreme += _extreme(signs, rows, observed, slack)
        p = extreme / (1 + flips)
    return np.where(np.abs(rows).max(axis=-1) > 0, p, 1.0).reshape(array.shape[:-1])


def _extreme(signs: np.ndarray, rows: np.ndarray, observed: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """Of sign vectors (S, P), how many give a larger absolute sum than observed, and half of those that tie: (M,)."""
    sums = np.abs(signs @ rows.T)
    return np.asarray(((sums > observed + slack).sum(axis=0) + (sums >= observed - slack).sum(axis=0)) / 2)


def holm(p_values: npt.ArrayLike) -> np.ndarray:
    """Holm's correction of M p-values for being M: float64 (M,), in the order given.

    Rejecting where the result is at most alpha makes one false rejection or more with probability alpha at most,
    whatever the p-values have to do with each other (Holm, Scandinavian Journal of Statistics 6, 1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


@dataclass(frozen=True, eq=False)
class SolvedBy:
    """How many of the problems are solved by whom; int64 (...). The four add up to the problems."""

    both: np.ndarray
    first_only: np.ndarray
    second_only: np.ndarray
    neither: np.ndarray


def solved_by(first: npt.ArrayLike, second: npt.ArrayLike) -> SolvedBy:
    """Count problems by which of two models solves them: bool (..., P) each."""
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape}: both models need the same problems")
    pairs = (a & b, a & ~b, ~a & b, ~a & ~b)
    return SolvedBy(*(pair.sum(axis=-1) for pair in pairs))

"""Exact maj@k: the plurality vote over a random k-subset of the samples.

How it is computed. Let class i hold c_i of the n samples, a samples abstain, and let a uniformly random
k-subset be drawn; X_i votes fall to class i. Sharing ties equally, the expected correctness is

    sum over m >= 1 and correct classes j of  P(X_j = m, every other X_i <= m) / (number of classes at m).

1. *Tilting.* The k-subset is n independent coins of probability p, conditioned on k heads. With p near k/n
all
   generating polynomials are truncated binomial distributions: numbers in [0, 1] that never over- or
   underflow.
2. *Ties.* 1/t is the integral of y^(t-1) over [0, 1]. The sum above becomes the integral of a polynomial in
y,
   which a Gauss-Legendre rule with enough nodes integrates exactly; all its terms are positive, nothing
   cancels.
3. *Coefficient k* of the product of the class polynomials is read off by a discrete Fourier transform. A
class with
   fewer than m samples is not constrained at m: all of these merge, with the abstentions, into one binomial
   factor. So the classes that need work at m number at most n/m, and the whole costs O(n) rows of one
   transform each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

VotePolicy = Literal["abstain", "class"]


@dataclass(frozen=True)
class MajResult:
    correct: float  # expected correctness of the vote, ties shared equally
    tie: float  # probability that two or more classes share the plurality


def maj_at_k(
    counts: npt.ArrayLike,
    is_correct: npt.ArrayLike,
    n_abstain: int,
    k: int,
    policy: VotePolicy = "abstain",
) -> MajResult:
    """Exact expected correctness of the plurality vote over a uniformly random k-subset of the samples.

    ``counts`` int (C,) samples per answer class, ``is_correct`` bool (C,) whether the class is right (several
    may be), ``n_abstain`` samples without an answer. They are drawn into the subset like any other; under
    ``"abstain"`` they cast no vote (if nobody votes the result is wrong, and no tie), under ``"class"`` they
    vote as one wrong class. Exact up to rounding (about 1e-12). Raises ValueError for k outside 1..n or
    negative counts.
    """
    sizes = np.asarray(counts, dtype=np.int64)
    right = np.asarray(is_correct, dtype=bool)
    if sizes.ndim != 1 or sizes.shape != right.shape:
        raise ValueError(f"counts {sizes.shape} and is_correct {right.shape} must be one-dimensional and equal")
    if n_abstain < 0 or (sizes < 0).any():
        raise ValueError("counts and n_abstain must not be negative")
    n = int(sizes.sum()) + n_abstain
    if not 1 <= k <= n:
        raise ValueError(f"maj@{k} is undefined for n = {n} samples: k must be in 1..{n}")
    if policy == "class":
        sizes, right, n_abstain = np.append(sizes, n_abstain), np.append(right, False), 0
    elif policy != "abstain":
        raise ValueError(f"policy must be 'abstain' or 'class', not {policy!r}")

    # Classes of the same size are interchangeable: (size, how many classes, how many of them correct).
    distinct, inverse = np.unique(sizes[sizes > 0], return_inverse=True)
    multiplicity = np.bincount(inverse, minlength=len(distinct))
    n_right = np.bincount(inverse, weights=right[sizes > 0], minlength=len(distinct)).astype(np.int64)
    if not len(distinct):
        return MajResult(0.0, 0.0)
    return _vote(distinct, multiplicity, n_right, n_abstain, n, k)


def maj_at_k_many(
    counts: npt.ArrayLike,
    is_correct: npt.ArrayLike,
    n_abstain: npt.ArrayLike,
    k: int,
    policy: VotePolicy = "abstain",
) -> tuple[np.ndarray, np.ndarray]:
    """``maj_at_k`` for many count vectors: counts and is_correct (..., C), n_abstain (...).

    Returns (correct, tie), float64 (...). Vectors that are equal up to the order of their classes are
    computed once, which is most of them along the budgets of a curve.
    """
    sizes, right = np.broadcast_arrays(np.asarray(counts, np.int64), np.asarray(is_correct, bool))
    silent = np.broadcast_to(np.asarray(n_abstain, np.int64), sizes.shape[:-1])
    coded = np.sort(2 * sizes + (right & (sizes > 0)), axis=-1).reshape(silent.size, -1)
    keys, inverse = np.unique(np.column_stack([coded, silent.ravel()]), axis=0, return_inverse=True)
    results = [maj_at_k(key[:-1] // 2, key[:-1] % 2 == 1, int(key[-1]), k, policy) for key in keys]
    table = np.array([(result.correct, result.tie) for result in results]).reshape(-1, 2)[inverse.ravel()]
    return table[:, 0].reshape(silent.shape), table[:, 1].reshape(silent.shape)


def class_counts(class_id: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the votes: class_id int (..., n) with -1 for no answer, correct bool (..., n).

    Returns counts int64 (..., C), is_correct bool (..., C), n_abstain int64 (...), ready for
    ``maj_at_k_many``.
    """
    n = class_id.shape[-1]
    flat = class_id.reshape(-1, n)
    n_classes = int(flat.max(initial=-1)) + 1
    rows = np.broadcast_to(np.arange(len(flat))[:, None], flat.shape)
    counts = np.zeros((len(flat), n_classes + 1), dtype=np.int64)
    right = np.zeros((len(flat), n_classes + 1), dtype=bool)
    np.add.at(counts, (rows, flat), 1)  # -1 addresses the last column
    np.logical_or.at(right, (rows, flat), correct.reshape(-1, n))
    shape = class_id.shape[:-1]
    return (
        counts[:, :-1].reshape(*shape, n_classes),
        right[:, :-1].reshape(*shape, n_classes),
        counts[:, -1].reshape(shape),
    )


@cache
def _quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], exact for polynomials of at most this degree."""
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    return (nodes + 1) / 2, weights / 2


def _vote(
    sizes: np.ndarray, multiplicity: np.ndarray, n_right: np.ndarray, n_abstain: int, n: int, k: int
) -> MajResult:
    """sizes, multiplicity, n_right: int (G,), sizes ascending and distinct. See the module docstring."""
    # The winning count m ranges over what k votes allow; each m takes one row per node y, and one row at y =
    # 0 whose value is the probability of a single winner.
    winning: list[int] = []
    node: list[float] = []
    weight: list[float] = []  # of the correct classes; 0 marks the row of the single winner
    for m in range(1, min(k, int(sizes[-1])) + 1):
        if int((np.minimum(sizes, m) * multiplicity).sum()) + n_abstain < k:
            continue  # even with every class at m there are not enough votes
        tied = min(k // m, int(multiplicity[sizes >= m].sum()))
        nodes, weights = _quadrature(tied - 1) if n_right.any() else (np.empty(0), np.empty(0))
        winning += [m] * (1 + len(nodes))
        node += [0.0, *nodes]
        weight += [0.0, *weights]
    row_m, row_y, row_w = np.array(winning, np.int64), np.array(node)[:, None], np.array(weight)

    p = (k + 0.5) / (n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])

    def binomial(size: int) -> np.ndarray:
        i = np.arange(size + 1)
        log_ways = log_factorial[size] - log_factorial[i] - log_factorial[size - i]
        return np.exp(log_ways + i * np.log(p) + (size - i) * np.log1p(-p))

    # A transform of N points folds the coefficients k +- N onto k. The number of heads is farther than N from
    # k with probability below 2 exp(-2 (N-1)^2 / n) (Hoeffding), here below 1e-18, so N need not reach n + 1.
    # N is odd.
    points = min(n + 1, int(np.ceil(1 + np.sqrt(21.1 * n)))) | 1
    frequency = np.arange(points // 2 + 1)  # the others are conjugates
    circle = np.exp(2j * np.pi * np.arange(points) / points)

    product = np.ones((len(row_m), len(frequency)), dtype=np.complex128)
    marked = np.zeros_like(product)  # sum over marked classes of: that class at m, all others at most m
    for size, many, good in zip(sizes.tolist(), multiplicity.tolist(), n_right.tolist(), strict=True):
        rows = int(np.searchsorted(row_m, size, side="right"))  # where m <= size; elsewhere unconstrained
        if not rows:
            continue
        terms = binomial(size)[:, None] * circle[np.outer(np.arange(size + 1), frequency) % points]
        at = terms[row_m[:rows]]
        factor = np.cumsum(terms, axis=0)[row_m[:rows] - 1] + row_y[:rows] * at
        how_many = np.where(row_w[:rows] == 0, many, good)[:, None]
        marked[:rows] = marked[:rows] * factor + how_many * at * product[:rows]
        product[:rows] *= factor
        if many > 1:
            others = factor ** (many - 1)
            marked[:rows] *= others
            product[:rows] *= others

    free = n_abstain + (np.where(sizes < row_m[:, None], sizes, 0) * multiplicity).sum(axis=1)
    marked *= np.exp(free[:, None] * np.log(1 - p + p * circle[frequency]))
    read = np.where(frequency == 0, 1.0, 2.0) * circle[frequency * k % points].conj() / points
    value = (marked @ read).real / binomial(n)[k]

    correct = float(value @ row_w)
    single = float(value[row_w == 0].sum())
    silent = 0.0
    if n_abstain >= k:  # nobody votes: C(n_abstain, k) / C(n, k)
        logs = log_factorial[[n_abstain, n - k, n_abstain - k, n]] @ [1.0, 1.0, -1.0, -1.0]
        silent = float(np.exp(logs))
    return MajResult(_probability(correct), _probability(1.0 - single - silent))


def _probability(value: float) -> float:
    """Without the digits that are rounding noise: a certain vote is exactly 1."""
    return round(min(max(value, 0.0), 1.0), 12)

"""Accuracy against the tokens it costs: votes, two models compared, episodes against samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.intervals import resampled_means
from extrap_eval.metrics.majk import VotePolicy, class_counts, maj_at_k_many
from extrap_eval.metrics.passk import pass_at_k
from extrap_eval.metrics.traces import Estimate, of_problems

Vote = Literal["pass", "maj"]
_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class VoteCurve:
    """maj@k against tokens (MRT Fig. 7): ``values`` and ``tokens`` float64 (K, P), per problem, for each of ``ks``."""

    ks: tuple[int, ...]
    values: np.ndarray
    tokens: np.ndarray

    def accuracy(self, draws: np.ndarray, level: float = 0.95) -> Estimate:
        """Mean over problems, (K,)."""
        return of_problems(self.values, draws, level=level)


def vote_curve(
    class_id: np.ndarray,
    correct: np.ndarray,
    n_tokens: npt.ArrayLike,
    ks: Sequence[int],
    *,
    policy: VotePolicy = "abstain",
) -> VoteCurve:
    """maj@k of the samples of each problem, at k times their mean tokens.

    ``class_id`` int (P, n) with -1 for no answer, ``correct`` bool (P, n), ``n_tokens`` (P, n) completion tokens.
    """
    counts = class_counts(class_id, correct)
    values = np.stack([maj_at_k_many(*counts, k, policy)[0] for k in ks])
    means = np.asarray(n_tokens, np.float64).mean(axis=1)
    return VoteCurve(tuple(ks), values, np.asarray(ks, np.float64)[:, None] * means)


def tokens_needed(accuracy: npt.ArrayLike, tokens: npt.ArrayLike, targets: npt.ArrayLike) -> np.ndarray:
    """Tokens at which curves first reach each accuracy: (K, ...), (K, ...), targets (A,) -> float64 (A, ...).

    A curve starts at (0, 0) and is linear between its points, which come in the order of their tokens; inf where it
    never gets there.
    """
    heights, places = np.asarray(accuracy, np.float64), np.asarray(tokens, np.float64)
    origin = np.zeros((1, *heights.shape[1:]))
    heights, places = np.concatenate([origin, heights]), np.concatenate([origin, places])
    result = []
    for target in np.asarray(targets, np.float64).tolist():
        reached = heights >= target - 1e-12
        first = reached.argmax(axis=0)  # 0 if none, and if the target is 0
        here, before = first[None], np.maximum(first - 1, 0)[None]
        high, low = (np.take_along_axis(heights, at, axis=0)[0] for at in (here, before))
        right, left = (np.take_along_axis(places, at, axis=0)[0] for at in (here, before))
        part = np.divide(target - low, high - low, out=np.ones_like(high), where=high > low)
        found = left + np.clip(part, 0.0, 1.0) * (right - left)
        result.append(np.where(reached.any(axis=0), found, np.inf))
    return np.stack(result)


def token_ratio(
    first: VoteCurve, second: VoteCurve, targets: Sequence[float], draws: np.ndarray, *, level: float = 0.95
) -> Estimate:
    """How many times as many tokens the first model needs as the second for each accuracy, (A,).

    Both curves are of the same problems in the same order, and every resample draws the same problems for both, so the
    interval is a paired one (percentiles of the resampled ratio, tails expanded for few problems by
    sqrt(P / (P - 1)) in the standard deviation). inf where only the second gets there, 0 where only the first does, nan
    where neither; resamples in which neither does count as both ends, so that the interval then runs from 0 to inf.
    """
    problems = draws.shape[1]
    if first.values.shape[1] != problems or second.values.shape[1] != problems:
        raise ValueError(
            f"{first.values.shape[1]} and {second.values.shape[1]} problems in the curves, {problems} in the resamples"
        )

    def ratio(means: list[np.ndarray]) -> np.ndarray:
        ours, theirs = tokens_needed(means[0], means[1], targets), tokens_needed(means[2], means[3], targets)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(ours / theirs)

    curves = (first.values, first.tokens, second.values, second.tokens)
    value = ratio([curve.mean(axis=-1) for curve in curves])
    if problems < 2:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    drawn = ratio([resampled_means(curve, draws) for curve in curves])  # (A, R)
    tail = _NORMAL.cdf(-math.sqrt(problems / (problems - 1)) * _NORMAL.inv_cdf((1 + level) / 2))
    # No interpolation between resamples: ratios may be infinite.
    low = np.quantile(np.where(np.isnan(drawn), 0.0, drawn), tail, axis=-1, method="inverted_cdf")
    high = np.quantile(np.where(np.isnan(drawn), np.inf, drawn), 1 - tail, axis=-1, method="inverted_cdf")
    return Estimate(value, np.fmin(low, value), np.fmax(high, value))


@dataclass(frozen=True, eq=False)
class Grid:
    """k samples of j groups of episodes each (MRT's question, e3 Fig. 10): J = 0.. groups by K votes.

    ``values`` float64 (J, K, P), per problem; ``value`` (J, K), their mean; ``tokens`` float64 (J, K): mean completion
    tokens of the k samples together, their answers included.
    """

    ks: tuple[int, ...]
    values: np.ndarray
    value: Estimate
    tokens: np.ndarray


def attempt_grid(
    class_id: np.ndarray,
    correct: np.ndarray,
    prefix_tokens: np.ndarray,
    answer_tokens: np.ndarray,
    groups: np.ndarray,
    ks: Sequence[int],
    draws: np.ndarray,
    *,
    vote: Vote = "pass",
    policy: VotePolicy = "abstain",
    level: float = 0.95,
) -> Grid:
    """pass@k or maj@k of samples that are stopped after at most j groups of episodes and answer.

    ``class_id`` int (P, n, J, r) and ``correct`` bool (P, n, J, r): r answers to each probe; ``prefix_tokens`` and
    ``answer_tokens`` (of one answer, on average) float (P, n, J); ``groups`` int (P, n): groups that each trace has,
    its places being 0..groups. A trace with fewer than j groups has ended: its answer and tokens are those after its
    last one. A sample gives one answer, so every one of the r answers makes a grid and these are averaged.
    """
    places = class_id.shape[2]
    if groups.max() >= places:
        raise ValueError(f"a trace has {groups.max()} groups, but there are {places} places")
    place = np.minimum(np.arange(places), groups[..., None])  # (P, n, J)
    answers = np.take_along_axis(class_id, place[..., None], axis=2)
    right = np.take_along_axis(correct, place[..., None], axis=2)
    tokens = np.take_along_axis(np.asarray(prefix_tokens + answer_tokens, np.float64), place, axis=2)
    samples = class_id.shape[1]
    if vote == "pass":
        counts = right.sum(axis=1)  # (P, J, r)
        values = np.stack([pass_at_k(counts, samples, k) for k in ks])
    else:
        votes = class_counts(np.moveaxis(answers, 1, -1), np.moveaxis(right, 1, -1))
        values = np.stack([maj_at_k_many(*votes, k, policy)[0] for k in ks])
    values = np.moveaxis(values.mean(axis=-1), (0, 1, 2), (1, 2, 0))  # (K, P, J) -> (J, K, P)
    return Grid(
        ks=tuple(ks),
        values=values,
        value=of_problems(values, draws, level=level),
        tokens=tokens.mean(axis=(0, 1))[:, None] * np.asarray(ks, np.float64),
    )


def at_equal_tokens(grid: Grid, budgets: Sequence[float], draws: np.ndarray, *, level: float = 0.95) -> Estimate:
    """What k samples make of the same total of tokens, for every budget and k: (B, K).

    Each column of the grid is read at the budget, linearly between numbers of groups (mean tokens are taken as known,
    which leaves their own error out of the interval). nan where the budget is less than k immediate answers, or more
    than k samples spend in all.
    """
    shape = (len(budgets), len(grid.ks))
    value, low, high = (np.full(shape, np.nan) for _ in range(3))
    # Answers may be shorter after longer thoughts; the axis must not go back.
    tokens = np.maximum.accumulate(grid.tokens, axis=0)
    for b, budget in enumerate(budgets):
        for k in range(len(grid.ks)):
            column = tokens[:, k]
            if not column[0] <= budget <= column[-1]:
                continue
            place = float(np.interp(budget, column, np.arange(len(column))))
            below = min(int(place), len(column) - 1)
            above = min(below + 1, len(column) - 1)
            mixed = (1 - (place - below)) * grid.values[below, k] + (place - below) * grid.values[above, k]
            found = of_problems(mixed, draws, level=level)
            value[b, k], low[b, k], high[b, k] = found.value, found.low, found.high
    return Estimate(value, low, high)

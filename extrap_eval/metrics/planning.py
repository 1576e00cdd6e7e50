"""How large an evaluation must be: interval widths and detectable differences, before it is made.

The mean over P problems of n samples each has two sources of error: which problems there are (the variance of the
problems' true accuracies, "between") and which samples were drawn (the variance of one sample about its problem's
accuracy, "within"):

    variance = between / P + within / (P n)

More samples only shrink the second, so that no number of them makes up for too few problems. Both are estimated from a
pilot run, or assumed from an accuracy. The formulas predict what ``intervals`` and ``comparison`` will find, so that
the same number of problems and samples gives, on average, the width that was planned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.intervals import agreement_bound, t_quantile

MOST = 1_000_000  # samples or problems, beyond which nothing is planned


@dataclass(frozen=True)
class Spread:
    """Where the error of a mean over problems comes from; numbers, or arrays of one shape.

    ``mean`` of one sample's value, ``between``: variance of the problems' own means, ``within``: mean variance of one
    sample about its problem's mean.
    """

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray

    def variance(self, problems: int, n: int) -> np.ndarray:
        """Of the mean over ``problems`` problems with ``n`` samples each."""
        return np.asarray(self.between / problems + self.within / (problems * n))


def spread(values: npt.ArrayLike, draws: np.ndarray | None = None) -> Spread:
    """Estimate from a pilot: values (P, n), of samples; scalars, or with ``draws`` (R, P) one per resample, (R,).

    Without bias (analysis of variance), but for a negative ``between``, which becomes 0. Raises ValueError for fewer
    than two problems or samples.
    """
    array = np.asarray(values, dtype=np.float64)
    problems, n = array.shape
    if problems < 2 or n < 2:
        raise ValueError(f"{problems} problems x {n} samples: two of each are the least that has a variance")
    return _from_problems(array.mean(axis=1), array.var(axis=1, ddof=1), 1 / n, draws)


def difference_spread(first: npt.ArrayLike, second: npt.ArrayLike, draws: np.ndarray | None = None) -> Spread:
    """Of the difference first - second between two pilots of the same problems, (P, n_a) and (P, n_b), as ``spread``.

    ``within`` is the sum of both: what remains of it with n samples of each is within / n.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(a) != len(b) or len(a) < 2 or min(a.shape[1], b.shape[1]) < 2:
        raise ValueError(f"{a.shape} and {b.shape}: the same problems, two at least, and two samples of each")
    noise_a, noise_b = a.var(axis=1, ddof=1), b.var(axis=1, ddof=1)
    noise = noise_a + noise_b
    of_mean = noise_a / a.shape[1] + noise_b / b.shape[1]
    share = np.divide(of_mean, noise, out=np.zeros_like(noise), where=noise > 0)
    return _from_problems(a.mean(axis=1) - b.mean(axis=1), noise, share, draws)


def _from_problems(means: np.ndarray, noise: np.ndarray, share: npt.ArrayLike, draws: np.ndarray | None) -> Spread:
    """From the problems' means (P,), the variance of a sample in each (P,), and the share of it left in the mean."""
    problems = len(means)
    picked = np.arange(problems) if draws is None else draws
    left = (noise * share)[picked].mean(axis=-1)
    # A resample has (P - 1) / P of the variance of what it is drawn from, on average.
    correction = 1.0 if draws is None else problems / (problems - 1)
    between = np.maximum(means[picked].var(axis=-1, ddof=1) * correction - left, 0.0)
    return Spread(means[picked].mean(axis=-1), between, noise[picked].mean(axis=-1))


def assumed_spread(accuracy: float, between_share: float) -> Spread:
    """Without a pilot: of the variance a (1 - a) of one sample, ``between_share`` lies between problems."""
    total = np.asarray(accuracy * (1 - accuracy))
    return Spread(np.asarray(accuracy), total * between_share, total * (1 - between_share))


def assumed_difference(one: Spread, correlation: float, gap: float = 0.0) -> Spread:
    """Of the difference to a second model whose problems are as spread, correlated with those of the first."""
    return Spread(np.asarray(gap), 2 * one.between * (1 - correlation), 2 * one.within)


def interval_width(of: Spread, problems: int, n: int, level: float = 0.95) -> np.ndarray:
    """Expected width of ``intervals.interval`` (fractions), for the accuracy of one model.

    That interval is a percentile bootstrap with two pseudo-problems of half a problem's weight each; its variance
    follows by the delta method. Where nothing varies and all is right or wrong, its binomial bound. nan for one
    problem.
    """
    if problems < 2:
        return np.full(np.shape(of.mean), np.nan)
    z = NormalDist().inv_cdf((1 + level) / 2)
    resampled = of.variance(problems, n) * (problems - 1) / problems
    centre = (problems * of.mean + 0.5) / (problems + 1)
    pseudo = (centre**2 + (1 - centre) ** 2) / 2
    width = 2 * z * np.sqrt(problems**2 * resampled + pseudo) / (problems + 1)
    agree = (resampled < 1e-12) & ((of.mean <= 0) | (of.mean >= 1))
    return np.where(agree, agreement_bound(problems, level), width)


def detectable(of: Spread, problems: int, n: int, level: float = 0.95, power: float = 0.8) -> np.ndarray:
    """Mean difference that a two-sided test finds with this power, ``of`` being the spread of differences.

    What ``intervals.smallest_detectable`` says of the finished evaluation. Where nothing varies, the exact binomial
    bound. nan for one problem.
    """
    if problems < 2:
        return np.full(np.shape(of.mean), np.nan)
    reach = t_quantile((1 + level) / 2, problems - 1) + t_quantile(power, problems - 1)
    error = np.sqrt(of.variance(problems, n))
    return np.where(error < 1e-12, agreement_bound(problems, level), reach * error)


def least(size: Callable[[int], float], target: float, start: int = 1) -> int | None:
    """The smallest whole number from ``start`` on with size(number) <= target; None if there is none up to ``MOST``.

    ``size`` must not grow.
    """
    high = start
    while not size(high) <= target:  # nan too
        if high >= MOST:
            return None
        high = min(2 * high, MOST)
    low = start - 1 if high == start else high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if size(middle) <= target:
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True, eq=False)
class Budgets:
    """Which budgets tell something; arrays (B,).

    ``change``: expected change of accuracy since the last informative budget before (since 0 where there is none),
    ``detectable``: the smallest that the planned evaluation would find, ``informative``: the first is at least the
    second.
    """

    change: np.ndarray
    detectable: np.ndarray
    informative: np.ndarray


def informative_budgets(
    correct: np.ndarray, problems: int, n: int, *, level: float = 0.95, power: float = 0.8
) -> Budgets:
    """Walk up the budgets and keep each that differs detectably from the last one kept.

    ``correct`` bool (P, n, B), budgets ascending, from a pilot; ``problems`` and ``n`` of the evaluation that is
    planned. The same samples are read at all budgets, so what counts is the variance of a sample's change.
    """
    values = correct.astype(np.float64)
    before = np.zeros(values.shape[:2])
    change, smallest, kept = [], [], []
    for at in range(values.shape[-1]):
        step = values[..., at] - before
        found = spread(step)
        change.append(float(found.mean))
        smallest.append(float(detectable(found, problems, n, level, power)))
        kept.append(abs(change[-1]) >= smallest[-1] and not math.isclose(change[-1], 0.0, abs_tol=1e-12))
        if kept[-1]:
            before = values[..., at]
    return Budgets(np.array(change), np.array(smallest), np.array(kept))

"""Confidence intervals over problems.

Samples of one problem are not independent, so the unit is the problem: every interval comes from resampling
problems with replacement, and the same resamples serve every budget and every model, so that bands over a
curve and paired differences are honest. Two intervals, because the plain percentile bootstrap covers too
little (85 % where 95 % is promised) with 30 problems and accuracies near 0 or 1:

- ``interval`` for the mean of fractions in [0, 1] (accuracies): each resample is joined by two
  pseudo-problems of half a problem's weight on average, one never and one always solved. This is to the
  bootstrap what Jeffreys' prior is to a binomial proportion, and keeps intervals wide where few problems
  differ from 0 or 1.
- ``difference_interval`` for paired differences and unbounded means: the bias-corrected accelerated
  percentile interval, its tails expanded for few problems (Hesterberg, "What Teachers Should Know About the
  Bootstrap", The American Statistician 69, 2015): a tail alpha/2 becomes Phi(-sqrt(P/(P-1)) t), t the Student
  quantile for P-1 degrees of freedom.

Where all problems agree no resampling tells how far off they may be: the limits come from the exact binomial
bound on the number of problems that would have differed, 1 - (alpha/2)^(1/P). With a single problem there is
no interval (nan).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

_NORMAL = NormalDist()


def resamples(problems: int, count: int, seed: int) -> np.ndarray:
    """``count`` bootstrap samples of problem indices, int32 (count, problems)."""
    if problems < 1 or count < 1:
        raise ValueError(f"resamples need at least one problem and one resample, not {problems} and {count}")
    rng = np.random.default_rng(seed)
    return rng.integers(0, problems, size=(count, problems), dtype=np.int32)


def resampled_means(values: npt.ArrayLike, draws: np.ndarray) -> np.ndarray:
    """Mean over problems in each resample: values (..., P), draws int (R, P) -> float64 (..., R)."""
    array = np.asarray(values, dtype=np.float64)
    problems = draws.shape[1]
    if array.shape[-1] != problems:
        raise ValueError(f"{array.shape[-1]} problems in the values, {problems} in the resamples")
    offsets = np.arange(len(draws))[:, None] * problems
    times_drawn = np.bincount((draws + offsets).ravel(), minlength=draws.size).reshape(draws.shape)
    means: np.ndarray = array @ (times_drawn.T / problems)
    return means


def standard_error(values: npt.ArrayLike) -> np.ndarray:
    """Standard error of the mean over problems: (..., P) -> (...); nan for one problem."""
    array = np.asarray(values, dtype=np.float64)
    problems = array.shape[-1]
    if problems < 2:
        return np.full(array.shape[:-1], np.nan)
    return np.asarray(array.std(axis=-1, ddof=1) / math.sqrt(problems))


def interval(
    values: npt.ArrayLike, draws: np.ndarray, level: float = 0.95, weights: npt.ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Interval for the mean over problems of fractions in [0, 1].

    ``values`` (..., P), ``draws`` from ``resamples``; returns (low, high), each (...), around the mean.
    ``weights``, of a shape that fits ``values``: what each problem counts for in the mean, such as the number of its
    traces; one that counts for nothing may have any value. nan where fewer than two problems count. Raises ValueError
    for values outside [0, 1].
    """
    array = np.asarray(values, dtype=np.float64)
    weight = np.broadcast_to(1.0 if weights is None else np.asarray(weights, np.float64), array.shape)
    counts = weight > 0
    array = np.where(counts, array, 0.0)
    if array.size and not (array.min() >= -1e-9 and array.max() <= 1 + 1e-9):
        raise ValueError("values must be fractions in [0, 1]; use difference_interval for anything else")
    problems = counts.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = weight * (problems / weight.sum(axis=-1))[..., None]  # 1 on average
    if weights is None:
        drawn, of = resampled_means(array, draws), np.ones(1)
    else:
        drawn, of = resampled_means(weight * array, draws), resampled_means(weight, draws)
    # Weights Gamma(1/2) = (normal squared)/2 for (never solved, always solved), the same for every series.
    pseudo = np.random.default_rng(draws.shape).standard_normal((len(draws), 2)) ** 2 / 2
    size = draws.shape[1]
    means = (size * drawn + pseudo[:, 1]) / (size * of + pseudo.sum(axis=1))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    mean = (weight * array).sum(axis=-1) / np.maximum(problems, 1)
    bound = 1 - ((1 - level) / 2) ** (1 / np.maximum(problems, 1))  # as ``agreement_bound``
    none, all_ = array.max(axis=-1) <= 0, np.where(counts, array, 1.0).min(axis=-1) >= 1
    low = np.where(none, 0.0, np.where(all_, 1 - bound, np.minimum(low, mean)))
    high = np.where(all_, 1.0, np.where(none, bound, np.maximum(high, mean)))
    enough = problems >= 2
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def difference_interval(
    differences: npt.ArrayLike, draws: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Interval for the mean over problems of paired differences (..., P), or of anything unbounded.

    Returns (low, high), each (...). Where all problems have the same difference d (above all 0): d -+ the
    exact binomial bound, which assumes that a difference lies in [-1, 1]. nan for a single problem.
    """
    array = np.asarray(differences, dtype=np.float64)
    mean = array.mean(axis=-1)
    return accelerated_interval(mean, resampled_means(array, draws), array - mean[..., None], level)


def accelerated_interval(
    point: npt.ArrayLike, resampled: np.ndarray, influence: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Expanded, bias-corrected and accelerated percentile interval of a statistic.

    ``point`` (...), its value in each resample (..., R) (may hold inf), the influence of each problem on it
    (..., P), of any scale. Where no problem has influence, point -+ ``agreement_bound``.
    """
    centre = np.asarray(point, dtype=np.float64)
    problems = influence.shape[-1]
    low, high = np.full(centre.shape, np.nan), np.full(centre.shape, np.nan)
    if problems < 2:
        return low, high
    reach = math.sqrt(problems / (problems - 1)) * t_quantile((1 + level) / 2, problems - 1)
    for where in np.ndindex(centre.shape):
        spread = influence[where] - influence[where].mean()
        scale = float(np.abs(spread).max())
        if scale < 1e-12:
            bound = agreement_bound(problems, level)
            low[where], high[where] = centre[where] - bound, centre[where] + bound
            continue
        spread = spread / scale
        acceleration = float((spread**3).sum() / (spread**2).sum() ** 1.5 / 6)
        ordered = np.sort(resampled[where])
        tolerance = 1e-12 * max(1.0, abs(float(centre[where])))
        below = np.searchsorted(ordered, centre[where] - tolerance)
        up_to = np.searchsorted(ordered, centre[where] + tolerance)
        share = float(below + up_to) / (2 * len(ordered))
        bias = _NORMAL.inv_cdf(min(max(share, 1e-3), 1 - 1e-3))
        tails = [_NORMAL.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-reach, reach)]
        ends = np.quantile(ordered, tails, method="inverted_cdf")  # no interpolation: resamples may be infinite
        low[where], high[where] = min(ends[0], centre[where]), max(ends[1], centre[where])
    return low, high


def smallest_detectable(values: npt.ArrayLike, level: float = 0.95, power: float = 0.8) -> float:
    """Mean difference that a two-sided test on these P paired differences would find with this power.

    (t_{1-alpha/2} + t_{power}) times the standard error; where all problems agree the standard error says
    nothing and the exact binomial bound is returned. nan for a single problem.
    """
    array = np.asarray(values, dtype=np.float64)
    problems = len(array)
    if problems < 2:
        return math.nan
    error = float(standard_error(array))
    if error < 1e-12:
        return agreement_bound(problems, level)
    return error * (t_quantile((1 + level) / 2, problems - 1) + t_quantile(power, problems - 1))


def agreement_bound(problems: int, level: float = 0.95) -> float:
    """Exact binomial bound: the largest share of differing problems compatible with seeing none of them."""
    return float(1 - ((1 - level) / 2) ** (1 / problems))


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t, for 0.5 <= probability < 1.

    Newton's method from the normal quantile: on the right half the distribution function is concave and the
    normal quantile lies left of the root, so the iteration rises to it. The distribution function is
    integrated over theta = atan(t / sqrt(degrees)), where its density is a power of a cosine.
    """
    if not 0.5 <= probability < 1 or degrees < 1:
        raise ValueError(f"t_quantile needs 0.5 <= probability < 1 and degrees >= 1, not {probability}, {degrees}")
    nodes, weights = np.polynomial.legendre.leggauss(64)
    log_norm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(math.pi)
    t = _NORMAL.inv_cdf(probability)
    for _ in range(200):
        theta = math.atan(t / math.sqrt(degrees))
        angles = theta * (nodes + 1) / 2
        mass = theta / 2 * float(weights @ np.exp(log_norm + (degrees - 1) * np.log(np.cos(angles))))
        log_density = log_norm - 0.5 * math.log(degrees) - (degrees + 1) / 2 * math.log1p(t * t / degrees)
        step = (probability - 0.5 - mass) / math.exp(log_density)
        t += step
        if abs(step) < 1e-12 * (1 + t):
            break
    return t

"""How well a model tells right answers from wrong ones, against how often it finds right ones itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extrap_eval.metrics.intervals import accelerated_interval, interval, resampled_means
from extrap_eval.metrics.traces import Estimate, of_problems, trace_mean


@dataclass(frozen=True, eq=False)
class Judgements:
    """Judgements counted by problem, int64 (P,) each: of right answers and of wrong ones, how many there are, how many
    said what is true, and how many said nothing that can be read.
    """

    right: np.ndarray
    accepted: np.ndarray
    right_unreadable: np.ndarray
    wrong: np.ndarray
    rejected: np.ndarray
    wrong_unreadable: np.ndarray

    def readable(self) -> Judgements:
        """Without those that cannot be read."""
        none = np.zeros_like(self.right)
        right, wrong = self.right - self.right_unreadable, self.wrong - self.wrong_unreadable
        return Judgements(right, self.accepted, none, wrong, self.rejected, none)

    @property
    def balanced(self) -> np.ndarray:
        """Balanced accuracy of each problem, float64 (P,): the mean of the shares of its right answers that are
        accepted and of its wrong ones that are rejected; nan for a problem that has not both.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((self.accepted / self.right + self.rejected / self.wrong) / 2)


@dataclass(frozen=True, eq=False)
class VerificationGap:
    """All as scalars, with intervals over problems.

    ``true_positive``: share of the judgements of right answers that accept; ``true_negative``: of those of wrong
    answers that reject; ``balanced``: their mean; pooled over all problems, so that a problem with right answers alone
    counts for the one and not for the other. ``generation``: pass@1, mean over the problems. ``gap``: ``balanced``
    minus ``generation``. ``gap_within``: the mean over the problems that have both kinds of answers of the gap within
    each; ``both``: how many these are. nan where there is nothing of a kind.
    """

    balanced: Estimate
    true_positive: Estimate
    true_negative: Estimate
    generation: Estimate
    gap: Estimate
    gap_within: Estimate
    both: int


def verification_gap(
    judged: Judgements, generation: np.ndarray, draws: np.ndarray, *, level: float = 0.95
) -> VerificationGap:
    """Verification against generation on P problems. ``generation`` float (P,): pass@1 of each.

    ``draws`` from ``intervals.resamples``, for P problems. A judgement that cannot be read is neither an acceptance nor
    a rejection: give ``judged.readable()`` to leave such out.
    """
    found = np.asarray(generation, dtype=np.float64)
    within = judged.balanced - found
    return VerificationGap(
        balanced=_balanced(judged, np.zeros_like(found), draws, level, (0.0, 1.0)),
        true_positive=_share(judged.accepted, judged.right, draws, level),
        true_negative=_share(judged.rejected, judged.wrong, draws, level),
        generation=of_problems(found, draws, level=level),
        gap=_balanced(judged, found, draws, level, (-1.0, 1.0)),
        gap_within=trace_mean(within[:, None], draws, level=level, fractions=False),
        both=int((~np.isnan(within)).sum()),
    )


def _share(hits: np.ndarray, all_: np.ndarray, draws: np.ndarray, level: float) -> Estimate:
    """Sum of hits over the sum of all."""
    if not all_.sum():
        nothing = np.full((), np.nan)
        return Estimate(nothing, nothing, nothing)
    value = np.asarray(hits.sum() / all_.sum(), dtype=np.float64)
    return Estimate(value, *interval(hits / np.maximum(all_, 1), draws, level, weights=all_))


def _balanced(
    judged: Judgements, minus: np.ndarray, draws: np.ndarray, level: float, limits: tuple[float, float]
) -> Estimate:
    """Pooled balanced accuracy minus the mean of ``minus`` (P,), each resample drawn from both together."""
    sums = [
        np.asarray(each, dtype=np.float64) for each in (judged.accepted, judged.right, judged.rejected, judged.wrong)
    ]
    means = [float(each.mean()) for each in sums]
    if not (means[1] and means[3]):
        nothing = np.full((), np.nan)
        return Estimate(nothing, nothing, nothing)
    accepted, right, rejected, wrong = (resampled_means(each, draws) for each in sums)
    drawn = (right > 0) & (wrong > 0)  # resamples without one of the two are replaced by repeating the others
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = (accepted / right + rejected / wrong) / 2 - resampled_means(minus, draws)
    shares = means[0] / means[1], means[2] / means[3]
    value = np.asarray(sum(shares) / 2 - minus.mean())
    influence = (sums[0] - shares[0] * sums[1]) / means[1] / 2 + (sums[2] - shares[1] * sums[3]) / means[3] / 2
    low, high = accelerated_interval(value, np.resize(resampled[drawn], len(draws)), influence - minus, level)
    return Estimate(value, np.clip(low, *limits), np.clip(high, *limits))

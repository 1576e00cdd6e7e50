"""Normalised regret: how far a thought is from one that makes progress at once (MRT, Def. 4.1, section 8.5, App. E)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.probes import PROBE_KS, Protocol

PAPER_ANSWERS = 16  # by which the released code divides the tokens of 8 answers
PAPER_XS = (1.0, 2.0, 4.0, 6.0)  # answers, at which it compares votes with one more group of episodes


@dataclass(frozen=True, eq=False)
class Probed:
    """Forced answers along traces, at J places each; arrays (..., J), nan where a trace has no such place.

    ``prefix_tokens``: completion tokens of the thought up to there. ``answer_tokens``: tokens of all ``replicates``
    answers together. ``accuracy``: mean correctness of the answers.
    """

    prefix_tokens: np.ndarray
    answer_tokens: np.ndarray
    accuracy: np.ndarray
    replicates: int


def token_regret(
    probes: Probed,
    budgets: Sequence[int],
    *,
    forced: Probed | None = None,
    forced_budgets: Sequence[int] = (),
    protocol: Protocol = "sound",
) -> np.ndarray:
    """Regret of each trace at each token budget: float64 (..., B + W), for ``budgets`` and then ``forced_budgets``.

    The accuracy of an immediate answer as a function of the tokens spent (prefix and one answer, on average) is drawn
    through the probes, from (0, 0), linear between them and constant after the last. Its area up to the budget,
    divided by the budget, is what the trace makes of its tokens, and regret is 1 minus that. At ``forced_budgets``,
    those beyond the longest natural completion, ``forced`` adds the answers after budget forcing (places
    w = 1st, 2nd, …). Average the result with ``traces.trace_mean``. nan for a trace without any place.

    "sound": all points together, in order of their tokens. "paper-exact": as in the released code, the tokens of the
    answers to probes (not of those after forcing) are divided by 16 although there are 8 of them; points are joined in
    the order in which they come, so that the area runs backwards where tokens do not grow; the w-th forced budget uses
    the first w forced places, and points beyond the budget stay in. It counts the prompt and the probe text as well:
    add their tokens to ``prefix_tokens`` to reproduce it. The default differs because half the answers' tokens are no
    token axis and because an area under a curve needs the curve to go to the right.
    """
    places = len(forced_budgets)
    if places and (forced is None or forced.accuracy.shape[-1] < places):
        raise ValueError(f"{places} forced budgets need as many places of forced answers")
    if min([*budgets, *forced_budgets], default=1) <= 0:
        raise ValueError("a budget must be positive")
    if protocol == "paper-exact":
        return _paper_token_regret(probes, budgets, forced, forced_budgets)
    x, y = _points(probes, probes.replicates)
    area = [curve_area(x, y, budgets)]
    if forced is not None and places:
        more_x, more_y = _points(forced, forced.replicates)
        x, y = np.concatenate([x, more_x], axis=-1), np.concatenate([y, more_y], axis=-1)
        area.append(curve_area(x, y, forced_budgets))
    return 1.0 - np.concatenate(area, axis=-1)


def curve_area(x: npt.ArrayLike, y: npt.ArrayLike, limits: npt.ArrayLike) -> np.ndarray:
    """Mean height over [0, C] of the curve through (0, 0) and the points, for every C: (..., J) -> float64 (..., B).

    ``x`` (not negative) and ``y`` float (..., J), nan for no point; points are sorted by x. Linear between points,
    constant after the last. nan where there is no point at all.
    """
    xs, ys = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    there = ~(np.isnan(xs) | np.isnan(ys))
    order = np.argsort(np.where(there, xs, np.inf), axis=-1, kind="stable")
    xs, ys, there = (np.take_along_axis(array, order, axis=-1) for array in (xs, ys, there))
    # Points that are not there repeat the last one that is, and make no difference.
    last = np.maximum(there.sum(axis=-1, keepdims=True) - 1, 0)
    xs = np.where(there, xs, np.take_along_axis(xs, last, axis=-1))
    ys = np.where(there, ys, np.take_along_axis(ys, last, axis=-1))
    origin = np.zeros((*xs.shape[:-1], 1))
    xs, ys = np.concatenate([origin, xs], axis=-1), np.concatenate([origin, ys], axis=-1)

    limit = np.asarray(limits, np.float64)
    left, right = xs[..., :-1, None], xs[..., 1:, None]  # (..., J, 1)
    bottom, top = ys[..., :-1, None], ys[..., 1:, None]
    width = right - left
    slope = np.divide(top - bottom, width, out=np.zeros_like(width), where=width > 0)
    inside = np.clip(limit - left, 0.0, width)  # (..., J, B)
    area = (inside * (bottom + slope * inside / 2)).sum(axis=-2)
    area += np.maximum(limit - xs[..., -1, None], 0.0) * ys[..., -1, None]
    return np.asarray(area / limit)


def _points(probed: Probed, divisor: float) -> tuple[np.ndarray, np.ndarray]:
    return probed.prefix_tokens + probed.answer_tokens / divisor, probed.accuracy


def _paper_token_regret(
    probes: Probed, budgets: Sequence[int], forced: Probed | None, forced_budgets: Sequence[int]
) -> np.ndarray:
    """One trace after the other, as the steps of the released code go by the order of its points."""
    x, y = _points(probes, PAPER_ANSWERS)
    more_x, more_y = _points(forced, forced.replicates) if forced is not None else (x[..., :0], y[..., :0])
    regret = np.full((*x.shape[:-1], len(budgets) + len(forced_budgets)), np.nan)
    for trace in np.ndindex(x.shape[:-1]):
        there = ~np.isnan(y[trace])
        if not there.any():
            continue
        xs, ys = np.append(0.0, x[trace][there]), np.append(0.0, y[trace][there])
        areas = [_paper_area(xs, ys, budget) for budget in budgets]
        for w, budget in enumerate(forced_budgets, start=1):
            all_x = np.concatenate([xs, more_x[trace][:w], [budget]])
            all_y = np.concatenate([ys, more_y[trace][:w], more_y[trace][w - 1 : w]])
            areas.append(np.trapezoid(all_y, all_x) / budget)
        regret[trace] = 1.0 - np.array(areas)
    return regret


def _paper_area(x: np.ndarray, y: np.ndarray, budget: float) -> float:
    below = x < budget
    if below.all():
        return float(np.trapezoid(np.append(y, y[-1]), np.append(x, budget)) / budget)
    i = int(below.sum()) - 1  # the last point below the budget, if they are in order
    there = y[i] + (budget - x[i]) / (x[i + 1] - x[i]) * (y[i + 1] - y[i])
    return float(np.trapezoid(np.append(y[: i + 1], there), np.append(x[below], budget)) / budget)


def episode_areas(
    votes: np.ndarray,
    groups: Sequence[int],
    *,
    ks: Sequence[int] = PROBE_KS,
    answers_per_group: int = 5,
    protocol: Protocol = "sound",
) -> tuple[np.ndarray, np.ndarray]:
    """Regret by episodes (MRT Fig. 26): (lost, attainable) areas of each trace, float64 (..., B) both.

    ``votes`` float (..., J, K): [maj@p]_j for p in ``ks`` (``probes.probe_majority``), nan where a trace has no place
    j. ``groups``: after how many groups of episodes to stop, B of them; a shorter trace stops at its end. One more
    group of episodes costs as much as ``answers_per_group`` more answers to the prefix before it. So after j groups one
    could, instead of going on thinking, have taken the vote of more and more answers; on the axis of answers the trace
    itself runs from [maj@1]_j, linearly, to [maj@1]_j+1.

    "sound": the best that could be had at each number of answers is the largest of the trace itself and of the votes
    after any earlier prefix, which have gone on growing since (linear between the ``ks``, constant after the last).
    "paper-exact": only the votes after the prefix just before count, and the two are compared at 1, 2, 4 and 6
    answers, with (maj@4 + maj@8) / 2 for six (needs 1, 2, 4 and 8 in ``ks``; answers_per_group 5). The default differs
    because an early vote that beats thinking does not stop to do so when the next group begins.

    Lost is the area between the best and the trace itself, attainable that under the best. The normalised regret is
    lost / attainable. "sound" divides sums over all traces (``traces.ratio_of_means`` of the sums per problem), so that
    no trace is left out; the paper divides per trace, leaves out traces with nothing attainable, and averages
    (``paper_episode_regret``).
    """
    columns = list(ks)
    if protocol == "paper-exact":
        if answers_per_group != 5 or not set(PROBE_KS) <= set(columns):
            raise ValueError("the paper's regret by episodes needs maj@1, 2, 4 and 8, and 5 answers per group")
        picked = [votes[..., columns.index(k)] for k in PROBE_KS]
        lost, best = _adjacent_areas(np.stack(picked, axis=-1))
    else:
        if 1 not in columns:
            raise ValueError("regret by episodes needs maj@1")
        lost, best = _best_areas(votes, np.asarray(columns, np.float64), columns.index(1), answers_per_group)
    stop = np.asarray(groups, np.int64)
    if len(stop) and stop.min() < 1:
        raise ValueError("groups: count from 1")
    origin = np.zeros((*lost.shape[:-1], 1))
    stop = np.minimum(stop, lost.shape[-1])
    sums = [np.concatenate([origin, np.cumsum(each, axis=-1)], axis=-1) for each in (lost, best)]
    return sums[0][..., stop], sums[1][..., stop]


def _adjacent_areas(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper's, per pair of neighbours: votes (..., J, 4) -> lost and best (..., J - 1), 0 where there is none."""
    xs = np.array(PAPER_XS)
    now, after = votes[..., :-1, :], votes[..., 1:, :1]
    own = now[..., :1] + (xs - 1) / 5 * (after - now[..., :1])
    vote = np.concatenate([now[..., :3], (now[..., 2:3] + now[..., 3:]) / 2], axis=-1)
    best = np.maximum(own, vote)
    lost, area = np.trapezoid(best - own, xs, axis=-1), np.trapezoid(best, xs, axis=-1)
    return np.nan_to_num(lost), np.nan_to_num(area)


def _best_areas(votes: np.ndarray, ks: np.ndarray, single: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """As above, votes (..., J, K), against every earlier prefix, on a grid of whole answers."""
    groups = votes.shape[-2] - 1
    accuracy = votes[..., single]
    grid = np.arange(step * groups + 1)  # answers since the first one at j = 0
    segment = np.minimum(grid // step, max(groups - 1, 0))
    share = grid / step - segment
    following = accuracy[..., np.minimum(segment + 1, groups)]
    own = (1 - share) * accuracy[..., segment] + share * np.where(share > 0, following, 0.0)
    best = own
    order = np.argsort(ks)
    for prefix in range(groups):
        answers = np.minimum(1.0 + grid - step * prefix, ks.max())
        right = np.clip(np.searchsorted(ks[order], answers), 1, max(len(ks) - 1, 1)) if len(ks) > 1 else 0 * grid
        left = np.maximum(right - 1, 0)
        low, high = ks[order][left], ks[order][right]
        part = np.divide(answers - low, high - low, out=np.zeros_like(answers), where=high > low)
        vote = (1 - part) * votes[..., prefix, order[left]] + part * votes[..., prefix, order[right]]
        best = np.where(answers >= 1, np.fmax(best, vote), best)
    best = np.where(np.isnan(own), np.nan, best)
    edges = step * np.arange(groups)[:, None] + np.arange(step + 1)  # (groups, step + 1) grid places of each segment
    lost = np.trapezoid((best - own)[..., edges], axis=-1)
    return np.nan_to_num(lost), np.nan_to_num(np.trapezoid(best[..., edges], axis=-1))


def paper_episode_regret(lost: np.ndarray, attainable: np.ndarray) -> np.ndarray:
    """lost / attainable of each trace, nan (left out of means) where nothing is attainable; any shape."""
    return np.divide(lost, attainable, out=np.full(lost.shape, np.nan), where=attainable > 0)

"""What budget forcing changes: accuracy after w extensions, and what each "Wait" does to the answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.traces import Estimate, trace_mean

FATES = ("right_to_wrong", "wrong_to_right", "stays_right", "stays_wrong", "other_wrong")


@dataclass(frozen=True, eq=False)
class ForcingCurve:
    """Accuracy and mean tokens used after each number of extensions; estimates of shape (W,)."""

    accuracy: Estimate
    tokens: Estimate


def forcing_curve(
    accuracy: npt.ArrayLike, tokens: npt.ArrayLike, draws: np.ndarray, *, level: float = 0.95
) -> ForcingCurve:
    """Means over traces, then problems, after each number of extensions.

    ``accuracy`` float (P, n, W): mean correctness of the answers to a trace after its w-th chosen number of extensions;
    ``tokens`` float (P, n, W): completion tokens used up to there, one answer included; both nan where a trace was not
    extended so far.
    """
    return ForcingCurve(
        accuracy=trace_mean(accuracy, draws, level=level),
        tokens=trace_mean(tokens, draws, level=level, fractions=False),
    )


def plurality(class_id: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent of r answers: class int64 (...) and whether it is right, bool (...).

    ``class_id`` int (..., r), -1 for no answer; ``correct`` bool (..., r). Of classes with equally many votes the one
    that was given first wins, so that the choice does not depend on which is right. -1 and False where nobody answers.
    """
    votes = (class_id[..., :, None] == class_id[..., None, :]).sum(axis=-1)  # (..., r): answers like this one
    winner = np.where(class_id >= 0, votes, 0).argmax(axis=-1)[..., None]
    return (
        np.take_along_axis(class_id, winner, axis=-1)[..., 0].astype(np.int64),
        np.take_along_axis(correct, winner, axis=-1)[..., 0],
    )


@dataclass(frozen=True, eq=False)
class WaitAudit:
    """What each of the extensions between W places did to the answers.

    ``counts`` int64 (5, W - 1): traces of each of ``FATES``; ``traces`` int64 (W - 1,): their sum. ``shares``
    (5, W - 1): each fate as a share of the traces. ``net`` (W - 1,): wrong to right minus right to wrong, as a share.
    ``tokens`` (W - 1,): mean tokens spent.
    """

    counts: np.ndarray
    traces: np.ndarray
    shares: Estimate
    net: Estimate
    tokens: Estimate


def fates_of(class_id: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Which of ``FATES`` the answer had between two places, one of them each: bool (P, n, 5, W - 1).

    ``class_id`` int (P, n, W) with -1 for no answer, ``correct`` bool (P, n, W).
    """
    before, after = correct[..., :-1], correct[..., 1:]
    same = class_id[..., :-1] == class_id[..., 1:]
    return np.stack(
        [before & ~after, ~before & after, before & after, ~before & ~after & same, ~before & ~after & ~same], axis=2
    )


def wait_audit(
    class_id: np.ndarray,
    correct: np.ndarray,
    tokens: npt.ArrayLike,
    draws: np.ndarray,
    *,
    there: np.ndarray | None = None,
    level: float = 0.95,
) -> WaitAudit:
    """Compare the answer before and after each extension.

    ``class_id`` int (P, n, W) with -1 for no answer, ``correct`` bool (P, n, W): the answer at each place (of several
    answers, their ``plurality``); ``tokens`` float (P, n, W): thought tokens up to there; ``there`` bool (P, n, W):
    which places a trace has, by default all. An answer that stays wrong "stays_wrong" if it is the same or if there
    is still none, otherwise it is "other_wrong". Shares are means over traces, then problems.
    """
    has = np.ones(correct.shape, dtype=bool) if there is None else there
    both = has[..., :-1] & has[..., 1:]
    fates = fates_of(class_id, correct)
    shares = np.where(both[:, :, None], fates, np.nan)
    used = np.diff(np.asarray(tokens, np.float64), axis=-1)
    change = shares[:, :, 1] - shares[:, :, 0]  # (P, n, W - 1)
    return WaitAudit(
        counts=(fates & both[:, :, None]).sum(axis=(0, 1)),
        traces=both.sum(axis=(0, 1)),
        shares=trace_mean(shares, draws, level=level),
        net=trace_mean(change, draws, level=level, fractions=False),
        tokens=trace_mean(np.where(both, used, np.nan), draws, level=level, fractions=False),
    )

"""What a trace would answer after each of its episodes (MRT, arXiv 2503.07572, Fig. 3, 16, 24 and 25).

A trace with G groups of episodes is probed after j = 0..G of them, with r answers each. Arrays hold J >= G + 1 places
per trace, (P, n, J, ...); ``there`` says which of them the trace has, and results are nan at the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.majk import VotePolicy, class_counts, maj_at_k_many
from extrap_eval.metrics.traces import Estimate, trace_mean

Protocol = Literal["sound", "paper-exact"]
PROBE_KS = (1, 2, 4, 8)
_CHUNK = 1 << 22  # array elements at a time, in the paper's vote


def probe_majority(
    class_id: np.ndarray,
    correct: np.ndarray,
    ks: Sequence[int] = PROBE_KS,
    *,
    there: np.ndarray | None = None,
    policy: VotePolicy = "abstain",
    protocol: Protocol = "sound",
    logprobs: np.ndarray | None = None,
) -> np.ndarray:
    """[maj@p] of the r answers to each probe, for every p in ``ks``: float64 (..., K).

    ``class_id`` int (..., r): equivalence class of each answer, -1 for none; ``correct`` bool (..., r); ``there`` bool
    (...), by default everywhere. Raises ValueError for p outside 1..r.

    "sound": expected correctness of the plurality vote of a random p-subset of the answers, ties shared equally
    (``metrics.majk``). "paper-exact": as in the analysis code released with MRT, a vote counts 2**x, x being the mean
    log-probability (nats) of the answer's tokens (``logprobs`` float (..., r)); every right answer is of one class;
    a right answer that ties with the best wrong one earns .5 however many tie; answers without a box never count. The
    default differs because a majority of equal votes is what [maj@p] is said to be, because the base 2 for nats has no
    meaning, and because it needs no log-probabilities. The released code draws 100 000 random subsets; here all subsets
    are counted.
    """
    replicates = class_id.shape[-1]
    for k in ks:
        if not 1 <= k <= replicates:
            raise ValueError(f"maj@{k} is undefined for {replicates} answers per probe")
    if protocol == "paper-exact":
        if logprobs is None:
            raise ValueError("the paper's vote needs the mean log-probability of every answer")
        weights = np.exp2(np.asarray(logprobs, np.float64))
        votes = np.stack([_likelihood_vote(class_id, correct, weights, k) for k in ks], axis=-1)
    else:
        counts = class_counts(class_id, correct)
        votes = np.stack([maj_at_k_many(*counts, k, policy)[0] for k in ks], axis=-1)
    return votes if there is None else np.where(there[..., None], votes, np.nan)


def _likelihood_vote(class_id: np.ndarray, correct: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    """float64 (...): expected correctness over all k-subsets of the last axis."""
    shape, r = class_id.shape[:-1], class_id.shape[-1]
    classes, right, weight = (array.reshape(-1, r) for array in np.broadcast_arrays(class_id, correct, weights))
    members = np.zeros((len(list(combinations(range(r), k))), r))
    for row, chosen in enumerate(combinations(range(r), k)):
        members[row, list(chosen)] = 1.0
    wrong = ~right & (classes >= 0)
    found = np.empty(len(classes))
    step = max(1, _CHUNK // members.size)
    for at in range(0, len(classes), step):
        part = slice(at, at + step)
        for_right = (weight[part] * right[part]) @ members.T  # (traces, subsets)
        for_best = np.zeros_like(for_right)
        for number in np.unique(classes[part][wrong[part]]):
            votes = weight[part] * (wrong[part] & (classes[part] == number))
            np.maximum(for_best, votes @ members.T, out=for_best)
        tied = (for_right > 0) & np.isclose(for_right, for_best, rtol=1e-12, atol=0.0)
        found[part] = np.where(tied, 0.5, for_right > for_best).mean(axis=1)
    return found.reshape(shape)


def progress(accuracy: npt.ArrayLike) -> np.ndarray:
    """What each group of episodes adds to the accuracy (MRT Def. 6.1): float (..., J) -> float64 (..., J - 1).

    ``accuracy``: mean correctness of the answers to a trace's probes, nan where it has none.
    """
    return np.diff(np.asarray(accuracy, dtype=np.float64), axis=-1)


def vote_tokens(prefix_tokens: npt.ArrayLike, answer_tokens: npt.ArrayLike, ks: Sequence[int] = PROBE_KS) -> np.ndarray:
    """Completion tokens spent on [maj@p]: the prefix once and p answers, (..., J) and (..., J) -> float64 (..., J, K).

    ``answer_tokens``: mean tokens of an answer. The paper counts the tokens of prompt and probe text for these points,
    and not for the model that answers directly; add them to ``prefix_tokens`` to reproduce its axis.
    """
    prefix, answers = np.asarray(prefix_tokens, np.float64), np.asarray(answer_tokens, np.float64)
    return np.asarray(prefix[..., None] + answers[..., None] * np.asarray(ks, np.float64))


@dataclass(frozen=True, eq=False)
class Bin:
    """The traces with ``first``..``last`` episodes (MRT groups 6–10, 26–30, 41–45), J places, K votes.

    ``traces`` int64 (J,): how many have that place. ``accuracy`` (J, K); ``tokens`` float64 (J, K) and ``episodes``
    float64 (J,): where on the axes, as means over the same traces.
    """

    first: int
    last: int
    traces: np.ndarray
    accuracy: Estimate
    tokens: np.ndarray
    episodes: np.ndarray


def bins(
    votes: np.ndarray,
    tokens: np.ndarray,
    episodes: np.ndarray,
    width: int,
    draws: np.ndarray,
    *,
    level: float = 0.95,
) -> list[Bin]:
    """Average [maj@p]_j over the traces whose total number of episodes falls into the same bin, every trace the same.

    ``votes`` float (P, n, J, K) from ``probe_majority`` with nan for places that a trace has not; ``tokens`` float
    (P, n, J, K) from ``vote_tokens``; ``episodes`` int (P, n, J): episodes in each prefix, the largest of a trace being
    its total (whatever stands at places that it has not is ignored). ``width``: bins are 1..width, width+1..2·width, ….
    """
    there = ~np.isnan(votes[..., 0])
    total = np.where(there, episodes, 0).max(axis=-1)
    number = np.where(there.any(axis=-1), np.maximum(total - 1, 0) // width, -1)
    result = []
    for chosen in np.unique(number[number >= 0]).tolist():
        inside = (number == chosen)[..., None] & there  # (P, n, J)
        places = int(np.flatnonzero(inside.any(axis=(0, 1)))[-1]) + 1
        inside = inside[..., :places]
        count = inside.sum(axis=(0, 1))
        own = np.where(inside[..., None], votes[..., :places, :], np.nan)
        result.append(
            Bin(
                first=chosen * width + 1,
                last=(chosen + 1) * width,
                traces=count,
                accuracy=trace_mean(own, draws, level=level, weigh="trace"),
                tokens=_mean_of(tokens[..., :places, :], inside[..., None], count[:, None]),
                episodes=_mean_of(episodes[..., :places], inside, count),
            )
        )
    return result


def _mean_of(values: np.ndarray, inside: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(inside, values, 0.0).sum(axis=(0, 1)) / count)

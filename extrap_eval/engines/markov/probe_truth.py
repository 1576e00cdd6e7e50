"""What is exactly true of a `MarkovPolicy` when its thoughts are cut short and an answer is asked for.

Attempts are episodes: each but the first opens with one of the phrases and has at least three steps. While a thought
goes on, the candidates of its attempts are independent draws from those that verification rejects, and the last of
them is what it would answer; the last attempt of a thought that concludes is a draw from those that end it. So all
that follows is a sum over the number of attempts.

Thoughts must end: ``max_attempts`` is needed wherever episodes are counted (a thought may still fall into a loop, which
belongs to its last episode). Nothing is shared with the estimators in ``extrap_eval.metrics``.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from extrap_eval.engines.markov import text
from extrap_eval.engines.markov.chain import candidate_edges
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.truth import attempts_within, events_within, follow, majority_correct

_MOST_COURSES = 200_000


@dataclass(frozen=True)
class Course:
    """One way a thought can go, as far as its answers are concerned: A attempts, then an end or a loop.

    ``rejected`` and ``ending`` float64[1 + distractors]: the candidates of the attempts before the last, and of the
    last one.
    """

    weight: float
    attempts: int
    looped: bool
    rejected: np.ndarray
    ending: np.ndarray

    @property
    def episodes(self) -> int:
        return max(self.attempts, 1)

    def groups(self, size: int) -> int:
        return -(-self.episodes // size)

    def best(self, group: int, size: int) -> np.ndarray | None:
        """Distribution of the best candidate after so many groups of episodes; None: there is no candidate."""
        made = min(group * size, self.attempts)
        if made == 0:
            return None
        return self.ending if made == self.attempts else self.rejected


def courses(policy: MarkovPolicy, probability: float) -> list[Course]:
    """Every course of a thought; their weights add up to 1. ValueError without ``max_attempts``."""
    if policy.max_attempts is None:
        raise ValueError("max_attempts: None: thoughts without end have no number of episodes; give a number")
    proposed = _proposed(policy, probability)
    accept = np.array([policy.accept_right, *[policy.accept_wrong] * policy.distractors])
    stop = accept + (1 - accept) * policy.give_up
    rejected = _normal(proposed * (1 - stop))
    found, going = [], 1.0
    for attempt in range(1, policy.max_attempts + 1):
        looped = going * policy.loop
        found.append(Course(looped, attempt - 1, True, rejected, rejected))
        going -= looped
        ends = proposed * (1.0 if attempt == policy.max_attempts else stop)
        found.append(Course(going * float(ends.sum()), attempt, False, rejected, _normal(ends)))
        going *= 1 - float(ends.sum())
    return [course for course in found if course.weight > 0]


def forced_answers(policy: MarkovPolicy, probability: float, budgets: Sequence[int] | np.ndarray) -> np.ndarray:
    """Cut + forced answer: the answer to one problem at each budget, float64[B, 1 + distractors], the right one first.

    A completion that has ended within the budget keeps its own answer; in all others the thought is closed at the
    budget and an answer is asked for.
    """
    budgets = np.asarray(budgets)
    shown, concluded = follow(policy, probability, attempts_within(policy, int(budgets.max(initial=0))))
    ended = concluded[events_within(policy, budgets, policy.conclusion_tokens)][:, 1:]
    seen = shown[
        np.minimum(events_within(policy, budgets, policy.proposal_end - policy.attempt_tokens), len(shown) - 1)
    ]
    asked = seen[:, 1:] - ended
    none = seen[:, :1]
    guess = _proposed(policy, probability)
    unclear = none + (1 - policy.recall) * asked.sum(axis=1, keepdims=True)
    return np.asarray(ended + policy.recall * asked + unclear * guess)


def probe_majority(
    policy: MarkovPolicy,
    probabilities: Sequence[float] | np.ndarray,
    group_size: int,
    ks: Sequence[int],
    *,
    episodes: tuple[int, int] | None = None,
) -> np.ndarray:
    """[maj@p]_j: expected correctness of the vote of p answers after j groups of episodes, float64[J, K].

    Over all thoughts that have j groups, those of all problems together (and, with ``episodes``, of so many episodes in
    all, both ends included). nan where there are none.
    """
    total, weight = np.zeros((1, len(ks))), np.zeros(1)
    for probability in probabilities:
        for course in courses(policy, probability):
            if episodes is not None and not episodes[0] <= course.episodes <= episodes[1]:
                continue
            for j in range(course.groups(group_size) + 1):
                if j == len(weight):
                    total, weight = np.concatenate([total, np.zeros((1, len(ks)))]), np.append(weight, 0.0)
                answers = _answers(policy, probability, course.best(j, group_size))
                total[j] += course.weight * sum(share * _votes(each, ks) for share, each in answers)
                weight[j] += course.weight
    return np.divide(total, weight[:, None], out=np.full(total.shape, np.nan), where=weight[:, None] > 0)


def token_regret(
    policy: MarkovPolicy,
    probabilities: Sequence[float] | np.ndarray,
    group_size: int,
    budgets: Sequence[int],
    *,
    max_tokens: int,
) -> np.ndarray:
    """Normalised regret at token budgets, float64[B], mean over thoughts, then problems.

    Accuracy along a thought is linear between its probes, from (0, 0), and constant after the last; a probe stands at
    the tokens of its prefix and its answer. The full thought is followed by its own closing marker. ``max_tokens`` cuts
    thoughts that loop; it must leave all others whole.
    """
    return 1 - np.mean([_mean_area(policy, p, group_size, budgets, max_tokens) for p in probabilities], axis=0)


def _mean_area(
    policy: MarkovPolicy, probability: float, size: int, budgets: Sequence[int], max_tokens: int
) -> np.ndarray:
    answer_tokens = policy.conclusion_tokens - 1  # without the closing marker, which the probe writes
    guess = float(_proposed(policy, probability)[0])
    area = np.zeros(len(budgets))
    for course in courses(policy, probability):
        end = policy.header_tokens + course.attempts * policy.attempt_tokens
        if end + policy.conclusion_tokens > max_tokens:
            raise ValueError(f"max_tokens: {max_tokens} cuts a thought of {course.attempts} attempts")
        xs, ys = [0.0], [0.0]
        last = course.groups(size)
        for j in range(last + 1):
            if j == 0:
                prefix = text.length(text.OPEN)
            elif j < last:  # before the blank line that ends the attempt
                prefix = policy.header_tokens + j * size * policy.attempt_tokens - 1
            else:
                prefix = max_tokens if course.looped else end + 1  # with the closing marker
            best = course.best(j, size)
            xs.append(prefix + answer_tokens)
            ys.append(guess if best is None else policy.recall * best[0] + (1 - policy.recall) * guess)
        area += course.weight * np.array([_area(xs, ys, budget) for budget in budgets])
    return area


def _area(xs: Sequence[float], ys: Sequence[float], budget: float) -> float:
    """Mean height over [0, budget] of the line through the points, which come in order."""
    inside = [*(x for x in xs if x < budget), budget]
    return float(np.trapezoid(np.interp(inside, xs, ys), inside) / budget)


def episode_regret(
    policy: MarkovPolicy,
    probabilities: Sequence[float] | np.ndarray,
    group_size: int,
    groups: Sequence[int],
    ks: Sequence[int],
    *,
    replicates: int | None = None,
    answers_per_group: int = 5,
) -> np.ndarray:
    """Normalised regret by episodes (the sound one of ``metrics.regret``), float64[B], over all thoughts together.

    ``replicates``: the votes of a prefix are estimated from so many answers, and regret is what comes out on average
    (the best of several estimates is too good); None: they are known exactly. ValueError where there are too many
    possibilities to go through.
    """
    lost, best = np.zeros(len(groups)), np.zeros(len(groups))
    for probability in probabilities:
        known: dict[bytes, dict[tuple[float, ...], float]] = {}
        # The longest first: it is the one that may have too many possibilities.
        for course in reversed(courses(policy, probability)):
            places = []
            for j in range(course.groups(group_size) + 1):
                candidates = course.best(j, group_size)
                key = b"" if candidates is None else candidates.tobytes()
                if key not in known:
                    known[key] = _vote_vectors(policy, probability, candidates, ks, replicates)
                places.append(known[key])
            if math.prod(map(len, places)) > _MOST_COURSES:
                raise ValueError("too many possibilities: take fewer replicates, distractors or attempts, or recall 1")
            for chosen in itertools.product(*(place.items() for place in places)):
                weight = course.weight * math.prod(share for _, share in chosen)
                votes = [vector for vector, _ in chosen]
                for place, stop in enumerate(groups):
                    areas = _episode_areas(votes, ks, answers_per_group, min(stop, len(votes) - 1))
                    lost[place] += weight * areas[0]
                    best[place] += weight * areas[1]
    return lost / best


def _episode_areas(votes: list[tuple[float, ...]], ks: Sequence[int], step: int, stop: int) -> tuple[float, float]:
    """Area lost and area under the best, up to ``stop`` groups, at whole numbers of answers."""
    single = [vector[list(ks).index(1)] for vector in votes]
    own = np.interp(np.arange(step * stop + 1), step * np.arange(stop + 1), single[: stop + 1])
    best = own.copy()
    for j in range(stop):
        best[step * j :] = np.maximum(best[step * j :], np.interp(np.arange(1, step * (stop - j) + 2), ks, votes[j]))
    return float(np.trapezoid(best - own)), float(np.trapezoid(best))


def _vote_vectors(
    policy: MarkovPolicy, probability: float, best: np.ndarray | None, ks: Sequence[int], replicates: int | None
) -> dict[tuple[float, ...], float]:
    """What [maj@p] of a prefix can be for the ``ks``, with its probability."""
    found: Counter[tuple[float, ...]] = Counter()
    for share, answers in _answers(policy, probability, best):
        if replicates is None:
            found[tuple(_votes(answers, ks).round(12).tolist())] += share  # type: ignore[assignment]
            continue
        for counts, chance in _draws(answers, replicates):
            vector = tuple(round(_subset_vote(counts, k), 12) for k in ks)
            found[vector] += share * chance  # type: ignore[assignment]
    return dict(found)


def _answers(policy: MarkovPolicy, probability: float, best: np.ndarray | None) -> Iterator[tuple[float, np.ndarray]]:
    """Distributions float64[1 + distractors] of the answers to one probe, each with its probability.

    All answers to a probe have one best candidate in common; given that, they are independent.
    """
    guess = _proposed(policy, probability)
    if best is None:
        yield 1.0, guess
        return
    for candidate, share in enumerate(best.tolist()):
        if share > 0:
            yield share, policy.recall * np.eye(len(guess))[candidate] + (1 - policy.recall) * guess


def _votes(answers: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """float64[K]."""
    return np.array([float(majority_correct(np.append(0.0, answers), k)) for k in ks])


def _draws(answers: np.ndarray, count: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """How often each answer can come among ``count`` of them, with its probability."""
    for bars in itertools.combinations(range(count + len(answers) - 1), len(answers) - 1):
        edges = (-1, *bars, count + len(answers) - 1)
        counts = tuple(right - left - 1 for left, right in itertools.pairwise(edges))
        ways = math.factorial(count) / math.prod(map(math.factorial, counts))
        chance = ways * math.prod(p**c for p, c in zip(answers.tolist(), counts, strict=True))
        if chance > 0:
            yield counts, chance


def _subset_vote(counts: tuple[int, ...], k: int) -> float:
    """Expected correctness of the vote of k of these answers, the right one first."""
    total = 0.0
    for votes in itertools.product(*(range(min(count, k) + 1) for count in counts)):
        if sum(votes) == k and votes[0] == max(votes):
            ways = math.prod(math.comb(count, vote) for count, vote in zip(counts, votes, strict=True))
            total += ways / votes.count(votes[0])
    return total / math.comb(sum(counts), k)


def _proposed(policy: MarkovPolicy, probability: float) -> np.ndarray:
    """The candidate of one attempt, float64[1 + distractors]."""
    return np.diff(candidate_edges(policy, probability), prepend=0.0)


def _normal(weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    return weights / total if total > 0 else weights

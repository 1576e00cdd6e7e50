"""What is exactly true of a `MarkovPolicy`: answers at every budget, pass@k, maj@k, natural ends.

Nothing is sampled here and nothing is shared with the estimators in ``extrap_eval.metrics``. All four ways to
read the answer off a completion are covered. For continued thoughts see ``probe_truth`` and ``forcing_truth``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from extrap_eval.engines.markov.chain import candidate_edges
from extrap_eval.engines.markov.policy import MarkovPolicy

Region = Literal["anywhere", "after_think"]
Pick = Literal["last", "first"]
Abstention = Literal["abstain", "class"]


def answer_distribution(
    policy: MarkovPolicy,
    probability: float,
    budgets: Sequence[int] | np.ndarray,
    *,
    region: Region = "anywhere",
    pick: Pick = "last",
) -> np.ndarray:
    """Probability of each answer to one problem at each budget, float64[B, 2 + distractors].

    Columns: no answer, the right answer, the distractors. ``region`` and ``pick`` say which box counts, as in
    the scoring's answer rule.
    """
    budgets = np.asarray(budgets)
    shown, concluded = follow(policy, probability, attempts_within(policy, int(budgets.max(initial=0))))
    if policy.box_attempts and region == "anywhere":
        visible = events_within(policy, budgets, policy.box_end - policy.attempt_tokens)
        return shown[np.minimum(visible, 1 if pick == "first" else len(shown) - 1)]
    ended = concluded[events_within(policy, budgets, policy.conclusion_box_end)]
    ended[:, 0] = 1 - ended.sum(axis=1)
    return ended


def finished_fraction(
    policy: MarkovPolicy, probabilities: Sequence[float] | np.ndarray, budgets: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Fraction of completions that end of themselves within each budget, float64[B], mean over problems."""
    budgets = np.asarray(budgets)
    attempts = attempts_within(policy, int(budgets.max(initial=0)))
    ended = [follow(policy, p, attempts)[1].sum(axis=1) for p in probabilities]
    return np.mean(ended, axis=0)[events_within(policy, budgets, policy.conclusion_tokens)]


def pass_at_k(
    policy: MarkovPolicy,
    probabilities: Sequence[float] | np.ndarray,
    budgets: Sequence[int] | np.ndarray,
    k: int,
    *,
    region: Region = "anywhere",
    pick: Pick = "last",
) -> np.ndarray:
    """Probability that one of k completions or more is right, float64[B], mean over problems."""
    answers = [answer_distribution(policy, p, budgets, region=region, pick=pick) for p in probabilities]
    return np.mean([1 - (1 - each[:, 1]) ** k for each in answers], axis=0)


def maj_at_k(
    policy: MarkovPolicy,
    probabilities: Sequence[float] | np.ndarray,
    budgets: Sequence[int] | np.ndarray,
    k: int,
    *,
    region: Region = "anywhere",
    pick: Pick = "last",
    abstention: Abstention = "abstain",
) -> np.ndarray:
    """Expected correctness of the plurality vote of k completions, float64[B], mean over problems."""
    answers = [answer_distribution(policy, p, budgets, region=region, pick=pick) for p in probabilities]
    return np.mean([majority_correct(each, k, abstention) for each in answers], axis=0)


def majority_correct(answers: np.ndarray, k: int, abstention: Abstention = "abstain") -> np.ndarray:
    """Expected correctness of the plurality vote among k independent answers, ties shared equally.

    ``answers`` float64[..., C]: probabilities of no answer, the right one, and the wrong ones. Samples
    without an answer do not vote (``"abstain"``) or vote together for one wrong answer (``"class"``). Returns
    float64[...].

    Sums over the right answer's votes g and the number t of rivals that tie with it. Rivals with at most g
    votes are counted by exponential generating functions: q^c / c! for c votes of an answer of probability q.
    """
    none, right, rivals = answers[..., 0], answers[..., 1], answers[..., 2:]
    if abstention == "class":
        none, rivals = np.zeros_like(none), np.concatenate([answers[..., :1], rivals], axis=-1)
    factorial = np.cumprod(np.concatenate([[1.0], np.arange(1.0, k + 1)]))
    exponents = np.arange(k + 1)
    none_terms = none[..., None] ** exponents / factorial
    rival_terms = rivals[..., None] ** exponents / factorial  # [..., rival, votes]
    total = np.zeros(answers.shape[:-1])
    for g in range(1, k + 1):
        others = k - g
        # ways[..., t, v]: v votes go to abstention and the rivals so far, t of these have exactly g votes
        ways = np.zeros((*total.shape, others // g + 1, others + 1))
        ways[..., 0, :] = none_terms[..., : others + 1]
        for rival in range(rivals.shape[-1]):
            before, ways = ways, np.zeros_like(ways)
            for votes in range(min(g, others + 1)):
                ways[..., votes:] += before[..., : others + 1 - votes] * _last(rival_terms, rival, votes)
            if g <= others:
                ways[..., 1:, g:] += before[..., :-1, : others + 1 - g] * _last(rival_terms, rival, g)
        shares = 1 / np.arange(1, others // g + 2)
        total += factorial[k] * right**g / factorial[g] * (ways[..., others] @ shares)
    return total


def _last(rival_terms: np.ndarray, rival: int, votes: int) -> np.ndarray:
    return rival_terms[..., rival, votes, None, None]


def attempts_within(policy: MarkovPolicy, tokens: int) -> int:
    """Attempts that begin within so many tokens, at least 1."""
    return max(1, -(-(tokens - policy.header_tokens) // policy.attempt_tokens))


def events_within(policy: MarkovPolicy, budgets: np.ndarray, offset: int) -> np.ndarray:
    """How many of the events at header + a * attempt + offset tokens, a = 1, 2, …, lie within each budget."""
    return np.maximum((budgets - policy.header_tokens - offset) // policy.attempt_tokens, 0)


def follow(policy: MarkovPolicy, probability: float, attempts: int) -> tuple[np.ndarray, np.ndarray]:
    """The chain followed for so many attempts; two arrays float64[1 + attempts, 2 + distractors].

    Row a of the first: probability of each last candidate among the first a attempts, where attempts after
    the end or after the beginning of a loop are none. Row a of the second: probability that the thought is
    concluded after at most a attempts, by answer. Column 0: no answer.
    """
    right, *wrong = np.diff(candidate_edges(policy, probability), prepend=0.0)
    proposed = np.array([0.0, right, *wrong])
    accept = np.array([0.0, policy.accept_right, *[policy.accept_wrong] * policy.distractors])
    stop = accept + (1 - accept) * policy.give_up
    settled = np.zeros_like(proposed)  # ended or looping: this answer stays
    concluded = np.zeros_like(proposed)
    going = np.zeros_like(proposed)  # last candidates of the thoughts that go on
    going[0] = 1.0
    all_shown, all_concluded = [going], [concluded]
    for attempt in range(1, attempts + 1):
        settled = settled + going * policy.loop
        shown = going.sum() * (1 - policy.loop) * proposed
        ends = shown * (1.0 if attempt == policy.max_attempts else stop)
        all_shown.append(settled + shown)
        concluded, settled, going = concluded + ends, settled + ends, shown - ends
        all_concluded.append(concluded)
    return np.array(all_shown), np.array(all_concluded)

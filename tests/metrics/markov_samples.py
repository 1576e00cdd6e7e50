"""Many samples of the markov policy at once, as arrays, read at budgets without writing their tokens."""

from __future__ import annotations

import numpy as np

from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.truth import answer_distribution, attempts_within, events_within

PROBABILITIES = (0.01, 0.03, 0.06, 0.12, 0.25, 0.5)  # of problems, drawn independently for every evaluation
BUDGETS = np.array([64, 96, 128, 192, 256, 384, 512, 768])


def correct_samples(
    policy: MarkovPolicy, probabilities: np.ndarray, n: int, budgets: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """bool (..., n, B): the last box within the budget is right. ``probabilities`` float (...), of the problems.

    The policy boxes its attempts, and has no limit to them.
    """
    chance = np.broadcast_to(np.asarray(probabilities)[..., None], (*np.shape(probabilities), n))
    visible = events_within(policy, budgets, policy.box_end - policy.attempt_tokens)
    right = np.zeros(chance.shape, dtype=bool)  # the last candidate
    going = np.ones(chance.shape, dtype=bool)
    correct = np.zeros((*chance.shape, len(budgets)), dtype=bool)
    for attempt in range(1, attempts_within(policy, int(budgets.max())) + 1):
        going &= rng.random(chance.shape) >= policy.loop
        proposed = rng.random(chance.shape) < chance
        right = np.where(going, proposed, right)
        accepted = rng.random(chance.shape) < np.where(proposed, policy.accept_right, policy.accept_wrong)
        going &= ~(accepted | (rng.random(chance.shape) < policy.give_up))
        correct[..., visible >= attempt] = right[..., None]
    return correct


def true_accuracies(policy: MarkovPolicy, budgets: np.ndarray) -> np.ndarray:
    """Closed-form accuracy of each of ``PROBABILITIES`` at each budget, float64 (6, B)."""
    return np.stack([answer_distribution(policy, p, budgets)[:, 1] for p in PROBABILITIES])

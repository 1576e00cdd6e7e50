"""The closed form against enumeration of every path, and the votes against enumeration of every outcome."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from extrap_eval.engines.markov import truth
from extrap_eval.engines.markov.policy import MarkovPolicy

ALL_RULES = [(region, pick) for region in ("anywhere", "after_think") for pick in ("last", "first")]
POLICIES = [
    MarkovPolicy(30, 0.8, 0.2, 0.1, 0.05, distractors=2, distractor_decay=0.5),
    MarkovPolicy(25, 0.6, 0.3, 0.0, 0.0, distractors=3, distractor_decay=1.0, max_attempts=2),
    MarkovPolicy(40, 0.9, 0.1, 0.2, 0.1, distractors=1, box_attempts=False, max_attempts=3),
    MarkovPolicy(33, 1.0, 0.0, 0.0, 0.0, distractors=2, box_attempts=False),
]

Event = tuple[int, int, bool]  # tokens up to the closing brace, answer (1 right, 2.. wrong), after the thought
History = tuple[float, tuple[Event, ...], int | None]  # its probability, its boxes, its length if it ends


def histories(policy: MarkovPolicy, p: float, attempts: int) -> Iterator[History]:
    """Every way in which the first so many attempts can go."""

    def go(made: int, weight: float, boxes: tuple[Event, ...]) -> Iterator[History]:
        if made == attempts:
            yield weight, boxes, None
            return
        yield weight * policy.loop, boxes, None
        start = policy.header_tokens + made * policy.attempt_tokens
        end = start + policy.attempt_tokens
        chances = [p, *((1 - p) * w for w in policy.wrong_weights)]
        for answer, chance in enumerate(chances, start=1):
            here = weight * (1 - policy.loop) * chance
            seen = (*boxes, (start + policy.box_end, answer, False)) if policy.box_attempts else boxes
            accept = policy.accept_right if answer == 1 else policy.accept_wrong
            concluded = (*seen, (end + policy.conclusion_box_end, answer, True))
            if made + 1 == policy.max_attempts:
                yield here, concluded, end + policy.conclusion_tokens
                continue
            yield here * accept, concluded, end + policy.conclusion_tokens
            yield here * (1 - accept) * policy.give_up, concluded, end + policy.conclusion_tokens
            yield from go(made + 1, here * (1 - accept) * (1 - policy.give_up), seen)

    return go(0, 1.0, ())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("region", "pick"), ALL_RULES)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_answers_agree_with_every_path(policy: MarkovPolicy, region: str, pick: str, p: float) -> None:
    attempts = 4
    last = policy.header_tokens + attempts * policy.attempt_tokens
    events = [policy.header_tokens + a * policy.attempt_tokens for a in range(attempts)]
    near = {e + d for e in events for d in range(-1, policy.attempt_tokens, 5)} | {
        e + offset + d
        for e in events
        for offset in (policy.conclusion_box_end, policy.conclusion_tokens, policy.attempt_tokens)
        for d in (-1, 0, 1)
    }
    budgets = np.array(sorted({0, 1, *(b for b in near if 0 <= b < last)}))
    expected = np.zeros((len(budgets), policy.distractors + 2))
    finished = np.zeros(len(budgets))
    total = 0.0
    for weight, boxes, length in histories(policy, p, attempts):
        total += weight
        for row, budget in enumerate(budgets):
            read = [answer for end, answer, late in boxes if end <= budget and (late or region == "anywhere")]
            expected[row, 0 if not read else read[-1 if pick == "last" else 0]] += weight
            finished[row] += weight if length is not None and length <= budget else 0
    assert total == pytest.approx(1)
    given = truth.answer_distribution(policy, p, budgets, region=region, pick=pick)  # type: ignore[arg-type]
    np.testing.assert_allclose(given, expected, atol=1e-12)
    np.testing.assert_allclose(truth.finished_fraction(policy, [p], budgets), finished, atol=1e-12)


def test_perfect_verification_is_p_to_the_k() -> None:
    policy = MarkovPolicy(50, 1.0, 0.0, 0.0, 0.0, max_attempts=4)
    budgets = [policy.header_tokens + policy.attempt_tokens * k for k in range(1, 9)]
    expected = [1 - (1 - 0.3) ** min(k, 4) for k in range(1, 9)]
    np.testing.assert_allclose(truth.pass_at_k(policy, [0.3], budgets, 1), expected, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("abstention", ["abstain", "class"])
@pytest.mark.parametrize(
    "answers",
    [
        [0.2, 0.3, 0.25, 0.15, 0.1],
        [0.0, 0.3, 0.3, 0.4],
        [0.9, 0.1, 0.0],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.5, 0.5],
    ],
)
def test_votes_agree_with_every_outcome(answers: list[float], k: int, abstention: str) -> None:
    expected = 0.0
    for votes in itertools.product(range(len(answers)), repeat=k):
        counts = [votes.count(answer) for answer in range(len(answers))]
        if abstention == "abstain":
            counts[0] = 0
        most = max(counts)
        if most and counts[1] == most:
            expected += math.prod(answers[vote] for vote in votes) / counts.count(most)
    given = truth.majority_correct(np.array(answers), k, abstention)  # type: ignore[arg-type]
    assert float(given) == pytest.approx(expected, abs=1e-12)


def test_votes_of_many_distributions_at_once_and_of_many_votes() -> None:
    answers = np.array([[[0.1, 0.5, 0.4], [0.3, 0.2, 0.5]], [[0.0, 0.6, 0.4], [0.2, 0.4, 0.4]]])
    together = truth.majority_correct(answers, 7)
    assert together.shape == (2, 2)
    for place in np.ndindex(2, 2):
        assert together[place] == pytest.approx(float(truth.majority_correct(answers[place], 7)), abs=1e-14)
    assert together[1, 1] == pytest.approx(truth.majority_correct(np.array([0.2, 0.4, 0.4]), 7))
    assert float(truth.majority_correct(np.array([0.0, 0.55, 0.45]), 101)) == pytest.approx(
        sum(math.comb(101, right) * 0.55**right * 0.45 ** (101 - right) for right in range(51, 102))
    )


def test_averages_over_problems() -> None:
    policy, budgets, problems = POLICIES[0], [40, 100, 400], [0.1, 0.5, 0.5]
    each = [truth.answer_distribution(policy, p, budgets)[:, 1] for p in problems]
    np.testing.assert_allclose(truth.pass_at_k(policy, problems, budgets, 1), np.mean(each, axis=0))
    np.testing.assert_allclose(truth.maj_at_k(policy, problems, budgets, 1), np.mean(each, axis=0))
    np.testing.assert_allclose(
        truth.pass_at_k(policy, problems, budgets, 3), np.mean(1 - (1 - np.array(each)) ** 3, axis=0)
    )

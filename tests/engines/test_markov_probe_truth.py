"""The truth of probes and regret against every path, and against asking the engine."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from extrap_eval.engines.markov import probe_truth
from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.script import load_tokenizer
from tests.engines.markov_play import PROBE, Path, answer, episodes, paths, say, tokens, vote

POLICIES = [
    MarkovPolicy(30, 0.7, 0.2, 0.1, 0.05, distractors=2, distractor_decay=0.5, max_attempts=4, recall=0.8),
    MarkovPolicy(40, 0.9, 0.1, 0.05, 0.0, distractors=2, max_attempts=3),
    MarkovPolicy(25, 0.5, 0.4, 0.0, 0.2, distractors=1, max_attempts=3, recall=0.5, box_attempts=False),
]


def answer_chances(policy: MarkovPolicy, p: float, best: int | None) -> list[float]:
    guess = [p, *((1 - p) * weight for weight in policy.wrong_weights)]
    if best is None:
        return guess
    return [policy.recall * (each == best) + (1 - policy.recall) * chance for each, chance in enumerate(guess)]


def expected_vote(chances: list[float], k: int) -> float:
    outcomes = itertools.product(range(len(chances)), repeat=k)
    return sum(math.prod(chances[each] for each in given) * vote(list(given), k) for given in outcomes)


def best_after(path: Path, group: int, size: int) -> int | None:
    made = path.candidates[: group * size]
    return made[-1] if made else None


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("among", [None, (2, 3)])
def test_votes_agree_with_every_path(policy: MarkovPolicy, size: int, among: tuple[int, int] | None) -> None:
    assert policy.max_attempts is not None
    problems, ks = [0.2, 0.6], [1, 2, 3]
    total = np.zeros((math.ceil(policy.max_attempts / size) + 1, len(ks)))
    weight = np.zeros(len(total))
    everything = 0.0
    for p in problems:
        votes = {
            best: [expected_vote(answer_chances(policy, p, best), k) for k in ks]
            for best in (None, *range(policy.distractors + 1))
        }
        for path in paths(policy, p, policy.max_attempts, policy.max_attempts):
            everything += path.weight
            count = max(len(path.candidates), 1)
            if among is not None and not among[0] <= count <= among[1]:
                continue
            for j in range(math.ceil(count / size) + 1):
                weight[j] += path.weight
                total[j] += path.weight * np.array(votes[best_after(path, j, size)])
    assert everything == pytest.approx(len(problems))
    seen = weight > 0
    found = probe_truth.probe_majority(policy, problems, size, ks, episodes=among)
    assert len(found) == np.flatnonzero(seen)[-1] + 1
    expected = np.divide(total, weight[:, None], out=np.full(total.shape, np.nan), where=weight[:, None] > 0)
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
def test_forced_answers_agree_with_every_path(policy: MarkovPolicy) -> None:
    p, attempts = 0.3, 3
    last = policy.header_tokens + attempts * policy.attempt_tokens
    budgets = list(range(last))
    expected = np.zeros((len(budgets), policy.distractors + 1))
    for path in paths(policy, p, attempts, policy.max_attempts):
        end = policy.header_tokens + len(path.candidates) * policy.attempt_tokens + policy.conclusion_tokens
        for row, budget in enumerate(budgets):
            if path.ending == "concluded" and end <= budget:
                expected[row, path.candidates[-1]] += path.weight
                continue
            named = max(0, (budget - policy.header_tokens - policy.proposal_end) // policy.attempt_tokens + 1)
            best = path.candidates[:named][-1] if named and path.candidates else None
            expected[row] += path.weight * np.array(answer_chances(policy, p, best))
    np.testing.assert_allclose(probe_truth.forced_answers(policy, p, budgets), expected, atol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [1, 2])
def test_regret_by_tokens_agrees_with_every_path(policy: MarkovPolicy, size: int) -> None:
    assert policy.max_attempts is not None
    problems, max_tokens, budgets = [0.2, 0.5], 300, (20, 77, 150, 299, 400)
    area = np.zeros(len(budgets))
    for p in problems:
        for path in paths(policy, p, policy.max_attempts, policy.max_attempts):
            made = len(path.candidates)
            last = math.ceil(max(made, 1) / size)
            xs, ys = [0.0], [0.0]
            for j in range(last + 1):
                prefix = tokens("<think>\n") if j == 0 else policy.header_tokens + size * j * policy.attempt_tokens - 1
                if j == last:
                    ended = policy.header_tokens + made * policy.attempt_tokens + tokens("</think>")
                    prefix = ended if path.ending == "concluded" else max_tokens
                xs.append(prefix + tokens("\n\nThe number is \\boxed{222}.<|im_end|>"))
                ys.append(answer_chances(policy, p, best_after(path, j, size))[0])
            for row, budget in enumerate(budgets):
                middle = (np.arange(3000) + 0.5) * budget / 3000
                area[row] += path.weight * np.interp(middle, xs, ys).mean() / len(problems)
    found = probe_truth.token_regret(policy, problems, size, budgets, max_tokens=max_tokens)
    np.testing.assert_allclose(found, 1 - area, atol=1e-4)


def literal_areas(votes: list[list[float]], ks: list[int], stop: int) -> tuple[float, float]:
    """Lost and best, five answers to a group, at whole numbers of answers."""

    def own(at: int) -> float:
        j, more = divmod(at, 5)
        return votes[j][0] if more == 0 else votes[j][0] + more / 5 * (votes[j + 1][0] - votes[j][0])

    def best(at: int) -> float:
        earlier = [float(np.interp(1 + at - 5 * j, ks, votes[j])) for j in range(at // 5 + 1) if j < stop]
        return max([own(at), *earlier])

    places = range(5 * stop + 1)
    gaps, heights = [best(at) - own(at) for at in places], [best(at) for at in places]
    return sum(gaps) - (gaps[0] + gaps[-1]) / 2, sum(heights) - (heights[0] + heights[-1]) / 2


@pytest.mark.parametrize(("policy", "replicates"), [(POLICIES[0], None), (POLICIES[1], None), (POLICIES[1], 3)])
def test_regret_by_episodes_agrees_with_every_path(policy: MarkovPolicy, replicates: int | None) -> None:
    assert policy.max_attempts is not None
    problems, ks = [0.2, 0.7], [1, 2, 3]
    lost, best = np.zeros(2), np.zeros(2)
    for p in problems:
        for path in paths(policy, p, policy.max_attempts, policy.max_attempts):
            count = max(len(path.candidates), 1)
            places = []
            for j in range(count + 1):
                chances = answer_chances(policy, p, best_after(path, j, 1))
                if replicates is None:
                    places.append([(1.0, [expected_vote(chances, k) for k in ks])])
                    continue
                every = itertools.product(range(len(chances)), repeat=replicates)
                outcomes = [
                    (math.prod(chances[a] for a in given), [vote(list(given), k) for k in ks]) for given in every
                ]
                places.append([outcome for outcome in outcomes if outcome[0] > 0])
            for chosen in itertools.product(*places):
                weight = path.weight * math.prod(share for share, _ in chosen)
                for row, stop in enumerate((1, 3)):
                    one, two = literal_areas([votes for _, votes in chosen], ks, min(stop, count))
                    lost[row] += weight * one
                    best[row] += weight * two
    found = probe_truth.episode_regret(policy, problems, 1, (1, 3), ks, replicates=replicates)
    np.testing.assert_allclose(found, lost / best, atol=1e-10)


def test_what_has_no_truth() -> None:
    with pytest.raises(ValueError, match="max_attempts: None"):
        probe_truth.probe_majority(MarkovPolicy(), [0.5], 1, [1])
    with pytest.raises(ValueError, match="max_tokens: 100 cuts a thought"):
        probe_truth.token_regret(POLICIES[0], [0.5], 1, [10], max_tokens=100)
    with pytest.raises(ValueError, match="too many possibilities"):
        probe_truth.episode_regret(POLICIES[0], [0.5], 1, [1], [1, 2, 4, 8], replicates=8)


async def test_the_engine_answers_probes_as_stated() -> None:
    """Thoughts split into episodes and probed after each, by text: within 4 standard errors of the truth."""
    policy, p, traces, replicates = POLICIES[0], 0.3, 400, 3
    assert policy.max_attempts is not None
    engine = MarkovEngine(policy, seed=6)
    max_tokens = policy.header_tokens + policy.max_attempts * policy.attempt_tokens + policy.conclusion_tokens
    found: dict[int, list[list[float]]] = {}
    for _ in range(traces):
        written = await say(engine, p, "", max_tokens)
        thought, closing, _ = written.removeprefix("<think>\n").partition("</think>")
        parts = episodes(thought)
        for j in range(len(parts) + 1):
            begun = "<think>\n" + "\n\n".join(parts[:j]) + ("\n\n" if j else "") + PROBE
            if j == len(parts) and closing:
                begun = "<think>\n" + thought + closing
            given = [answer(await say(engine, p, begun, 100), policy) for _ in range(replicates)]
            found.setdefault(j, []).append([vote(given, k) for k in (1, 2, 3)])
    expected = probe_truth.probe_majority(policy, [p], 1, [1, 2, 3])
    assert len(found) == len(expected)
    for j, votes in found.items():
        error = np.maximum(np.std(votes, axis=0, ddof=1) / np.sqrt(len(votes)), 1e-9)
        assert (np.abs(np.mean(votes, axis=0) - expected[j]) / error < 4).all(), j


async def test_the_engine_answers_at_budgets_as_stated() -> None:
    policy, p, traces = POLICIES[2], 0.3, 300
    engine = MarkovEngine(policy, seed=3)
    first = policy.header_tokens + policy.proposal_end
    budgets = [3, first - 1, first, first + policy.attempt_tokens, 95]
    right = np.zeros((traces, len(budgets)))
    for trace in range(traces):
        ids = load_tokenizer().encode(await say(engine, p, "", 400)).ids
        for row, budget in enumerate(budgets):
            text = load_tokenizer().decode(ids[:budget], skip_special_tokens=False)
            if len(ids) > budget:
                begun = text + ("**Step-by-Step" if "</think>" in text else "\n\n" + PROBE)
                text = await say(engine, p, begun, 100)
            right[trace, row] = answer(text, policy) == 0
    expected = probe_truth.forced_answers(policy, p, budgets)[:, 0]
    error = np.sqrt(expected * (1 - expected) / traces)
    assert (np.abs(right.mean(axis=0) - expected) / error < 4).all()

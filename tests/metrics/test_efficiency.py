from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.efficiency import (
    VoteCurve,
    at_equal_tokens,
    attempt_grid,
    token_ratio,
    tokens_needed,
    vote_curve,
)
from extrap_eval.metrics.intervals import resamples


def naive_majority(answers: list[int], k: int) -> float:
    """0 is right, -1 abstains."""
    subsets = list(combinations(answers, k))
    total = 0.0
    for subset in subsets:
        counts = {answer: subset.count(answer) for answer in subset if answer >= 0}
        winners = [answer for answer, count in counts.items() if count == max(counts.values())]
        total += 1 / len(winners) if 0 in winners else 0
    return total / len(subsets)


def naive_pass(answers: list[int], k: int) -> float:
    subsets = list(combinations(answers, k))
    return sum(0 in subset for subset in subsets) / len(subsets)


def test_votes_against_tokens() -> None:
    answers = np.array([[0, 0, 1, -1], [1, 1, 0, 2], [0, 0, 0, 0]])
    tokens = np.array([[10, 20, 30, 40], [100, 100, 100, 100], [7, 7, 7, 11]])
    curve = vote_curve(answers, answers == 0, tokens, (1, 2, 4))
    expected = [[naive_majority(row, k) for row in answers.tolist()] for k in (1, 2, 4)]
    np.testing.assert_allclose(curve.values, expected, atol=1e-12)
    np.testing.assert_allclose(curve.tokens, [[25 * k, 100 * k, 8 * k] for k in (1, 2, 4)])
    found = curve.accuracy(resamples(3, 50, 0))
    np.testing.assert_allclose(found.value, np.mean(expected, axis=1))


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.1, 0.25, 0.4, 1.0]),
)
def test_tokens_needed_agree_with_looking_along_the_curve(steps: list[tuple[int, float]], target: float) -> None:
    tokens = np.cumsum([step for step, _ in steps]).astype(float)
    heights = np.array([height for _, height in steps])
    found = float(tokens_needed(heights, tokens, [target])[0])
    places = np.arange(0, tokens[-1] + 0.001, 0.01)
    there = np.interp(places, [0, *tokens], [0, *heights]) >= target - 1e-9
    if there.any():
        assert found == pytest.approx(places[there.argmax()], abs=0.02)
    else:
        assert found == math.inf


def test_ratio_of_two_models_by_hand() -> None:
    """The same accuracy at half the tokens, in every problem and so in every resample."""
    values = np.array([[0.0, 0.5, 1.0], [0.5, 0.75, 1.0]])
    tokens = np.array([[100.0, 200, 300], [200, 400, 600]])
    slow, fast = VoteCurve((1, 2), values, tokens), VoteCurve((1, 2), values, tokens / 2)
    found = token_ratio(slow, fast, (0.25, 0.5, 0.7, 0.9), resamples(3, 300, 0))
    np.testing.assert_allclose(found.value[:3], 2)
    np.testing.assert_allclose(found.low[:2], 2)
    np.testing.assert_allclose(found.high[:2], 2)
    # Neither reaches .9: nothing is known. In some resamples neither reaches .7.
    assert np.isnan(found.value[3])
    assert (found.low[3], found.high[3]) == (0, math.inf)


def test_ratio_where_only_one_model_gets_there() -> None:
    weak, strong = np.full((1, 10), 0.2), np.full((1, 10), 0.8)
    tokens = np.full((1, 10), 50.0)
    draws = resamples(10, 100, 0)
    first = token_ratio(VoteCurve((1,), weak, tokens), VoteCurve((1,), strong, tokens), (0.5, 0.1), draws)
    assert (first.value[0], first.low[0], first.high[0]) == (math.inf, math.inf, math.inf)
    assert first.value[1] == pytest.approx(4)
    second = token_ratio(VoteCurve((1,), strong, tokens), VoteCurve((1,), weak, tokens), (0.5,), draws)
    assert (second.value[0], second.high[0]) == (0, 0)


def test_ratio_covers_the_truth() -> None:
    """Two models whose accuracy grows linearly with tokens; the first needs 1.5 times as many."""
    rng = np.random.default_rng(4)
    covered, replications = 0, 200
    draws = resamples(40, 400, 1)
    for _ in range(replications):
        ease = rng.random(40)
        curves = []
        for slope in (1.0, 1.5):
            chance = np.minimum(np.outer([0.2, 0.4, 0.6], np.ones(40)) * slope * 2 * ease, 1.0)
            curves.append(VoteCurve((1, 2, 4), rng.binomial(8, chance) / 8, np.outer([100, 200, 300], np.ones(40))))
        found = token_ratio(curves[0], curves[1], (0.2,), draws)
        covered += bool(found.low[0] <= 1.5 <= found.high[0])
    assert covered / replications >= 0.9


def test_ratio_refuses_other_problems() -> None:
    curve = VoteCurve((1,), np.zeros((1, 3)), np.ones((1, 3)))
    with pytest.raises(ValueError, match="3 and 3 problems in the curves, 4 in the resamples"):
        token_ratio(curve, curve, (0.5,), resamples(4, 10, 0))


@pytest.mark.parametrize("vote", ["pass", "maj"])
def test_grid_agrees_with_enumeration(vote: str) -> None:
    rng = np.random.default_rng(0)
    problems, samples, places, replicates = 2, 4, 4, 2
    answers = rng.integers(-1, 3, (problems, samples, places, replicates))
    groups = rng.integers(0, places, (problems, samples))
    groups[0, 0] = places - 1
    prefix = np.cumsum(rng.integers(1, 100, (problems, samples, places)), axis=-1).astype(float)
    answering = rng.integers(1, 20, (problems, samples, places)).astype(float)
    ks = (1, 2, 4)
    grid = attempt_grid(
        answers,
        answers == 0,
        prefix,
        answering,
        groups,
        ks,
        resamples(problems, 30, 0),
        vote=vote,  # type: ignore[arg-type]
    )
    one = naive_pass if vote == "pass" else naive_majority
    assert grid.values.shape == (places, 3, problems)
    for j in range(places):
        spent = []
        for problem in range(problems):
            at = [min(j, int(groups[problem, sample])) for sample in range(samples)]
            spent += [prefix[problem, i, a] + answering[problem, i, a] for i, a in enumerate(at)]
            for column, k in enumerate(ks):
                each = [
                    one([int(answers[problem, i, a, replicate]) for i, a in enumerate(at)], k)
                    for replicate in range(replicates)
                ]
                assert grid.values[j, column, problem] == pytest.approx(np.mean(each))
        np.testing.assert_allclose(grid.tokens[j], np.mean(spent) * np.array(ks))
    np.testing.assert_allclose(grid.value.value, grid.values.mean(axis=-1))


def test_a_grid_needs_the_places_of_its_traces() -> None:
    answers = np.zeros((1, 1, 2, 1), dtype=int)
    tokens = np.ones((1, 1, 2))
    with pytest.raises(ValueError, match="a trace has 2 groups, but there are 2 places"):
        attempt_grid(answers, answers == 0, tokens, tokens, np.array([[2]]), (1,), resamples(1, 5, 0))


def test_equal_tokens() -> None:
    """One problem pair, 1 or 2 samples; 0, 1, 2 groups cost 10, 30, 50 tokens a sample."""
    answers = np.array([[[[1], [0], [0]]] * 2, [[[1], [1], [0]]] * 2])
    prefix = np.broadcast_to(np.array([5.0, 25, 45]), (2, 2, 3))
    draws = resamples(2, 50, 0)
    grid = attempt_grid(answers, answers == 0, prefix, np.full((2, 2, 3), 5.0), np.full((2, 2), 2), (1, 2), draws)
    np.testing.assert_allclose(grid.tokens, [[10, 20], [30, 60], [50, 100]])
    np.testing.assert_allclose(grid.value.value[:, 0], [0, 0.5, 1])
    found = at_equal_tokens(grid, (10, 40, 60, 100), draws)
    # One sample: 40 tokens are half way between 1 and 2 groups; 60 cannot be spent. Two samples: 40 is half way from
    # none to one group, 60 is one group, 100 is two.
    expected = [[0.0, np.nan], [0.75, 0.25], [np.nan, 0.5], [np.nan, 1.0]]
    np.testing.assert_allclose(found.value, expected)
    assert np.isnan(found.low).tolist() == np.isnan(expected).tolist()

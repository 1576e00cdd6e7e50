"""Entropy, branching and covered mass against distributions whose values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.scoring.distributions import MOST, by_position, condense, rounded

# Probabilities, the most probable first; how many asked for; entropy of these, branching, covered mass.
KNOWN = [
    ([1.0], 1, 0.0, 1, 1.0),
    ([0.5, 0.5], 2, math.log(2), 2, 1.0),
    ([0.25] * 4, 4, math.log(4), 4, 1.0),
    ([0.96, 0.04], 2, -0.96 * math.log(0.96) - 0.04 * math.log(0.04), 1, 1.0),
    ([0.5, 0.25, 0.2, 0.05], 4, 0.5 * math.log(2) + 0.25 * math.log(4) + 0.2 * math.log(5) + 0.05 * math.log(20), 3, 1),
    ([0.5, 0.25, 0.2, 0.05], 2, 0.5 * math.log(2) + 0.25 * math.log(4), 3, 0.75),  # a lower bound: N + 1
    ([1 / 100] * 100, 100, math.log(100), 95, 1.0),  # 0.95 exactly is reached, whatever rounding does
    ([1 / 100] * 100, 20, 0.2 * math.log(100), 21, 0.2),
]


@pytest.mark.parametrize(("p", "top", "entropy", "branching", "covered"), KNOWN)
def test_a_known_distribution(p: list[float], top: int, entropy: float, branching: int, covered: float) -> None:
    known = np.log(np.array([p], np.float32))[:, :top]
    kept = condense(known[:, 0], known)
    assert kept.entropy.tolist() == [float(np.float16(entropy))]
    assert kept.branching.tolist() == [branching]
    assert kept.covered.tolist() == [float(np.float16(covered))]
    assert kept.chosen.tolist() == [float(np.float16(math.log(p[0])))]
    assert (kept.full, kept.uncovered.tolist(), kept.top) == (branching <= top, [branching > top], top)


@st.composite
def distributions(draw: st.DrawFn) -> list[list[float]]:
    size = draw(st.integers(1, 30))
    weight = st.floats(1e-6, 1.0)
    rows = draw(st.lists(st.lists(weight, min_size=size, max_size=size), min_size=1, max_size=5))
    return [sorted((w / sum(row) for w in row), reverse=True) for row in rows]


@given(distributions(), st.integers(1, 30))
def test_agrees_with_a_sum_token_by_token(rows: list[list[float]], asked: int) -> None:
    top = min(asked, len(rows[0]))
    known = np.log(np.array(rows))[:, :top]
    kept = condense(known[:, -1], known)
    for place, row in enumerate(rows):
        mass = count = total = 0.0
        for p in row[:top]:
            total -= p * math.log(p)
            count += mass < 0.95 - 1e-6
            mass += p
        count += mass < 0.95 - 1e-6
        assert kept.entropy[place] == pytest.approx(total, rel=1e-3, abs=1e-6)
        assert abs(kept.branching[place] - count) <= any(abs(np.cumsum(row) - 0.95 + 1e-6) < 1e-9)
        assert kept.covered[place] == pytest.approx(mass, rel=1e-3)


def test_what_is_missing_makes_entropy_and_count_lower_bounds() -> None:
    rng = np.random.default_rng(0)
    p = -np.sort(-rng.dirichlet(np.full(500, 0.05), 200))
    whole = condense(np.log(p[:, 0]), np.log(np.maximum(p, 1e-300)))
    for top in (1, 5, 20):
        part = condense(np.log(p[:, 0]), np.log(np.maximum(p[:, :top], 1e-300)))
        assert (part.entropy <= whole.entropy).all()
        assert (part.branching <= whole.branching).all()
        assert (part.branching[~part.uncovered] == whole.branching[~part.uncovered]).all()
        assert part.uncovered.any()
        assert not part.full


def test_perplexity_is_that_of_the_rounded_log_probabilities() -> None:
    chosen = np.log(np.array([0.5, 0.25, 0.125]))
    kept = condense(chosen, chosen[:, None])
    assert kept.perplexity == pytest.approx(4.0, rel=1e-3)
    assert math.isnan(condense(np.empty(0), np.empty((0, 2))).perplexity)


def test_impossible_values_stay_finite_where_they_are_stored() -> None:
    assert rounded(np.array([-1e9, -9999.0, 1e9])).tolist() == [-65504.0, -10000.0, 65504.0]
    kept = condense(np.array([-np.inf]), np.array([[0.0, -np.inf]]))
    assert (kept.chosen.tolist(), kept.entropy.tolist(), kept.branching.tolist()) == ([-65504.0], [0.0], [1])


def test_a_count_beyond_what_is_stored_is_the_largest_one() -> None:
    known = np.full((1, 70_000), -math.log(100_000))
    assert condense(known[:, 0], known).branching.tolist() == [MOST]


@pytest.mark.parametrize(
    ("chosen", "top", "words"),
    [
        ([0.0], [[0.0, 0.0]], "not those of a distribution"),  # mass 2
        ([3.0], [[-0.1]], "not those of a distribution"),
        ([float("nan")], [[-0.1]], "not those of a distribution"),
        ([-1.0], [[-2.0, -1.0]], "do not fall"),
        ([-1.0, -1.0], [[-1.0]], "shapes"),
    ],
)
def test_what_is_no_distribution_is_refused(chosen: list[float], top: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        condense(np.array(chosen), np.array(top))


@given(st.lists(st.floats(0, 10), max_size=60), st.integers(1, 25))
def test_means_by_position_agree_with_a_loop(values: list[float], bins: int) -> None:
    parts: list[list[float]] = [[] for _ in range(bins)]
    for i, value in enumerate(values):
        parts[i * bins // len(values)].append(value)
    expected = [sum(part) / len(part) if part else math.nan for part in parts]
    np.testing.assert_allclose(by_position(np.array(values), bins), expected, rtol=1e-12)

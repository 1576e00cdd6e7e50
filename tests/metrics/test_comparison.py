from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.comparison import holm, sign_flip_test, solved_by

SIXTEENTHS = st.integers(-16, 16)


def enumerated(sixteenths: list[int]) -> Fraction:
    """All sign vectors, in whole numbers; ties count half."""
    if not any(sixteenths):
        return Fraction(1)
    observed = abs(sum(sixteenths))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, sixteenths, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(sixteenths))
    ]
    return Fraction(sum((total > observed) + (total >= observed) for total in sums), 2 * len(sums))


@given(st.lists(SIXTEENTHS, min_size=1, max_size=9))
def test_few_problems_are_enumerated(sixteenths: list[int]) -> None:
    assert sign_flip_test(np.array(sixteenths) / 16) == pytest.approx(float(enumerated(sixteenths)))


@given(st.lists(SIXTEENTHS, min_size=6, max_size=10), st.integers(0, 100))
def test_random_flips_come_near_enumeration(sixteenths: list[int], seed: int) -> None:
    exact = float(enumerated(sixteenths))
    found = float(sign_flip_test(np.array(sixteenths) / 16, flips=2**5, seed=seed))
    many = float(sign_flip_test(np.array([*sixteenths, *[0] * 30]) / 16, seed=seed))  # zeros change nothing
    assert many == pytest.approx(exact, abs=0.025)  # 5 standard errors of 10000 flips at 1/2
    assert 0.5 / 33 <= found <= 1


def test_series_share_the_flips_and_keep_their_shape() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, size=(2, 3, 40))
    found = sign_flip_test(values, seed=4)
    assert found.shape == (2, 3)
    for where in np.ndindex(2, 3):
        assert found[where] == sign_flip_test(values[where], seed=4)
    np.testing.assert_array_equal(sign_flip_test(-3 * values, seed=4), found)


@pytest.mark.parametrize("problems", [1, 5, 30])
def test_no_difference_is_no_evidence(problems: int) -> None:
    assert sign_flip_test(np.zeros(problems)) == 1


def test_all_problems_on_one_side() -> None:
    assert sign_flip_test(np.ones(5)) == 1 / 32
    assert sign_flip_test(np.linspace(0.1, 1, 30), flips=999) == 0.5 / 1000


def by_definition(p: list[float]) -> list[float]:
    """The least alpha at which Holm's procedure rejects each, found on the thresholds themselves."""
    ranked = sorted(p)
    adjusted = []
    for value in p:
        before = [q for q in ranked if q <= value]
        adjusted.append(min(1.0, max(q * (len(p) - ranked.index(q)) for q in before)))
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm(p: list[float]) -> None:
    found = holm(p)
    np.testing.assert_allclose(found, by_definition(p))
    assert (found >= np.array(p) - 1e-15).all()
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if p[i] * (len(p) - step) > alpha:
                break
            rejected.add(i)
        assert {i for i in range(len(p)) if found[i] <= alpha} == rejected


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_solved_by_counts_sets(pairs: list[tuple[bool, bool]]) -> None:
    first, second = zip(*pairs, strict=True)
    found = solved_by([first], [second])
    a, b = ({i for i, solved in enumerate(each) if not solved} for each in (first, second))
    assert found.neither == [len(a & b)]
    assert found.second_only == [len(a - b)]
    assert found.first_only == [len(b - a)]
    assert found.both == [len(pairs) - len(a | b)]
    with pytest.raises(ValueError, match="the same problems"):
        solved_by([True], [True, False])

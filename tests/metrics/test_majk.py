from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.metrics.majk import MajResult, class_counts, maj_at_k, maj_at_k_many

Case = tuple[list[int], list[bool], int, int]


def enumerate_votes(counts: list[int], right: list[bool], abstain: int, k: int, policy: str) -> tuple[float, float]:
    """Every k-subset, one by one."""
    votes = [i for i, count in enumerate(counts) for _ in range(count)]
    votes += [-1 if policy == "abstain" else len(counts)] * abstain
    right = [*right, False]
    tied, correct = 0, Fraction(0)
    subsets = list(itertools.combinations(votes, k))
    for subset in subsets:
        tally = Counter(vote for vote in subset if vote >= 0)
        if not tally:
            continue
        best = max(tally.values())
        winners = [vote for vote, count in tally.items() if count == best]
        correct += Fraction(sum(right[vote] for vote in winners), len(winners))
        tied += len(winners) > 1
    return float(correct / len(subsets)), tied / len(subsets)


def dynamic_program(counts: list[int], right: list[bool], abstain: int, k: int) -> tuple[Fraction, Fraction]:
    """Exact integers: for each winning count, polynomials in (votes drawn, classes at the winning count)."""
    correct, tie = Fraction(0), Fraction(0)
    for m in range(1, k + 1):
        state = {(drawn, 0, 0): comb(abstain, drawn) for drawn in range(min(abstain, k) + 1)}
        for count, good in zip(counts, right, strict=True):
            grown: dict[tuple[int, int, int], int] = {}
            for (drawn, tied, good_tied), ways in state.items():
                for votes in range(min(count, m, k - drawn) + 1):
                    at = votes == m
                    key = (drawn + votes, tied + at, good_tied + (at and good))
                    grown[key] = grown.get(key, 0) + ways * comb(count, votes)
            state = grown
        for (drawn, tied, good_tied), ways in state.items():
            if drawn == k and tied:
                correct += Fraction(ways * good_tied, tied)
                tie += ways * (tied > 1)
    total = comb(sum(counts) + abstain, k)
    return correct / total, tie / total


@st.composite
def small_votes(draw: st.DrawFn) -> Case:
    votes = draw(st.lists(st.integers(-1, 4), min_size=1, max_size=10))
    counts = [votes.count(i) for i in range(5)]
    right = draw(st.lists(st.booleans(), min_size=5, max_size=5))
    return counts, right, votes.count(-1), draw(st.integers(1, len(votes)))


@settings(max_examples=150, deadline=None)
@given(small_votes(), st.sampled_from(["abstain", "class"]))
def test_equals_enumeration_of_all_subsets(case: Case, policy: str) -> None:
    counts, right, abstain, k = case
    result = maj_at_k(counts, right, abstain, k, policy)  # type: ignore[arg-type]
    correct, tie = enumerate_votes(counts, right, abstain, k, policy)
    assert result.correct == pytest.approx(correct, abs=1e-12)
    assert result.tie == pytest.approx(tie, abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "right", "abstain", "k"),
    [
        ([20, 19, 10, 3, 3, 3, 1, 1], [0, 1, 0, 0, 1, 0, 0, 0], 4, 31),
        ([6] * 8, [1] + [0] * 7, 16, 32),
        ([1] * 30, [1] * 3 + [0] * 27, 2, 16),
        ([40, 24], [1, 0], 0, 64),
        ([32, 32], [1, 0], 0, 64),
        ([5, 3], [1, 0], 56, 8),
    ],
)
def test_equals_exact_integers_at_n_64(counts: list[int], right: list[int], abstain: int, k: int) -> None:
    correct, tie = dynamic_program(counts, [bool(r) for r in right], abstain, k)
    result = maj_at_k(counts, right, abstain, k)
    assert result.correct == pytest.approx(float(correct), abs=1e-11)
    assert result.tie == pytest.approx(float(tie), abs=1e-11)


def test_two_large_classes_against_the_hypergeometric_sum() -> None:
    right, wrong, k = 330, 310, 321
    ways = [comb(right, i) * comb(wrong, k - i) for i in range(k + 1)]
    expected = Fraction(sum(ways[k // 2 + 1 :]), sum(ways))
    result = maj_at_k([right, wrong], [True, False], 0, k)
    assert result.correct == pytest.approx(float(expected), abs=1e-10)
    assert result.tie == pytest.approx(0, abs=1e-10)  # an odd k with two classes cannot tie


@pytest.mark.parametrize(
    ("counts", "right", "abstain", "k", "policy", "expected"),
    [
        (
            [4, 12],
            [True, False],
            0,
            1,
            "abstain",
            MajResult(0.25, 0.0),
        ),  # one vote: the share of correct samples
        ([4, 12], [True, False], 0, 16, "abstain", MajResult(0.0, 0.0)),
        ([8, 8], [True, False], 0, 16, "abstain", MajResult(0.5, 1.0)),
        ([2, 2, 2], [True, True, False], 0, 6, "abstain", MajResult(2 / 3, 1.0)),
        ([1], [True], 15, 16, "abstain", MajResult(1.0, 0.0)),  # the only vote wins ..
        ([1], [True], 15, 16, "class", MajResult(0.0, 0.0)),  # .. unless silence votes too
        ([1], [True], 15, 1, "abstain", MajResult(1 / 16, 0.0)),  # nobody votes: wrong
        ([], [], 16, 4, "abstain", MajResult(0.0, 0.0)),
        ([], [], 16, 4, "class", MajResult(0.0, 0.0)),
        ([0, 16, 0], [False, True, False], 0, 7, "abstain", MajResult(1.0, 0.0)),
    ],
)
def test_known_values(
    counts: list[int], right: list[bool], abstain: int, k: int, policy: str, expected: MajResult
) -> None:
    result = maj_at_k(counts, right, abstain, k, policy)  # type: ignore[arg-type]
    assert (result.correct, result.tie) == pytest.approx((expected.correct, expected.tie), abs=1e-12)


@pytest.mark.parametrize("k", [0, 17])
def test_k_out_of_range_is_an_error(k: int) -> None:
    with pytest.raises(ValueError, match="undefined for n = 16 samples"):
        maj_at_k([10, 2], [True, False], 4, k)


def test_bad_input_is_an_error() -> None:
    with pytest.raises(ValueError, match="negative"):
        maj_at_k([3, -1], [True, False], 0, 1)
    with pytest.raises(ValueError, match="policy"):
        maj_at_k([3], [True], 0, 1, "ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="equal"):
        maj_at_k([3, 1], [True], 0, 1)


def test_many_equals_one_by_one() -> None:
    rng = np.random.default_rng(3)
    class_id = rng.integers(-1, 4, size=(5, 3, 12))
    gold = rng.integers(0, 4, size=(5, 1, 1))
    correct = class_id == gold
    counts, right, abstain = class_counts(class_id, correct)
    assert counts.shape == right.shape == (5, 3, 4)
    assert abstain.shape == (5, 3)
    assert (counts.sum(-1) + abstain == 12).all()
    voted, tied = maj_at_k_many(counts, right, abstain, 5)
    assert voted.shape == tied.shape == (5, 3)
    for where in np.ndindex(5, 3):
        one = maj_at_k(counts[where], right[where], int(abstain[where]), 5)
        assert (voted[where], tied[where]) == (one.correct, one.tie)


def test_no_answers_at_all() -> None:
    class_id = np.full((2, 3, 4), -1)
    counts, right, abstain = class_counts(class_id, np.zeros_like(class_id, dtype=bool))
    assert counts.shape == (2, 3, 0)
    voted, tied = maj_at_k_many(counts, right, abstain, 4)
    assert not voted.any()
    assert not tied.any()

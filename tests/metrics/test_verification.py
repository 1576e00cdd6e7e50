from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.intervals import resamples
from extrap_eval.metrics.verification import Judgements, verification_gap

COUNTS = st.tuples(*[st.integers(0, 4)] * 6)


def judgements(rows: list[tuple[int, ...]]) -> Judgements:
    """Rows of (accepted, refused, unreadable) of right answers and (rejected, accepted, unreadable) of wrong ones."""
    a = np.array(rows, dtype=np.int64)
    return Judgements(a[:, :3].sum(axis=1), a[:, 0], a[:, 2], a[:, 3:].sum(axis=1), a[:, 3], a[:, 5])


def slowly(rows: list[tuple[int, ...]], drawn: np.ndarray, generation: np.ndarray) -> tuple[float, float] | None:
    """Pooled balanced accuracy and its gap, judgement by judgement."""
    right: list[bool] = []
    wrong: list[bool] = []
    for p in drawn.tolist():
        accepted, refused, unread, rejected, taken, lost = rows[p]
        right += [True] * accepted + [False] * (refused + unread)
        wrong += [True] * rejected + [False] * (taken + lost)
    if not right or not wrong:
        return None
    balanced = (sum(right) / len(right) + sum(wrong) / len(wrong)) / 2
    return balanced, balanced - float(np.mean([generation[p] for p in drawn.tolist()]))


@given(st.lists(COUNTS, min_size=2, max_size=8), st.integers(0, 1000))
def test_estimates_are_those_of_the_judgements_one_by_one(rows: list[tuple[int, ...]], seed: int) -> None:
    generation = np.random.default_rng(seed).integers(0, 5, len(rows)) / 4
    draws = resamples(len(rows), 50, seed)
    found = verification_gap(judgements(rows), generation, draws)
    expected = slowly(rows, np.arange(len(rows)), generation)
    if expected is None:
        assert np.isnan(found.balanced.value)
        assert np.isnan(found.gap.value)
    else:
        np.testing.assert_allclose([found.balanced.value, found.gap.value], expected)
        assert 0 <= found.balanced.low <= found.balanced.value <= found.balanced.high <= 1
        assert -1 <= found.gap.low <= found.gap.value <= found.gap.high <= 1
    within = []
    for p, row in enumerate(rows):
        if sum(row[:3]) and sum(row[3:]):
            within.append((row[0] / sum(row[:3]) + row[3] / sum(row[3:])) / 2 - generation[p])
    assert found.both == len(within)
    if within:
        assert found.gap_within.value == pytest.approx(np.mean(within))
    else:
        assert np.isnan(found.gap_within.value)


def test_by_hand() -> None:
    # One problem with both kinds, one with right answers alone; one judgement cannot be read.
    judged = judgements([(3, 1, 0, 1, 2, 1), (2, 2, 0, 0, 0, 0)])
    draws = resamples(2, 100, 0)
    found = verification_gap(judged, np.array([0.5, 0.25]), draws)
    assert found.true_positive.value == 5 / 8
    assert found.true_negative.value == 1 / 4
    assert found.balanced.value == pytest.approx((5 / 8 + 1 / 4) / 2)
    assert found.generation.value == 0.375
    assert found.both == 1
    assert found.gap_within.value == pytest.approx((3 / 4 + 1 / 4) / 2 - 0.5)
    read = verification_gap(judged.readable(), np.array([0.5, 0.25]), draws)
    assert read.true_negative.value == pytest.approx(1 / 3)


def test_intervals_cover_the_known_rates() -> None:
    """Judgements drawn with rates that differ by problem: the 95 % intervals hold the truth about as often."""
    rng = np.random.default_rng(7)
    problems, trials = 30, 120
    draws = resamples(problems, 400, 1)
    inside = np.zeros(2)
    for _ in range(trials):
        accept, reject = rng.beta(8, 2, problems), rng.beta(5, 5, problems)  # means 0.8 and 0.5
        solved = rng.beta(2, 3, problems)  # 0.4
        right = rng.integers(0, 2, problems) * 4
        wrong = rng.integers(1, 4, problems) * 4
        none = np.zeros(problems, dtype=np.int64)
        judged = Judgements(right, rng.binomial(right, accept), none, wrong, rng.binomial(wrong, reject), none)
        found = verification_gap(judged, solved, draws)
        for i, (estimate, truth) in enumerate(((found.balanced, 0.65), (found.gap, 0.25))):
            inside[i] += estimate.low <= truth <= estimate.high
    assert (inside / trials > 0.89).all(), inside / trials
    assert (inside / trials < 0.995).all(), inside / trials


def test_perfect_verification_keeps_an_interval() -> None:
    judged = judgements([(4, 0, 0, 4, 0, 0)] * 10)
    found = verification_gap(judged, np.full(10, 0.5), resamples(10, 200, 0))
    assert found.balanced.value == found.balanced.high == 1
    assert 0.5 < found.balanced.low < 1

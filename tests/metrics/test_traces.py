from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrap_eval.metrics.intervals import difference_interval, interval, resamples
from extrap_eval.metrics.traces import of_problems, ratio_of_means, trace_mean

FRACTIONS = st.sampled_from([math.nan, 0.0, 0.25, 0.5, 1.0])


def naive_mean(values: np.ndarray, weigh: str) -> float:
    """Of one quantity, (P, n)."""
    problems = [[value for value in row if not math.isnan(value)] for row in values.tolist()]
    problems = [row for row in problems if row]
    if not problems:
        return math.nan
    if weigh == "trace":
        every = [value for row in problems for value in row]
        return sum(every) / len(every)
    return sum(sum(row) / len(row) for row in problems) / len(problems)


@given(arrays(np.float64, (5, 3, 2), elements=FRACTIONS), st.sampled_from(["trace", "problem"]), st.booleans())
def test_means_leave_out_what_is_not_there(values: np.ndarray, weigh: str, fractions: bool) -> None:
    draws = resamples(5, 60, 0)
    found = trace_mean(values, draws, weigh=weigh, fractions=fractions)  # type: ignore[arg-type]
    expected = [naive_mean(values[..., i], weigh) for i in range(2)]
    np.testing.assert_allclose(found.value, expected, atol=1e-12)
    problems = (~np.isnan(values)).any(axis=1).sum(axis=0)  # (2,)
    np.testing.assert_array_equal(np.isnan(found.low), problems < 2)
    seen = problems >= 2
    assert (found.low[seen] <= found.value[seen]).all()
    assert (found.value[seen] <= found.high[seen]).all()
    if fractions:
        assert (found.low[seen] >= 0).all()
        assert (found.high[seen] <= 1).all()


def test_complete_arrays_have_the_intervals_of_their_problems() -> None:
    rng = np.random.default_rng(0)
    values, draws = rng.integers(0, 2, (12, 4, 3)).astype(float), resamples(12, 500, 1)
    for weigh in ("trace", "problem"):
        found = trace_mean(values, draws, weigh=weigh)  # type: ignore[arg-type]
        low, high = interval(values.mean(axis=1).T, draws)
        np.testing.assert_allclose([found.low, found.high], [low, high], atol=1e-12)
        found = trace_mean(values, draws, weigh=weigh, fractions=False)  # type: ignore[arg-type]
        low, high = difference_interval(values.mean(axis=1).T, draws)
        np.testing.assert_allclose([found.low, found.high], [low, high], atol=1e-12)


def test_a_problem_that_counts_for_nothing_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    values = rng.random((8, 2))
    more = np.concatenate([values, np.full((8, 2), np.nan)])
    few, many = trace_mean(values, resamples(8, 4000, 1)), trace_mean(more, resamples(16, 4000, 1))
    assert few.value == pytest.approx(many.value)
    # The other problems are drawn a varying number of times, which widens the interval a little and no more.
    assert few.high - few.low == pytest.approx(many.high - many.low, rel=0.15)


def test_equal_traces_give_the_exact_bound() -> None:
    draws = resamples(6, 200, 0)
    for value in (0.0, 1.0):
        values = np.full((6, 2), value)
        values[4:] = np.nan
        found = trace_mean(values, draws)
        bound = 1 - 0.025 ** (1 / 4)
        assert (float(found.low), float(found.high)) == pytest.approx(
            (value * (1 - bound), value + (1 - value) * bound)
        )


@pytest.mark.parametrize("weigh", ["trace", "problem"])
def test_intervals_cover_when_problems_have_unequal_numbers_of_traces(weigh: str) -> None:
    rng = np.random.default_rng(11)
    covered, replications = 0, 600
    draws = resamples(25, 400, 5)
    for _ in range(replications):
        chance = rng.beta(1, 2, size=(25, 1))
        values = (rng.random((25, 4)) < chance).astype(float)
        values[rng.random((25, 4)) < 0.5] = np.nan
        found = trace_mean(values, draws, weigh=weigh)  # type: ignore[arg-type]
        covered += bool(found.low <= 1 / 3 <= found.high)
    assert 0.90 <= covered / replications <= 0.99


def test_ratio() -> None:
    rng = np.random.default_rng(2)
    bottom = rng.integers(0, 4, (3, 20)).astype(float)
    top = np.where(bottom > 0, bottom * rng.random((3, 20)) * 5, np.nan)
    found = ratio_of_means(top, bottom, resamples(20, 800, 0))
    np.testing.assert_allclose(found.value, np.nansum(top, axis=1) / bottom.sum(axis=1))
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()
    nothing = ratio_of_means(np.ones(4), np.zeros(4), resamples(4, 10, 0))
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_problems() -> None:
    values, draws = np.random.default_rng(0).random((2, 9)), resamples(9, 100, 0)
    found = of_problems(values, draws)
    np.testing.assert_allclose(found.value, values.mean(axis=1))
    np.testing.assert_array_equal([found.low, found.high], interval(values, draws))

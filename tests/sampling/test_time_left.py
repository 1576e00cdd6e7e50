from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.sampling.time_left import BINS, bin_of, last_end, survival, time_left

steps = st.lists(st.integers(0, BINS - 1), max_size=30)


def counted(lengths: list[int]) -> np.ndarray:
    return np.bincount(lengths, minlength=BINS + 1)


def slow_survival(finished: list[int], ages: list[int]) -> list[float]:
    """The product-limit estimate, step by step as it is defined."""
    reach = [1.0]
    for step in range(BINS):
        at_risk = sum(length >= step for length in finished) + sum(age >= step for age in ages)
        ended = sum(length == step for length in finished)
        reach.append(reach[-1] * (1 - ended / (at_risk + 1)))
    return reach


@given(st.lists(st.integers(0, BINS), max_size=30), steps)
def test_survival_is_the_product_limit_estimate(finished: list[int], ages: list[int]) -> None:
    got = survival(counted(finished), np.array(ages, dtype=np.int64))
    assert got == pytest.approx(slow_survival(finished, ages))


def test_survival_with_nothing_running_is_about_the_share_that_got_so_far() -> None:
    lengths = [3, 50, 50, 120, BINS, BINS] * 100
    reach = survival(counted(lengths), np.array([], dtype=np.int64))
    for step in range(BINS + 1):
        assert reach[step] == pytest.approx(sum(length >= step for length in lengths) / 600, abs=0.005)


def test_what_is_older_than_all_that_ended_may_reach_the_limit() -> None:
    reach = survival(counted([50]), np.array([], dtype=np.int64))
    assert reach[-1] == 0.5
    assert last_end(reach, np.array([60])) == BINS - 60


@given(st.lists(st.integers(0, BINS), min_size=1, max_size=30), steps)
def test_the_last_end_is_the_median_over_draws(finished: list[int], ages: list[int]) -> None:
    reach = survival(counted(finished), np.array(ages, dtype=np.int64))
    got = last_end(reach, np.array(ages, dtype=np.int64))
    if not ages:
        assert got == 0
        return

    def all_ended(after: int) -> float:
        still = [reach[age + after] / reach[age] if age + after < BINS else 0.0 for age in ages]
        return float(np.prod([1 - share for share in still]))

    assert all_ended(int(got)) >= 0.5 - 1e-9
    assert got == 1 or all_ended(int(got) - 1) < 0.5 + 1e-9


@pytest.mark.parametrize(("fraction", "step"), [(0, 0), (0.5, BINS // 2), (0.9999, BINS - 1), (1, BINS), (1.2, BINS)])
def test_steps(fraction: float, step: int) -> None:
    assert bin_of(fraction) == step


def test_time_left_grows_with_what_waits_and_shrinks_with_pace() -> None:
    finished = counted([20] * 50 + [BINS] * 10)
    ages = np.array([0, 10, 100])
    few, many = time_left(finished, ages, 5, 0.01), time_left(finished, ages, 500, 0.01)
    assert many > 10 * few > 0
    assert time_left(finished, ages, 500, 0.02) == pytest.approx(many / 2)
    # The one that is at half its limit has outlived the short ones and will take another 50 s; the two fresh ones
    # reach the limit with one chance in six each, which is less than even for both together.
    assert time_left(finished, ages, 0, 0.01) == pytest.approx(50, abs=1)
    assert time_left(finished, np.array([0] * 4), 0, 0.01) == pytest.approx(100, abs=1)

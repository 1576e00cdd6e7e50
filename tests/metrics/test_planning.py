from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrap_eval.metrics.intervals import agreement_bound, interval, resamples, smallest_detectable
from extrap_eval.metrics.planning import (
    MOST,
    Spread,
    assumed_difference,
    assumed_spread,
    detectable,
    difference_spread,
    informative_budgets,
    interval_width,
    least,
    spread,
)


def sums_of_squares(rows: list[list[float]]) -> tuple[float, float]:
    """One-way analysis of variance, one number after the other: between (may be negative) and within."""
    n = len(rows[0])
    means = [sum(row) / n for row in rows]
    grand = sum(means) / len(means)
    within = sum((x - mean) ** 2 for row, mean in zip(rows, means, strict=True) for x in row) / (len(rows) * (n - 1))
    return sum((mean - grand) ** 2 for mean in means) / (len(rows) - 1) - within / n, within


@given(arrays(np.float64, st.tuples(st.integers(2, 7), st.integers(2, 6)), elements=st.sampled_from([0.0, 1.0])))
def test_spread_is_analysis_of_variance(values: np.ndarray) -> None:
    found = spread(values)
    between, within = sums_of_squares(values.tolist())
    assert found.mean == pytest.approx(values.mean())
    assert found.within == pytest.approx(within)
    assert found.between == pytest.approx(max(between, 0.0))
    draws = resamples(len(values), 20, 1)
    drawn = spread(values, draws)
    assert drawn.mean.shape == (20,)
    np.testing.assert_allclose(drawn.mean, values[draws].mean(axis=(1, 2)))
    np.testing.assert_allclose(drawn.within, [sums_of_squares(values[rows].tolist())[1] for rows in draws])


def test_spread_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    truth = rng.beta(2, 3, size=(4000, 12))  # variance 0.04, of one sample 0.24
    found = [spread(rng.random((12, 4)) < p[:, None]) for p in truth]
    assert np.mean([each.within for each in found]) == pytest.approx(0.2, rel=0.02)
    unclipped = [sums_of_squares((rng.random((12, 4)) < p[:, None]).astype(float).tolist())[0] for p in truth[:1000]]
    assert np.mean(unclipped) == pytest.approx(0.04, abs=0.003)
    assert np.mean([each.between for each in found]) == pytest.approx(0.04, rel=0.15)  # clipped at 0, so a little more


def test_difference_spread_is_that_of_independent_samples() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.beta(2, 3, size=400), rng.beta(3, 2, size=400)
    first, second = rng.random((400, 8)) < p[:, None], rng.random((400, 5)) < q[:, None]
    found = difference_spread(first, second)
    assert found.mean == pytest.approx(first.mean() - second.mean())
    assert found.within == pytest.approx(spread(first).within + spread(second).within)
    assert found.between == pytest.approx((p - q).var(), rel=0.2)
    drawn = difference_spread(first, second, resamples(400, 50, 0))
    assert drawn.between.mean() == pytest.approx(float(found.between), rel=0.05)
    with pytest.raises(ValueError, match="the same problems"):
        difference_spread(first, second[:5])


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_two_of_each_are_the_least(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two of each"):
        spread(np.zeros(shape))


@pytest.mark.parametrize(("problems", "n"), [(30, 4), (30, 16), (100, 2), (200, 8)])
@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.3, 0.3), (0.2, 3.0)])
def test_predicted_widths_are_those_found(problems: int, n: int, a: float, b: float) -> None:
    rng = np.random.default_rng(2)
    truth = rng.beta(a, b, size=(200, problems))
    values = rng.binomial(n, truth) / n
    low, high = interval(values, resamples(problems, 1000, 0))
    mean = a / (a + b)
    between = mean * (1 - mean) / (a + b + 1)
    known = Spread(np.asarray(mean), np.asarray(between), np.asarray(mean * (1 - mean) - between))
    assert interval_width(known, problems, n) == pytest.approx((high - low).mean(), rel=0.08)
    narrower = interval_width(known, problems, n, level=0.8)
    assert narrower < interval_width(known, problems, n)


def test_width_where_all_agree() -> None:
    never = spread(np.zeros((30, 4)))
    low, high = interval(np.zeros(30), resamples(30, 100, 0))
    assert interval_width(never, 30, 4) == pytest.approx(float(high - low))
    assert np.isnan(interval_width(never, 1, 4))


def test_detectable_is_what_the_finished_evaluation_says() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.1, 0.2, size=(2000, 40))
    told = np.mean([smallest_detectable(each) for each in values])
    known = Spread(np.asarray(0.1), np.asarray(0.04), np.asarray(0.0))
    assert detectable(known, 40, 1) == pytest.approx(told, rel=0.02)
    none = Spread(np.asarray(0.0), np.asarray(0.0), np.asarray(0.0))
    assert detectable(none, 40, 1) == agreement_bound(40)
    assert np.isnan(detectable(known, 1, 1))


@given(st.floats(0.05, 0.95), st.floats(0, 1), st.floats(0, 1), st.integers(2, 50), st.integers(1, 50))
def test_assumptions_add_up(accuracy: float, share: float, correlation: float, problems: int, n: int) -> None:
    one = assumed_spread(accuracy, share)
    assert one.between + one.within == pytest.approx(accuracy * (1 - accuracy))
    assert one.variance(problems, n) >= one.variance(problems, n + 1)
    assert interval_width(one, problems, n) >= interval_width(one, problems + 1, n)
    apart = assumed_difference(one, correlation)
    assert apart.within == pytest.approx(2 * one.within)
    assert apart.between <= 2 * one.between


@given(st.floats(0.3, 3000), st.integers(1, 5))
def test_least_is_the_first_number_that_will_do(scale: float, start: int) -> None:
    assert least(lambda m: scale / m, 1.0, start) == max(start, math.ceil(scale))


def test_least_may_not_exist() -> None:
    assert least(lambda m: 1 + 1 / m, 1.0) is None
    assert least(lambda m: math.nan, 1.0) is None
    assert least(lambda m: MOST / m, 1.0) == MOST


def test_informative_budgets_are_detectably_apart() -> None:
    rng = np.random.default_rng(4)
    solved_at = rng.choice([150, 400, 3000, 10**9], p=[0.2, 0.3, 0.1, 0.4], size=(60, 16))
    budgets = np.array([100, 200, 300, 500, 1000, 4000])
    correct = solved_at[..., None] <= budgets
    found = informative_budgets(correct, 60, 16)
    assert found.informative.tolist() == [False, True, False, True, False, True]
    # since the last informative budget, which for 500 is 200
    assert found.change[3] == pytest.approx((correct[..., 3] ^ correct[..., 1]).mean())
    step = correct[..., 3].astype(float) - correct[..., 1]
    assert found.detectable[3] == pytest.approx(float(detectable(spread(step), 60, 16)))
    few = informative_budgets(correct, 3, 1)
    assert few.informative.sum() < found.informative.sum()

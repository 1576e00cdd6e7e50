from __future__ import annotations

import math

import numpy as np
import pytest

from extrap_eval.metrics.extrapolation import gain
from extrap_eval.metrics.intervals import difference_interval, resamples

DRAWS = resamples(30, 2000, 0)
BUDGETS = (16384, 32768)


def test_a_clear_gain_is_stated_in_points() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0.1, 0.6, 30)
    second = first + rng.uniform(0.02, 0.1, 30)
    result = gain(first, second, DRAWS, budgets=BUDGETS)
    low, high = difference_interval(second - first, DRAWS)
    assert (result.low, result.high) == (float(low), float(high))
    assert result.low > 0
    assert result.difference == pytest.approx((second - first).mean())
    assert result.ratio == pytest.approx(second.mean() / first.mean())
    assert 1 < result.ratio_low < result.ratio < result.ratio_high
    assert result.verdict == (
        f"+{100 * result.difference:.1f} points from 16384 to 32768 tokens "
        f"(95 % CI +{100 * result.low:.1f} … +{100 * result.high:.1f})"
    )


def test_noise_is_indistinguishable_and_says_what_would_be_seen() -> None:
    rng = np.random.default_rng(1)
    first = rng.uniform(0.2, 0.8, 30)
    second = np.clip(first + rng.normal(0, 0.1, 30), 0, 1)
    result = gain(first, second, DRAWS, budgets=BUDGETS)
    assert result.low < 0 < result.high
    assert result.verdict.startswith("indistinguishable at this n (")
    assert f"smallest detectable gain ≈ {100 * result.detectable:.1f} points)" in result.verdict
    assert result.detectable == pytest.approx(2.9 * (second - first).std(ddof=1) / math.sqrt(30), rel=0.01)


def test_a_loss_carries_a_minus_sign() -> None:
    rng = np.random.default_rng(2)
    first = rng.uniform(0.4, 0.9, 30)
    result = gain(first, first - rng.uniform(0.1, 0.2, 30), DRAWS, budgets=BUDGETS, level=0.9)
    assert result.high < 0
    assert result.verdict.startswith("−1")
    assert "(90 % CI −" in result.verdict


def test_nothing_changed_is_not_certainty() -> None:
    values = np.repeat([0.0, 0.5, 1.0], 10)
    result = gain(values, values, DRAWS, budgets=BUDGETS)
    bound = 1 - 0.025 ** (1 / 30)
    assert (result.low, result.high) == pytest.approx((-bound, bound))
    assert (result.ratio, result.ratio_low, result.ratio_high) == pytest.approx((1, 1 - 2 * bound, 1 + 2 * bound))
    assert result.verdict.startswith("indistinguishable at this n (0.0 points")


def test_no_success_at_the_first_budget() -> None:
    result = gain(np.zeros(30), np.full(30, 0.25), DRAWS, budgets=BUDGETS)
    assert result.ratio == math.inf
    assert math.isnan(result.ratio_low)
    assert math.isnan(gain(np.zeros(30), np.zeros(30), DRAWS, budgets=BUDGETS).ratio)


def test_rare_success_makes_the_ratio_unbounded_above() -> None:
    first, second = np.zeros(30), np.zeros(30)
    first[0], second[:2] = 0.25, 0.5  # one problem in 30: a third of the resamples miss it
    result = gain(first, second, DRAWS, budgets=BUDGETS)
    assert result.ratio == pytest.approx(4)
    assert result.ratio_high == math.inf


def test_one_problem() -> None:
    result = gain([0.5], [0.75], resamples(1, 10, 0), budgets=BUDGETS)
    assert math.isnan(result.low)
    assert result.verdict == "+25.0 points from 16384 to 32768 tokens (one problem: no interval)"


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="both budgets"):
        gain(np.zeros(30), np.zeros(29), DRAWS, budgets=BUDGETS)

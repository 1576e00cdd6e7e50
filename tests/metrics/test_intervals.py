from __future__ import annotations

import math

import numpy as np
import pytest

from extrap_eval.metrics.intervals import (
    agreement_bound,
    difference_interval,
    interval,
    resampled_means,
    resamples,
    smallest_detectable,
    standard_error,
    t_quantile,
)


@pytest.mark.parametrize(
    ("degrees", "probability", "table"),
    [
        (1, 0.975, 12.70620474),
        (2, 0.975, 4.30265273),
        (4, 0.975, 2.77644511),
        (29, 0.975, 2.04522964),
        (59, 0.975, 2.00099538),
        (3, 0.995, 5.84090931),
        (1, 0.8, 1.37638192),
        (29, 0.5, 0.0),
        (1, 0.9995, 636.6192),
        (1_000_000, 0.975, 1.95996635),
    ],
)
def test_t_quantile_against_tables(degrees: int, probability: float, table: float) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(table, rel=2e-7, abs=1e-9)


def test_resamples_are_reproducible_problem_indices() -> None:
    draws = resamples(30, 200, seed=4)
    assert draws.shape == (200, 30)
    assert draws.dtype == np.int32
    assert draws.min() >= 0
    assert draws.max() < 30
    assert (draws == resamples(30, 200, seed=4)).all()
    assert (draws != resamples(30, 200, seed=5)).any()


def test_resampled_means_are_means_of_the_drawn_problems() -> None:
    rng = np.random.default_rng(0)
    values, draws = rng.random((2, 3, 7)), resamples(7, 50, 1)
    np.testing.assert_allclose(resampled_means(values, draws), values[..., draws].mean(axis=-1))
    with pytest.raises(ValueError, match="8 problems in the values, 7 in the resamples"):
        resampled_means(np.zeros(8), draws)


def test_standard_error() -> None:
    assert standard_error([0.0, 1.0, 0.0, 1.0]) == pytest.approx(math.sqrt(1 / 3 / 4))
    assert np.isnan(standard_error([0.4]))


def test_same_resamples_make_equal_series_have_equal_bands() -> None:
    values = np.random.default_rng(0).random(30)
    low, high = interval(np.stack([values, values, 1 - values]), resamples(30, 2000, 0))
    assert low[0] == low[1]
    assert high[0] == high[1]
    assert (low < [values.mean()] * 2 + [1 - values.mean()]).all()
    assert 1 - high[2] == pytest.approx(low[0], abs=0.02)  # mirrored values, mirrored band, up to resampling


def test_binary_problems_give_nearly_the_jeffreys_interval() -> None:
    values = np.zeros(30)
    values[:6] = 1
    low, high = interval(values, resamples(30, 20_000, 0))
    # quantiles 0.025 and 0.975 of Beta(6.5, 24.5); resampled counts are lumpier than a Beta distribution
    assert float(low) == pytest.approx(0.0880, abs=0.02)
    assert float(high) == pytest.approx(0.3664, abs=0.02)


@pytest.mark.parametrize("problems", [2, 5, 30, 200])
def test_all_problems_agree(problems: int) -> None:
    draws = resamples(problems, 500, 0)
    low, high = interval(np.stack([np.zeros(problems), np.ones(problems)]), draws)
    bound = 1 - 0.025 ** (1 / problems)  # Clopper-Pearson for 0 of P
    assert agreement_bound(problems) == pytest.approx(bound)
    np.testing.assert_allclose([low[0], high[0], low[1], high[1]], [0, bound, 1 - bound, 1])
    low, high = difference_interval(np.zeros(problems), draws)
    np.testing.assert_allclose([low, high], [-bound, bound])
    assert smallest_detectable(np.zeros(problems)) == pytest.approx(bound)


def test_one_sample_away_from_agreement_is_not_nearly_certain() -> None:
    values = np.zeros(30)
    values[3] = 1 / 16
    low, high = interval(values, resamples(30, 2000, 0))
    assert 0 <= low <= values.mean()
    assert high > 0.05  # a plain percentile interval would end at 0.006


def test_one_problem_has_no_interval() -> None:
    draws = resamples(1, 100, 0)
    assert np.isnan(interval([[0.5], [0.0]], draws)).all()
    assert np.isnan(difference_interval([0.5], draws)).all()
    assert math.isnan(smallest_detectable([0.5]))


def test_difference_interval_agrees_with_t_where_t_is_right() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(0.05, 0.1, size=30)
    low, high = difference_interval(values, resamples(30, 20_000, 0))
    half = t_quantile(0.975, 29) * float(standard_error(values))
    assert float(low) == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert float(high) == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_level_widens() -> None:
    values, draws = np.random.default_rng(1).random(30), resamples(30, 4000, 0)
    for function in (interval, difference_interval):
        narrow, wide = function(values, draws, level=0.8), function(values, draws, level=0.99)
        assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


def test_only_fractions() -> None:
    with pytest.raises(ValueError, match="difference_interval"):
        interval([0.5, 1.5], resamples(2, 10, 0))


@pytest.mark.parametrize(("problems", "mean"), [(30, 0.3), (30, 0.95), (60, 0.05)])
def test_coverage(problems: int, mean: float) -> None:
    """300 simulated benchmarks: 92 % is 2.4 standard errors below the nominal 95 %."""
    rng = np.random.default_rng(7)
    truth = rng.beta(mean, 1 - mean, size=(300, problems))
    low, high = interval(rng.binomial(16, truth) / 16, resamples(problems, 1000, 0))
    assert ((low <= mean) & (mean <= high)).mean() > 0.92
    assert (high - low).mean() < 6 * math.sqrt(mean * (1 - mean) / 2 / problems)  # and not by being endless

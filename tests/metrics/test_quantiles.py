"""Quantiles over traces, against numpy on the traces of every resample written out."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrap_eval.metrics import quantiles
from extrap_eval.metrics.intervals import resamples, t_quantile
from extrap_eval.metrics.quantiles import trace_quantile

VALUES = st.tuples(st.integers(1, 5), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([math.nan, 0.0, 1.0, 2.5, 7.0]))
)


def plainly(values: np.ndarray, quantile: float) -> float:
    return float(np.quantile(values, quantile, method="averaged_inverted_cdf"))


@given(VALUES, st.sampled_from([0.1, 0.5, 0.9]))
def test_every_resample_written_out(values: np.ndarray, quantile: float) -> None:
    draws = resamples(len(values), 41, 0)
    found = trace_quantile(values, draws, quantile, level=0.8)
    known = values[~np.isnan(values)]
    if not known.size:
        assert np.isnan([found.value, found.low, found.high]).all()
        return
    assert found.value == pytest.approx(plainly(known, quantile))
    problems = int((~np.isnan(values)).any(axis=1).sum())
    if problems < 2:
        assert np.isnan([found.low, found.high]).all()
        return
    drawn = [values[rows].ravel() for rows in draws]
    each = sorted(plainly(traces[~np.isnan(traces)], quantile) for traces in drawn if not np.isnan(traces).all())
    tail = NormalDist().cdf(-math.sqrt(problems / (problems - 1)) * t_quantile(0.9, problems - 1))
    low, high = np.quantile(each, [tail, 1 - tail], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx((min(low, found.value), max(high, found.value)))


def test_the_median_is_the_ordinary_one() -> None:
    draws = resamples(2, 100, 0)
    assert trace_quantile([[1.0, 2.0], [3.0, 10.0]], draws).value == 2.5
    assert trace_quantile([[1.0, 2.0], [3.0, math.nan]], draws).value == 2.0


def test_in_pieces_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(12, 7))
    draws = resamples(12, 500, 0)
    at_once = trace_quantile(values, draws)
    monkeypatch.setattr(quantiles, "_AT_ONCE", 1000)
    assert trace_quantile(values, draws).low == at_once.low
    assert trace_quantile(values, draws).high == at_once.high


def test_intervals_cover() -> None:
    """Medians of 25 problems with 4 traces each, of a distribution whose median is 0."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = rng.normal(size=(25, 1)) + 0.5 * rng.normal(size=(25, 4))
        found = trace_quantile(values, resamples(25, 400, 0))
        hits += found.low <= 0 <= found.high
    assert 0.9 <= hits / 200 <= 0.995


@pytest.mark.parametrize("quantile", [0.0, 1.0, math.nan])
def test_no_quantile(quantile: float) -> None:
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1"):
        trace_quantile([[1.0]], resamples(1, 3, 0), quantile)

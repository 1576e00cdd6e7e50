from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.efficiency import VoteCurve
from extrap_eval.metrics.intervals import difference_interval, resamples
from extrap_eval.metrics.same_tokens import at_same_tokens

DRAWS = resamples(4, 500, 0)


def curve() -> VoteCurve:
    values = np.array([[0.0, 0.2, 0.4, 0.6], [0.5, 0.5, 0.5, 1.0], [1.0, 0.75, 0.5, 1.0]])
    return VoteCurve((1, 2, 4), values, np.outer([1, 2, 4], [50.0, 150.0, 100.0, 100.0]))


@given(st.floats(1, 600))
def test_read_between_points_problem_by_problem(tokens: float) -> None:
    ours = np.array([0.9, 0.3, 0.6, 0.8])
    spent = tokens * np.array([0.5, 1.5, 1.0, 1.0])
    found = at_same_tokens(ours, spent, curve(), DRAWS)
    xs, points = [0.0, 100.0, 200.0, 400.0], np.vstack([np.zeros(4), curve().values])
    theirs = np.array([np.interp(tokens, xs, points[:, problem]) for problem in range(4)])
    assert found.tokens == pytest.approx(tokens)
    assert found.other.value == pytest.approx(theirs.mean())
    assert found.gain.value == pytest.approx((ours - theirs).mean())
    low, high = difference_interval(ours - theirs, DRAWS)
    assert (found.gain.low, found.gain.high) == (pytest.approx(low), pytest.approx(high))
    assert found.share == pytest.approx(min(1.0, 400 / tokens))


def test_a_way_gains_nothing_over_itself() -> None:
    own = curve()
    found = at_same_tokens(own.values[1], own.tokens[1], own, DRAWS)
    assert found.gain.value == pytest.approx(0)
    assert found.value.value == pytest.approx(float(found.other.value))

"""The test of the test: it keeps its level, and it sees a difference of eight points."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engines import curve_difference
from tests.engines.curve_difference import compare

PROBLEMS = 60
SOLVED_AT = np.array([128, 256, 512])


def samples(rng: np.random.Generator, n: int, *, gain: float = 0.0) -> np.ndarray:
    """bool (60, n, 3): a sample is right from some budget on; problems differ in how probable that is."""
    hardness = np.linspace(-1.5, 1.0, PROBLEMS)[:, None, None]
    final = 1 / (1 + np.exp(-(hardness + np.array([-1.5, -0.5, 0.5])))) + gain
    return rng.random((PROBLEMS, n, 1)) < final


def p_values(monkeypatch: pytest.MonkeyPatch, gain: float, n: int, m: int, replications: int) -> np.ndarray:
    monkeypatch.setattr(curve_difference, "RESAMPLES", 499)
    rng = np.random.default_rng(5)
    return np.array([compare(samples(rng, n), samples(rng, m, gain=gain), seed=i).p_value for i in range(replications)])


def test_equal_engines_are_called_different_no_more_often_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    found = p_values(monkeypatch, 0.0, n=8, m=4, replications=200)
    for level in (0.02, 0.1, 0.5):
        share = np.mean(found <= level)
        assert share < level + 4 * np.sqrt(level * (1 - level) / 200)
    assert found.mean() > 0.4


def test_eight_points_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = p_values(monkeypatch, 0.08, n=24, m=16, replications=40)
    assert np.mean(found <= 1 / 500) > 0.8  # nearly always the most extreme of all permutations


def test_the_difference_is_in_points() -> None:
    first, second = np.zeros((10, 20, 2), bool), np.zeros((10, 10, 2), bool)
    second[:, :3, 1] = True
    found = compare(first, second)
    assert found.points.tolist() == pytest.approx([0.0, 30.0])
    assert found.p_value < 0.001
    assert compare(first, second[:, :, :1].repeat(2, 2)).p_value == 1.0

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrap_eval.metrics.budgets import Reading, saturation_budget, training_budget
from extrap_eval.metrics.intervals import resamples

TABLES = st.integers(2, 5).flatmap(
    lambda problems: arrays(np.float64, (5, problems), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
)


def saturated(budgets: list[int], means: list[float], tolerance: float) -> float:
    for i, budget in enumerate(budgets):
        if all(later - means[i] <= tolerance + 1e-12 for later in means[i:]):
            return budget
    raise AssertionError


def chosen(
    budgets: list[int], first: list[float], second: list[float], floor: float, reading: str, kappa: float
) -> float:
    for budget, once, twice in zip(budgets, first, second, strict=True):
        held = twice >= kappa * once - 1e-12 if reading == "workshop" else twice <= kappa * once + 1e-12
        if held and twice > 0 and budget >= floor - 1e-9:
            return budget
    return math.inf


def ends(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return tuple(ordered[max(0, math.ceil(len(ordered) * share) - 1)] for share in (0.1, 0.9))  # type: ignore[return-value]


@given(TABLES, st.sampled_from([0.01, 0.2]))
def test_saturation_is_the_first_budget_without_growth(values: np.ndarray, tolerance: float) -> None:
    budgets = [64, 128, 256, 512, 1024]
    draws = resamples(values.shape[1], 31, 0)
    found = saturation_budget(budgets, values, draws, tolerance=tolerance, level=0.8)
    assert found.budget == saturated(budgets, values.mean(axis=1).tolist(), tolerance)
    drawn = [saturated(budgets, values[:, rows].mean(axis=1).tolist(), tolerance) for rows in draws]
    low, high = ends(drawn)
    assert (found.low, found.high) == (min(low, found.budget), max(high, found.budget))
    assert found.agreement == pytest.approx(np.mean([each == found.budget for each in drawn]))


@given(TABLES, st.sampled_from(["workshop", "paper"]), st.sampled_from([1.0, 1.2, 2.0]), st.integers(0, 600))
def test_training_budget_in_both_readings(values: np.ndarray, reading: Reading, kappa: float, floor: int) -> None:
    budgets = [64, 128, 256, 512]
    first, second = values[:-1], values[1:]
    draws = resamples(values.shape[1], 31, 0)
    lengths = floor * np.linspace(0.5, 1.5, values.shape[1])
    found = training_budget(budgets, first, second, lengths, draws, reading=reading, kappa=kappa, level=0.8)
    plain = (first.mean(axis=1).tolist(), second.mean(axis=1).tolist())
    assert found.budget == chosen(budgets, *plain, lengths.mean(), reading, kappa)
    drawn = [
        chosen(
            budgets,
            first[:, rows].mean(axis=1).tolist(),
            second[:, rows].mean(axis=1).tolist(),
            lengths[rows].mean(),
            reading,
            kappa,
        )
        for rows in draws
    ]
    low, high = ends(drawn)
    assert (found.low, found.high) == (min(low, found.budget), max(high, found.budget))
    shares = {budget: drawn.count(budget) / len(drawn) for budget in sorted(set(drawn))}
    assert dict(found.shares) == pytest.approx(shares)
    assert [budget for budget, _ in found.shares] == list(shares)


def test_the_two_readings_choose_the_opposite() -> None:
    first, second = np.array([[0.1], [0.2], [0.4], [0.45]] * 1), np.array([[0.2], [0.4], [0.45], [0.46]])
    first, second = np.repeat(first, 4, axis=1), np.repeat(second, 4, axis=1)
    budgets, draws = [1024, 2048, 4096, 8192], resamples(4, 100, 0)

    def choose(reading: Reading, floor: float) -> float:
        return training_budget(budgets, first, second, floor, draws, reading=reading).budget

    assert choose("workshop", 0) == 1024  # the first at which doubling still pays
    assert choose("workshop", 1500) == 2048
    assert choose("workshop", 3000) == math.inf
    assert choose("paper", 0) == 4096  # the first at which it no longer does
    assert choose("paper", 5000) == 8192


def test_one_problem_has_no_interval() -> None:
    found = saturation_budget([64, 128], [[0.0], [1.0]], resamples(1, 10, 0))
    assert found.budget == 128
    assert math.isnan(found.low)
    assert math.isnan(found.agreement)
    assert found.shares == ()


def test_unknown_reading() -> None:
    with pytest.raises(ValueError, match="reading"):
        training_budget([64], [[0.1, 0.1]], [[0.1, 0.1]], 0, resamples(2, 10, 0), reading="both")  # type: ignore[arg-type]

"""The whole way from token ids to intervals against the closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.markov import MarkovPolicy, truth
from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.steps import calibrate as step
from extrap_eval.steps.calibrate import calibrate

SMALL: dict[str, Any] = {"problems": 10, "n": 6, "budgets": (64, 160, 400), "ks": (1, 3), "replications": 30}


def test_small_calibration_passes_and_is_reproducible() -> None:
    seen: list[tuple[int, int]] = []
    table = calibrate(**SMALL, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 30) for done in range(1, 31)]
    assert list(table["metric"].unique()) == ["pass@1", "pass@3", "maj@3"]
    assert list(table["budget"]) == [64, 160, 400] * 3
    assert table["passed"].all()
    assert table["bias_se"].abs().max() < 4
    assert table["coverage"].between(0.8, 1).all()
    expected = truth.maj_at_k(step.DEFAULT_POLICY, step.DEFAULT_PROBABILITIES, [64, 160, 400], 3)
    np.testing.assert_allclose(table.loc[table["metric"] == "maj@3", "truth"], expected)
    again = calibrate(**SMALL, seed=1)
    assert table.equals(again)


def test_deterministic_policy_has_no_bias_and_no_error() -> None:
    always_right = MarkovPolicy(25, 1.0, 0.0, 0.0, 0.0)
    table = calibrate(always_right, [1.0], 5, 3, [10, 100], [1, 2], replications=3)
    assert list(table["truth"]) == [0, 1] * 3
    assert list(table["mean"]) == [0, 1] * 3
    assert list(table["bias_se"]) == [0] * 6
    assert list(table["coverage"]) == [1] * 6


def test_a_biased_estimator_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The naive pass@k, 1 - (1 - c/n)^k, is too low; the check must see it."""

    def naive(correct_counts: np.ndarray, n: int, k: int) -> np.ndarray:
        return np.asarray(1 - (1 - correct_counts / n) ** k)

    monkeypatch.setattr(step.passk, "pass_at_k", naive)
    table = calibrate(problems=25, n=4, budgets=[160], ks=[4], replications=40, seed=0)
    failed = table[table["metric"] == "pass@4"].iloc[0]
    assert failed["bias_se"] < -4
    assert not failed["passed"]


def test_intervals_that_forget_the_problems_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as wide: they cover far too seldom."""
    honest = intervals.interval

    def narrow(values: np.ndarray, draws: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        low, high = honest(values, draws, level)
        return low + (high - low) / 4, high - (high - low) / 4

    monkeypatch.setattr(step.intervals, "interval", narrow)
    table = calibrate(problems=10, n=2, budgets=[160, 400], ks=[1], replications=120, seed=0)
    assert not table["passed"].any()
    assert table["coverage"].max() < 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problems": 1}, "problems: 1 is below 2"),
        ({"replications": 1}, "replications: 1 is below 2"),
        ({"n": 0, "ks": [1]}, "n: 0 is below 1"),
        ({"ks": (1, 7)}, r"ks: \[1, 7\] must lie between 1 and n = 6"),
        ({"ks": ()}, "ks"),
        ({"budgets": (0, 5)}, "budgets"),
        ({"budgets": ()}, "budgets"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        calibrate(**{**SMALL, **change})


@pytest.mark.slow
def test_default_calibration_covers_as_promised() -> None:
    """At every budget: bias within 3 standard errors, coverage of the 95 % intervals 92 to 98 %."""
    table = calibrate()
    assert table["bias_se"].abs().max() < 3
    assert table["coverage"].between(0.92, 0.98).all()

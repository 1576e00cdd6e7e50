"""Tests, intervals and plans against repeated evaluations of a model of known truth. ``-s`` prints the figures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.metrics.comparison import holm, sign_flip_test
from extrap_eval.metrics.intervals import difference_interval, interval, resamples
from extrap_eval.metrics.planning import Spread, detectable, difference_spread, interval_width, least, spread
from extrap_eval.steps.calibrate import DEFAULT_POLICY
from tests.metrics.markov_samples import BUDGETS, PROBABILITIES, correct_samples, true_accuracies

WORSE = replace(DEFAULT_POLICY, accept_wrong=0.12)


def test_the_samples_are_those_of_the_closed_form() -> None:
    probabilities = np.array(PROBABILITIES)
    found = correct_samples(DEFAULT_POLICY, probabilities, 20_000, BUDGETS, np.random.default_rng(0)).mean(axis=1)
    truth = true_accuracies(DEFAULT_POLICY, BUDGETS)
    error = np.sqrt(truth * (1 - truth) / 20_000)
    assert (np.abs(found - truth) <= 4.5 * error + 1e-12).all()


def true_spread(policy: MarkovPolicy) -> list[Spread]:
    """At each budget, over the population that problems are drawn from."""
    truth = true_accuracies(policy, BUDGETS)
    between, within = truth.var(axis=0), (truth * (1 - truth)).mean(axis=0)
    return [Spread(*map(np.asarray, each)) for each in zip(truth.mean(axis=0), between, within, strict=True)]


def true_difference(first: MarkovPolicy, second: MarkovPolicy) -> list[Spread]:
    a, b = true_accuracies(first, BUDGETS), true_accuracies(second, BUDGETS)
    within = (a * (1 - a) + b * (1 - b)).mean(axis=0)
    columns = zip((a - b).mean(axis=0), (a - b).var(axis=0), within, strict=True)
    return [Spread(*map(np.asarray, each)) for each in columns]


def evaluations(policies: list[MarkovPolicy], replications: int, problems: int, n: int, seed: int) -> np.ndarray:
    """Accuracies of problems drawn anew for each evaluation: float64 (policies, replications, B, P)."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.array(PROBABILITIES), size=(replications, problems))
    values = [correct_samples(policy, drawn, n, BUDGETS, rng).mean(axis=-2) for policy in policies]
    return np.moveaxis(np.stack(values), -1, -2)


@pytest.mark.slow
def test_comparing_a_model_with_itself_rejects_as_often_as_it_says() -> None:
    replications = 1000
    first, second = evaluations([DEFAULT_POLICY, DEFAULT_POLICY], replications, 30, 8, seed=1)
    p = np.stack(
        [sign_flip_test(a - b, flips=2000, seed=i) for i, (a, b) in enumerate(zip(first, second, strict=True))]
    )
    rejected = (p <= 0.05).mean(axis=0)
    family = np.mean([holm(each).min() <= 0.05 for each in p])
    draws = resamples(30, 1000, 0)
    ends = [difference_interval(a - b, draws) for a, b in zip(first, second, strict=True)]
    missed = np.mean([(low > 0) | (high < 0) for low, high in ends], axis=0)
    print(f"\nequal policies, {replications} replications, 30 problems x 8 samples")
    print("budget                ", *(f"{budget:6d}" for budget in BUDGETS))
    print("p <= 0.05, %          ", *(f"{100 * share:6.1f}" for share in rejected))
    print("interval excludes 0, %", *(f"{100 * share:6.1f}" for share in missed))
    print(f"any budget after Holm: {100 * family:.1f} %")
    assert (rejected >= 0.03).all()
    assert (rejected <= 0.07).all()
    assert family <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / replications)


@pytest.mark.slow
def test_planned_power_is_the_power_found() -> None:
    """The plan says how many samples detect the true difference with 80 %; with them it is found that often."""
    replications, problems = 300, 30
    print(f"\n{replications} replications, {problems} problems")
    for budget, power in ((256, 0.8), (512, 0.6)):
        at = int(np.flatnonzero(budget == BUDGETS)[0])
        apart = true_difference(DEFAULT_POLICY, WORSE)[at]
        n = least(lambda m, of=apart, q=power: float(detectable(of, problems, m, power=q)), float(apart.mean))  # type: ignore[misc]
        assert n is not None
        first, second = evaluations([DEFAULT_POLICY, WORSE], replications, problems, n, seed=budget)
        p = [
            sign_flip_test(a[at] - b[at], flips=1000, seed=i)
            for i, (a, b) in enumerate(zip(first, second, strict=True))
        ]
        found = float(np.mean(np.array(p) <= 0.05))
        print(
            f"budget {budget}: {100 * float(apart.mean):.1f} points need n = {n} for power {100 * power:.0f} %: "
            f"found in {100 * found:.1f} %"
        )
        assert found == pytest.approx(power, abs=0.08)


@pytest.mark.slow
def test_planned_widths_are_the_widths_found() -> None:
    """From the truth, and from pilots of 60 problems x 8 samples, for other sizes than the pilot's."""
    rng = np.random.default_rng(5)
    pilots = [
        correct_samples(DEFAULT_POLICY, rng.choice(np.array(PROBABILITIES), size=60), 8, BUDGETS, rng)
        for _ in range(40)
    ]
    known = true_spread(DEFAULT_POLICY)
    worst_known, within_15 = 0.0, []
    print("\nmean width in points: measured / planned from the truth / planned from 40 pilots (s.d.)")
    for problems, n in ((30, 4), (30, 16), (100, 4)):
        values = evaluations([DEFAULT_POLICY], 60, problems, n, seed=problems + n)[0]
        low, high = interval(values, resamples(problems, 1000, 0))
        measured = (high - low).mean(axis=0)
        for j, budget in enumerate(BUDGETS.tolist()):
            planned = float(interval_width(known[j], problems, n))
            guessed = np.array([float(interval_width(spread(each[..., j]), problems, n)) for each in pilots])
            worst_known = max(worst_known, abs(planned / measured[j] - 1))
            within_15 += (np.abs(guessed / measured[j] - 1) <= 0.15).tolist()
            print(
                f"{problems:4d} x {n:2d}, {budget:4d} tokens: {100 * measured[j]:5.1f} / {100 * planned:5.1f} / "
                f"{100 * guessed.mean():5.1f} ({100 * guessed.std():.1f})"
            )
            assert guessed.mean() == pytest.approx(measured[j], rel=0.15)
    share = float(np.mean(within_15))
    print(f"off by at most {100 * worst_known:.1f} % from the truth; {100 * share:.1f} % of the pilots' within 15 %")
    assert worst_known <= 0.15
    assert share >= 0.9


@pytest.mark.slow
def test_a_pair_of_pilots_tells_the_detectable_difference() -> None:
    rng = np.random.default_rng(6)
    at = int(np.flatnonzero(BUDGETS == 512)[0])
    apart = true_difference(DEFAULT_POLICY, WORSE)[at]
    guesses = []
    for _ in range(40):
        drawn = rng.choice(np.array(PROBABILITIES), size=60)
        a, b = (correct_samples(policy, drawn, 8, BUDGETS, rng)[..., at] for policy in (DEFAULT_POLICY, WORSE))
        guesses.append(float(detectable(difference_spread(a, b), 30, 16)))
    truth = float(detectable(apart, 30, 16))
    print(f"\ndetectable with 30 x 16: {100 * truth:.2f} points; pilots say {100 * np.mean(guesses):.2f}")
    assert np.mean(guesses) == pytest.approx(truth, rel=0.1)

"""Coverage of the intervals, and the cost of the exact vote."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from extrap_eval.metrics.intervals import difference_interval, interval, resamples
from extrap_eval.metrics.majk import maj_at_k, maj_at_k_many
from extrap_eval.metrics.passk import pass_at_k

pytestmark = pytest.mark.perf

BENCHMARKS = 2000  # simulated ones per row: a coverage of 95 % is measured to +-1 %
SAMPLES = 16


def _seconds(function: Callable[[], object], repeats: int) -> float:
    """The best of several: the others measure what else the machine does."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


@pytest.mark.parametrize("problems", [30, 60])
def test_coverage_of_a_level(problems: int) -> None:
    """Problem accuracies are Beta(s m, s (1-m)); the target is m, the mean over all possible problems."""
    rng = np.random.default_rng(problems)
    draws = resamples(problems, 2000, 0)
    print(f"\n  {problems} problems, {SAMPLES} samples, nominal 95 %")
    print("  mean  spread s  covered  below  above   width  percentile bootstrap would cover")
    worst = 1.0
    for mean in (0.05, 0.3, 0.6, 0.95):
        for spread in (0.5, 1.0, 2.0, 8.0):
            truth = rng.beta(mean * spread, (1 - mean) * spread, size=(BENCHMARKS, problems))
            values = rng.binomial(SAMPLES, truth) / SAMPLES
            low, high = interval(values, draws)
            covered = float(((low <= mean) & (mean <= high)).mean())
            naive = np.quantile(values[:, draws[:500]].mean(-1), [0.025, 0.975], axis=-1)
            plain = float(((naive[0] <= mean) & (mean <= naive[1])).mean())
            print(
                f"  {mean:4.2f}  {spread:8.1f}  {100 * covered:6.1f} %  {(mean < low).mean():5.3f}  "
                f"{(mean > high).mean():5.3f}  {(high - low).mean():6.3f}  {100 * plain:6.1f} %"
            )
            worst = min(worst, covered)
            assert covered >= plain - 0.01
    assert worst > 0.92


@pytest.mark.parametrize("problems", [30, 60])
def test_coverage_of_a_gain(problems: int) -> None:
    """Wrong samples at B are right at 2B with probability h of the problem, h ~ Beta(s m, s (1-m))."""
    rng = np.random.default_rng(problems)
    draws = resamples(problems, 1000, 0)
    print(f"\n  paired gains, {problems} problems, {SAMPLES} samples, nominal 95 %")
    print("  true gain  spread s  covered  false gain  above   width")
    for mean in (0.03, 0.1, 0.3):
        for spread in (1.0, 4.0):
            at_budget = rng.binomial(SAMPLES, rng.beta(0.3, 0.7, size=(BENCHMARKS, problems)))
            later = rng.beta(mean * spread, (1 - mean) * spread, size=at_budget.shape)
            gained = rng.binomial(SAMPLES - at_budget, later) / SAMPLES
            low, high = difference_interval(gained, draws)
            target = 0.7 * mean
            covered = float(((low <= target) & (target <= high)).mean())
            false = float((target < low).mean())  # the side on which a verdict would claim too much
            print(
                f"  {target:9.3f}  {spread:8.1f}  {100 * covered:6.1f} %  {false:10.3f}  "
                f"{(target > high).mean():5.3f}  {(high - low).mean():6.3f}"
            )
            assert false < 0.04
            assert covered > (0.8 if mean < 0.05 else 0.88)


def test_exact_vote_against_drawing_subsets() -> None:
    rng = np.random.default_rng(0)
    print("\n     n    k  classes   exact      2000 draws   ratio")
    for n, k, classes in [
        (16, 8, 5),
        (64, 32, 10),
        (64, 64, 30),
        (640, 16, 40),
        (640, 320, 40),
        (640, 320, 600),
    ]:
        counts = rng.multinomial(n - n // 16, rng.dirichlet(np.full(classes, 2.0)))
        right = np.arange(classes) == 0
        votes = np.repeat(np.arange(classes + 1), np.append(counts, n // 16))

        def draw(votes: np.ndarray = votes, classes: int = classes, k: int = k) -> float:
            total = 0.0
            for _ in range(2000):
                tally = np.bincount(rng.permutation(votes)[:k], minlength=classes + 1)[:classes]
                winners = tally == tally.max()
                total += winners[0] / winners.sum() if tally.any() else 0.0
            return total / 2000

        exact = _seconds(lambda c=counts, r=right, a=n // 16, k=k: maj_at_k(c, r, a, k), 20)  # type: ignore[misc]
        drawn = _seconds(draw, 2)
        times = f"{1e3 * exact:6.2f} ms  {1e3 * drawn:8.1f} ms  {drawn / exact:6.1f}"
        print(f"  {n:4d}  {k:3d}  {classes:7d}  {times}")
        assert exact < drawn


def test_a_curve_shares_equal_votes() -> None:
    """Problems whose counts stop changing along the budgets cost nothing more."""
    rng = np.random.default_rng(0)
    counts = np.repeat(rng.multinomial(64, np.full(6, 1 / 6), size=(30, 1)), 50, axis=1)
    right = np.broadcast_to(np.arange(6) == 0, counts.shape)
    silent = np.zeros((30, 50), dtype=int)
    fifty = _seconds(lambda: maj_at_k_many(counts, right, silent, 16), 2)
    one = _seconds(lambda: maj_at_k_many(counts[:, :1], right[:, :1], silent[:, :1], 16), 2)
    solved = counts[..., 0]
    passed = _seconds(lambda: pass_at_k(solved, 64, 16), 2)
    print(f"\n  30 problems: 1 budget {1e3 * one:.1f} ms, 50 equal budgets {1e3 * fifty:.1f} ms")
    print(f"  pass@k of all: {1e3 * passed:.2f} ms")
    assert fifty < 10 * one

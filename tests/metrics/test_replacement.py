from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrap_eval.metrics.intervals import resamples
from extrap_eval.metrics.replacement import replacement_effect

DRAWS = resamples(4, 100, 0)
FRACTIONS = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(
    arrays(float, (4, 3), elements=FRACTIONS),
    arrays(float, (4, 3), elements=FRACTIONS),
    arrays(float, (4, 3), elements=st.floats(0, 1)),
    arrays(bool, (4, 3)),
    st.integers(1, 4),
)
def test_effects_are_those_of_looking_at_every_position(
    kept: np.ndarray, replaced: np.ndarray, relative: np.ndarray, there: np.ndarray, bins: int
) -> None:
    edges = np.linspace(0, 1, bins + 1)
    arrays_ = [np.where(there, each, np.nan) for each in (kept, replaced, relative)]
    found = replacement_effect(*arrays_, DRAWS, edges=edges.tolist())
    for b in range(bins):
        of_problems = []
        count = 0
        for p in range(4):
            inside = [
                replaced[p, i] - kept[p, i]
                for i in range(3)
                if there[p, i] and edges[b] <= relative[p, i] and (relative[p, i] < edges[b + 1] or b == bins - 1)
            ]
            count += len(inside)
            if inside:
                of_problems.append(np.mean(inside))
        assert found.positions[b] == count
        assert found.problems[b] == len(of_problems)
        if of_problems:
            assert found.difference.value[b] == pytest.approx(np.mean(of_problems))
            assert found.difference.value[b] == pytest.approx(found.replaced.value[b] - found.kept.value[b])
        else:
            assert np.isnan(found.difference.value[b])


def test_paired_intervals_cover_a_known_effect() -> None:
    """Problems differ much more than replacing matters: only because the difference is paired is it seen."""
    rng = np.random.default_rng(3)
    problems, positions, trials, k = 25, 4, 100, 8
    draws = resamples(problems, 400, 2)
    inside, widths = 0, []
    for _ in range(trials):
        solved = rng.uniform(0.1, 0.9, problems)[:, None]
        kept = rng.binomial(k, np.broadcast_to(solved, (problems, positions))) / k
        replaced = rng.binomial(k, np.broadcast_to(solved - 0.1, (problems, positions))) / k
        found = replacement_effect(kept, replaced, np.full(kept.shape, 0.5), draws)
        low, high = float(found.difference.low[0]), float(found.difference.high[0])
        inside += low <= -0.1 <= high
        widths.append(high - low)
    assert 0.89 < inside / trials <= 1
    unpaired = 4 * np.std(rng.uniform(0.1, 0.9, 1000)) / np.sqrt(problems)
    assert np.mean(widths) < unpaired / 1.5

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.diversity import answer_diversity, counted_within, distinct_at_k, first_times


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=8), st.data())
def test_distinct_answers_are_the_mean_over_all_subsets(classes: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(classes)))
    subsets = list(itertools.combinations(classes, k))
    slow = sum(len({c for c in chosen if c >= 0}) for chosen in subsets) / len(subsets)
    assert answer_diversity(np.array(classes), [k])[0] == pytest.approx(slow)


def test_shapes_and_limits() -> None:
    classes = np.array([[[0, 1, 2, 3], [0, 0, 0, 0]], [[-1, -1, -1, -1], [0, 1, -1, 0]]])
    found = answer_diversity(classes, [1, 2, 4])
    assert found.shape == (3, 2, 2)
    np.testing.assert_allclose(found[0], [[1, 1], [0, 0.75]])
    np.testing.assert_allclose(found[2], [[4, 1], [0, 2]])
    with pytest.raises(ValueError, match="undefined"):
        distinct_at_k([1, 2], 3, 4)


@given(st.lists(st.integers(-2, 4), max_size=12), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_first_times_and_counts(keys: list[int], budgets: list[int]) -> None:
    new = first_times(np.array(keys, dtype=int))
    assert new.tolist() == [key not in keys[:i] for i, key in enumerate(keys)]
    ends = np.array([(7 * i) % 10 for i in range(len(keys))])
    assert counted_within(ends, budgets).tolist() == [sum(end <= budget for end in ends) for budget in budgets]

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.unsolvable import chance_unsolved, exactly, never_right, overlap

SAMPLES = st.integers(1, 7).flatmap(lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1))


@given(SAMPLES, st.data())
def test_expected_size_is_the_mean_over_all_choices(samples: list[list[bool]], data: st.DataObject) -> None:
    n = len(samples[0])
    k = data.draw(st.integers(1, n))
    choices = list(itertools.combinations(range(n), k))
    slow = [sum(not any(row[i] for i in chosen) for chosen in choices) / len(choices) for row in samples]
    correct = np.array(samples)
    np.testing.assert_allclose(chance_unsolved(correct.sum(axis=1), n, k), slow, atol=1e-12)
    first = never_right(correct, k)
    assert first.tolist() == [not any(row[:k]) for row in samples]
    if k == n:
        np.testing.assert_allclose(chance_unsolved(correct.sum(axis=1), n, k), first)


def test_sets_at_several_budgets_keep_their_shape() -> None:
    correct = np.zeros((4, 3, 2), dtype=bool)
    correct[1, 2, 1] = True
    assert never_right(correct, 2).all()
    assert never_right(correct, 3).tolist() == [[True, True], [True, False], [True, True], [True, True]]
    for k in (0, 4):
        with pytest.raises(ValueError, match="not in 1"):
            never_right(correct, k)


@given(st.integers(1, 4), st.integers(1, 6), st.data())
def test_regions_part_the_problems(models: int, problems: int, data: st.DataObject) -> None:
    sets = np.array(
        data.draw(
            st.lists(st.lists(st.booleans(), min_size=problems, max_size=problems), min_size=models, max_size=models)
        )
    )
    members = list(itertools.product((False, True), repeat=models))
    regions = np.array([exactly(sets, each) for each in members])
    np.testing.assert_array_equal(regions.sum(axis=0), 1)
    for each, region in zip(members, regions, strict=True):
        assert region.tolist() == [tuple(column) == each for column in sets.T.tolist()]
    a, *others = [{i for i, inside in enumerate(row) if inside} for row in sets]
    union, shared = a.union(*others), a.intersection(*others)
    np.testing.assert_allclose(overlap(sets), len(shared) / len(union) if union else np.nan)


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=4))
def test_chances_of_regions_add_up(chances: list[list[float]]) -> None:
    members = itertools.product((False, True), repeat=len(chances))
    np.testing.assert_allclose(sum(exactly(chances, each) for each in members), 1)
    inside = sum(exactly(chances, each) for each in itertools.product((False, True), repeat=len(chances)) if each[0])
    np.testing.assert_allclose(inside, chances[0], atol=1e-12)


def test_every_set_is_named() -> None:
    with pytest.raises(ValueError, match="1 members for 2 sets"):
        exactly(np.ones((2, 3)), [True])

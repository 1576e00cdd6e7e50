from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.passk import pass_at_k


@given(st.data())
def test_equals_the_mean_over_all_subsets(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    assert pass_at_k(c, n, k) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("c", "n", "k"),
    [
        (1, 10_000, 1),
        (1, 10_000, 5_000),
        (3, 10_000, 9_998),
        (5_000, 10_000, 10),
        (9_999, 10_000, 1),
        (2, 640, 320),
    ],
)
def test_large_n_keeps_its_digits(c: int, n: int, k: int) -> None:
    exact = 1 - Fraction(comb(n - c, k), comb(n, k))
    assert float(pass_at_k(c, n, k)) == pytest.approx(float(exact), rel=1e-11)


def test_shapes_and_special_values() -> None:
    counts = np.arange(12).reshape(3, 4)
    values = pass_at_k(counts, 11, 11)
    assert values.shape == (3, 4)
    assert values.tolist() == np.where(counts > 0, 1.0, 0.0).tolist()
    np.testing.assert_allclose(pass_at_k(counts, 11, 1), counts / 11, rtol=1e-14)
    assert pass_at_k(np.empty((0,), dtype=int), 4, 2).shape == (0,)


@pytest.mark.parametrize("k", [0, -1, 17, 640])
def test_k_out_of_range_is_an_error(k: int) -> None:
    with pytest.raises(ValueError, match=r"undefined for n = 16 samples: k must be in 1\.\.16"):
        pass_at_k([16], 16, k)


@pytest.mark.parametrize("counts", [[-1], [17], [0.5]])
def test_impossible_counts_are_an_error(counts: list[float]) -> None:
    with pytest.raises(ValueError, match="correct_counts"):
        pass_at_k(counts, 16, 4)

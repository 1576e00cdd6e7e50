from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import probe_curves, progress_histogram
from tests.figures.probe_tables import BINS, PS, direct_rows, probe_rows, progress_rows
from tests.figures.test_budget_curve import assert_apart, texts_inside


def test_a_line_per_trace_and_one_for_the_votes_of_each_prefix() -> None:
    table, direct = probe_rows(), direct_rows()
    panels = probe_curves(table, direct=direct).axes
    assert len(panels) == len(BINS)
    for axes, (first, last) in zip(panels, BINS, strict=True):
        inside = table[table["first"] == first]
        lines = axes.get_lines()
        (trace,) = [line for line in lines if line.get_gid() == "trace"]
        alone = inside[inside["p"] == 1]
        np.testing.assert_allclose(trace.get_xydata(), np.column_stack([alone["tokens"], 100 * alone["value"]]))
        votes = [line for line in lines if line.get_gid() == "votes"]
        assert len(votes) == last // 5 + 1
        for j, line in enumerate(votes):
            rows = inside[inside["group"] == j]
            np.testing.assert_allclose(line.get_xydata(), np.column_stack([rows["tokens"], 100 * rows["value"]]))
        (drawn,) = [line for line in lines if line.get_gid() == "direct"]
        np.testing.assert_allclose(drawn.get_xydata(), np.column_stack([direct["tokens"], 100 * direct["value"]]))


def test_over_episodes_one_line_per_number_of_answers() -> None:
    table = probe_rows(BINS[:1])
    (axes,) = probe_curves(table, x="episodes").axes
    assert [line.get_gid() for line in axes.get_lines()] == [f"maj@{p}" for p in PS]
    for p, line in zip(PS, axes.get_lines(), strict=True):
        rows = table[table["p"] == p]
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([rows["episodes"], 100 * rows["value"]]))
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


@pytest.mark.parametrize("x", ["tokens", "episodes"])
@pytest.mark.parametrize("bins", [1, 5])
def test_nothing_collides(x: Literal["tokens", "episodes"], bins: int) -> None:
    figure = probe_curves(probe_rows([(5 * i + 1, 5 * i + 5) for i in range(bins)]), direct=direct_rows(), x=x)
    assert len(figure.axes) == bins
    texts_inside(figure)
    titles = [axes._left_title for axes in figure.axes]  # type: ignore[attr-defined]
    assert_apart([*titles, *figure.texts, *figure.legends[0].get_texts()])
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert_apart(
            [tick for at, tick in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True) if low <= at <= high]
        )


def test_places_without_an_interval_or_a_value() -> None:
    table = probe_rows(BINS[:1]).assign(low=np.nan, high=np.nan)
    table.loc[table["group"] == 1, "value"] = np.nan
    texts_inside(probe_curves(table))


def test_refusals() -> None:
    two = pd.concat([probe_rows(), probe_rows(model="other")])
    with pytest.raises(UserError, match="the probes of one model, not"):
        probe_curves(two)
    with pytest.raises(UserError, match="one figure shows one benchmark"):
        probe_curves(pd.concat([probe_rows(), probe_rows(benchmark="AIME 2024")]))
    with pytest.raises(UserError, match="no rows"):
        probe_curves(probe_rows().iloc[:0])


@pytest.mark.parametrize("models", [1, 3])
def test_progress_in_shares_of_groups(models: int) -> None:
    table = progress_rows(models)
    figure = progress_histogram(table)
    texts_inside(figure)
    patches = [patch for patch in figure.axes[0].patches if patch.get_gid() == "progress"]
    assert len(patches) == models
    for (_, rows), patch in zip(table.groupby("model", sort=False), patches, strict=True):
        known = rows["progress"].dropna()
        values, edges, _ = patch.get_data()  # type: ignore[attr-defined]
        assert values.sum() == pytest.approx(100)
        middle = int(np.flatnonzero((edges[:-1] < 0) & (edges[1:] > 0))[0])
        assert values[middle] == pytest.approx(100 * (known == 0).mean())
        assert values[middle + 2] == pytest.approx(100 * (known == 0.25).mean())

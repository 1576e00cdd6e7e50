from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from extrap_eval.errors import UserError
from extrap_eval.figures import budget_curve
from tests.figures.tables import BUDGETS, FINAL, NAMES, curve_table


def lines(axes: Axes, kind: str) -> list[tuple[list[float], list[float]]]:
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))  # type: ignore[arg-type]
        for line in axes.get_lines()
        if line.get_gid() == kind
    ]


def spans(axes: Axes) -> list[float]:
    return [float(patch.get_x()) for patch in axes.patches if patch.get_gid() == "extrapolation"]


def texts_inside(figure: Figure) -> list[Text]:
    """Every text that is drawn; asserts that none is cut by the edge of the figure."""
    figure.draw_without_rendering()
    legends = [text for legend in figure.legends for text in legend.findobj(Text)]
    found = [*legends, *(text for axes in figure.axes for text in texts_of(axes))]
    for text in found:
        box = Text.get_window_extent(text)
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y1 <= figure.bbox.y1, text
    return found


def texts_of(axes: Axes) -> list[Text]:
    ticks = [
        tick.label1
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if axis.get_view_interval()[0] <= tick.get_loc() <= axis.get_view_interval()[1]  # others are not drawn
    ]
    named = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]  # type: ignore[attr-defined]
    return [text for text in [*ticks, *named, *axes.texts] if text.get_visible() and text.get_text()]


def assert_apart(texts: list[Text]) -> None:
    for one, other in itertools.combinations(texts, 2):
        a, b = Text.get_window_extent(one), Text.get_window_extent(other)  # of the words, without leader lines
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, (one.get_text(), other.get_text())


def labels(axes: Axes) -> list[Text]:
    return [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch is not None]


def test_solid_to_the_training_budget_dashed_beyond_and_shaded() -> None:
    axes = budget_curve(curve_table()).axes[0]
    x, y = np.array(BUDGETS, float), 100 * FINAL[0] * np.array([0.55, 0.7, 0.85, 1.0])
    ((solid_x, solid_y),) = lines(axes, "trained line")
    ((dashed_x, dashed_y),) = lines(axes, "extrapolated line")
    assert solid_x[:3] == x[:3].tolist()
    np.testing.assert_allclose(solid_y[:3], y[:3])
    assert (solid_x[-1], dashed_x[0]) == (16384, 16384)
    np.testing.assert_allclose([dashed_y[0], dashed_y[-1]], y[2:])
    assert dashed_x[-1] == 32768
    dashed = next(line for line in axes.get_lines() if line.get_gid() == "extrapolated line")
    assert dashed.is_dashed()
    assert spans(axes) == pytest.approx([16384])
    assert "extrapolation (> 16k)" in [text.get_text() for text in axes.texts]


def test_a_training_budget_between_two_budgets_splits_the_line_there() -> None:
    axes = budget_curve(curve_table(training=(24576,))).axes[0]
    ((solid_x, solid_y),) = lines(axes, "trained line")
    ((dashed_x, dashed_y),) = lines(axes, "extrapolated line")
    assert solid_x == [4096, 8192, 16384, 24576]
    assert dashed_x == [24576, 32768]
    share = np.log2(24576 / 16384)
    expected = 100 * FINAL[0] * (0.85 + 0.15 * share)
    assert solid_y[-1] == dashed_y[0] == pytest.approx(expected)
    points = [line for line in axes.get_lines() if line.get_gid() == "points"]
    assert [list(line.get_xdata()) for line in points] == [[4096, 8192, 16384], [32768]]  # none is invented
    assert points[1].get_markerfacecolor() == "white"


@pytest.mark.parametrize("training", [None, float("nan"), 32768, 100_000])
def test_nothing_beyond_training_is_not_shaded(training: float | None) -> None:
    axes = budget_curve(curve_table(training=(training,))).axes[0]
    assert not spans(axes)
    assert not lines(axes, "extrapolated line")
    assert lines(axes, "trained line")[0][0] == list(map(float, BUDGETS))


def test_all_beyond_training_is_dashed() -> None:
    axes = budget_curve(curve_table(training=(1024,))).axes[0]
    assert not lines(axes, "trained line")
    assert lines(axes, "extrapolated line")[0][0] == list(map(float, BUDGETS))


def test_models_trained_to_different_budgets_are_shaded_in_steps() -> None:
    axes = budget_curve(curve_table(3, training=(16384, 24576, None))).axes[0]
    assert spans(axes) == pytest.approx([16384, 24576])
    assert len(lines(axes, "extrapolated line")) == 2


def test_bands_are_the_intervals() -> None:
    table = curve_table()
    axes = budget_curve(table).axes[0]
    (band,) = [item for item in axes.collections if isinstance(item, PolyCollection)]
    heights = {(x, round(y, 6)) for x, y in band.get_paths()[0].vertices.tolist()}  # type: ignore[union-attr]
    for row in table[table["metric"] == "pass@k"].itertuples():
        assert (float(row.budget), round(100 * row.low, 6)) in heights  # type: ignore[arg-type]
        assert (float(row.budget), round(100 * row.high, 6)) in heights  # type: ignore[arg-type]


@pytest.mark.parametrize(("models", "width"), [(1, None), (2, None), (4, None), (4, 6.8), (9, None), (9, 3.4)])
def test_labels_do_not_collide_and_nothing_is_cut(models: int, width: float | None) -> None:
    figure = budget_curve(curve_table(models, training=(16384, None, 24576)), width=width)
    axes = figure.axes[0]
    named = labels(axes)
    assert [text.get_text().replace("\n", "") for text in named] == list(NAMES[:models])
    assert_apart([*named, axes.yaxis.label])
    assert_apart([*axes.texts, axes._left_title])  # type: ignore[attr-defined]
    assert_apart([tick for tick in axes.get_xticklabels() if tick.get_text()])
    for text in texts_inside(figure):
        assert text.get_fontsize() >= 7
    order = np.argsort([text.xy[1] for text in named], kind="stable")  # type: ignore[attr-defined]
    assert (np.diff(np.array([Text.get_window_extent(text).y0 for text in named])[order]) > 0).all()


def test_a_long_title_makes_room_for_the_note() -> None:
    figure = budget_curve(curve_table(4, benchmark="OlympiadBench, 675 problems"))
    axes = figure.axes[0]
    assert_apart([*axes.texts, axes._left_title])  # type: ignore[attr-defined]
    texts_inside(figure)


def test_axes_are_named_and_budgets_are_ticks() -> None:
    figure = budget_curve(curve_table(budgets=(512, 4096, 31000, 32768)))
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "token budget (completion tokens)"
    assert axes.get_ylabel() == "pass@1 (%)"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["32k", "4k", "512"]  # 31000 would touch 32k


def test_other_metrics() -> None:
    table = curve_table(ks=(1, 4))
    assert budget_curve(table, metric="maj@k", k=4).axes[0].get_ylabel() == "maj@4 (%)"
    finished = table[table["k"] == 1].assign(metric="finished", k=np.nan)
    assert budget_curve(finished, metric="finished", k=None).axes[0].get_ylabel() == "finished samples (%)"


def test_one_budget_is_a_point() -> None:
    figure = budget_curve(curve_table(2, budgets=(8192,)))
    texts_inside(figure)
    points = [line for line in figure.axes[0].get_lines() if line.get_gid() == "points" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in points] == [[8192], [8192]]


def test_refusals() -> None:
    with pytest.raises(UserError, match="no rows"):
        budget_curve(curve_table(), k=3)
    two = pd.concat([curve_table(), curve_table(benchmark="AIME 2024")])
    with pytest.raises(UserError, match="AIME 2025, AIME 2024: choose one"):
        budget_curve(two)


def test_a_single_problem_has_no_band_and_is_drawn_all_the_same() -> None:
    table = curve_table().assign(low=np.nan, high=np.nan)
    figure = budget_curve(table)
    texts_inside(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < 100 * FINAL[0] * 0.55 < 100 * FINAL[0] < high

"""A figure over the published values shows both, tells them apart, and says what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from extrap_eval.errors import UserError
from extrap_eval.figures import reproduction

COLUMNS = ["panel", "axis", "line", "metric", "at", "x", "value", "low", "high"]
X = {"budget": [4096, 8192, 16384], "tokens": [500.5, 900, 4000], "samples k": [1, 2, 4], "groups": [1, 2, 3]}
X |= {"episodes": [3, 8, 13], "length": [1024, 3072, 5120], "progress": [-0.5, 0, 0.5], "thinking tokens": [0, 9, 90]}


def table(axis: str, *lines: str, panel: str = "AIME", metric: str = "pass@1", shift: float = 0.0) -> pd.DataFrame:
    rows = [
        (panel, axis, line, metric, x, x, value + shift, value + shift - 0.05, value + shift + 0.05)
        for line in lines
        for x, value in zip(X[axis], (0.2, 0.3, 0.35), strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


NONE = table("budget", "M")[:0]


def drawn(figure: Figure, gid: str) -> list[Any]:
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() == gid]


@pytest.mark.parametrize("axis", X)
def test_every_axis_shows_both_and_is_labelled(axis: str) -> None:
    figure = reproduction(table(axis, "M"), table(axis, "M", "N", shift=0.1), title="a paper, Fig. 1")
    assert len(drawn(figure, "published")) == 2
    (mine,) = [line for line in drawn(figure, "measured") if len(line.get_xdata()) == 3]
    assert np.allclose(np.asarray(mine.get_ydata()), [20, 30, 35])
    published = drawn(figure, "published")[0]
    assert np.allclose(np.asarray(published.get_ydata()), [30, 40, 45])
    assert published.get_color() == mine.get_color()  # one model, one colour
    assert published.get_linestyle() != mine.get_linestyle()
    (axes,) = figure.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel() == "pass@1 (%)"
    low, high = axes.get_ylim()
    assert low < 20 < 45 < high


def test_beyond_the_training_budget_our_line_is_dashed_and_shaded() -> None:
    figure = reproduction(table("budget", "M"), NONE, title="t", trained={"M": 8192.0})
    kinds = [(len(line.get_xdata()), line.get_linestyle()) for line in drawn(figure, "measured")]
    assert kinds == [(2, "-"), (2, "--")]
    assert [patch.get_gid() for patch in figure.axes[0].patches] == ["extrapolation"]
    plain = reproduction(table("tokens", "M"), NONE, title="t", trained={"M": 900.0})
    assert not plain.axes[0].patches  # other axes count something else


def test_panels_of_either_side_are_drawn() -> None:
    both = reproduction(
        pd.concat([table("budget", "M"), table("budget", "M", panel="HMMT")]),
        pd.concat([table("budget", "M"), table("tokens", "M", panel="Omni")]),
        title="t",
    )
    assert [axes.get_title(loc="left") for axes in both.axes] == ["AIME", "HMMT", "Omni"]
    assert "(mean)" in both.axes[2].get_xlabel()


def test_scores_are_rows_with_intervals() -> None:
    ours = table("budget", "M").assign(axis="score")[:1]
    paper = table("budget", "M", "N", shift=0.1).assign(axis="score").iloc[[0, 3]]
    figure = reproduction(ours, paper, title="t")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["M", "N"]
    (mine,) = drawn(figure, "measured")
    assert float(np.asarray(mine.get_xdata())[0]) == pytest.approx(20)
    assert sorted(float(np.asarray(line.get_xdata())[0]) for line in drawn(figure, "published")) == pytest.approx(
        [30, 30]
    )


def test_regret_is_no_percentage() -> None:
    figure = reproduction(table("budget", "M", metric="normalised regret"), NONE, title="t")
    assert figure.axes[0].get_ylabel() == "normalised regret"
    assert figure.axes[0].get_ylim()[1] <= 1.02


def test_texts_lie_inside_the_figure_and_do_not_overlap() -> None:
    names = [f"A-model-with-a-long-name-{i}" for i in range(6)]
    figure = reproduction(table("budget", *names), table("budget", *names, shift=0.1), title="a paper " * 12)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without the line that leads to it
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    (title,) = [text for text in figure.texts if "a paper" in text.get_text()]
    assert title.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("ours", "message"),
    [(NONE, "nothing to draw"), (table("budget", "M").assign(axis="pies"), "axis: pies is not one")],
)
def test_what_cannot_be_drawn_is_refused(ours: pd.DataFrame, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reproduction(ours, NONE, title="t")

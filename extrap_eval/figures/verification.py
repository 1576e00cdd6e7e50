"""Telling a right answer against finding one, problem by problem and over all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.figures.style import (
    GREY,
    PAGE,
    RC,
    TEXT,
    legend_below,
    light_grid,
    one_benchmark,
    one_model,
    title_above,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOTH, RIGHT, WRONG, FOUND = "#0072B2", "#009E73", "#D55E00", "#555555"
_AREA = 13.0  # of the mark of one problem, in square points
# Quantity of the table, what it is called here, its colour; from the top.
_ROWS = (
    ("right accepted", "right accepted", RIGHT),
    ("wrong rejected", "wrong rejected", WRONG),
    ("balanced accuracy", "balanced accuracy", BOTH),
    ("pass@1", "pass@1", FOUND),
)


def verification_against_generation(problems: pd.DataFrame, table: pd.DataFrame, *, width: float = PAGE) -> Figure:
    """Draw every problem's verification against its pass@1, with the diagonal, and the shares over all problems.

    ``problems``: columns model, benchmark, right, accepted, wrong, rejected (numbers of judgements), balanced,
    generation (fractions). A problem of which only one kind of answer was judged is hollow and stands at the share of
    that. ``table``: columns quantity, value, low, high. Both as from ``steps.verification``. Raises UserError for an
    empty table, several benchmarks or several models.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmark = one_benchmark(problems)
    model = one_model(problems, "judgements")
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        handles = _scatter(left, problems)
        _shares(right, table)
        title_above(figure, f"{model}, {benchmark}", width)
        legend_below(figure, handles, 4)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _scatter(axes: Axes, problems: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    right, wrong = (problems[name].to_numpy(int) > 0 for name in ("right", "wrong"))
    with np.errstate(invalid="ignore", divide="ignore"):
        accepted = problems["accepted"].to_numpy(float) / problems["right"].to_numpy(float)
        rejected = problems["rejected"].to_numpy(float) / problems["wrong"].to_numpy(float)
    kinds = [
        ("both", right & wrong, problems["balanced"].to_numpy(float), "o", BOTH, "right and wrong answers"),
        ("right", right & ~wrong, accepted, "^", RIGHT, "right alone: accepted"),
        ("wrong", wrong & ~right, rejected, "v", WRONG, "wrong alone: rejected"),
    ]
    handles: list[Any] = []
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0, gid="diagonal")
    for gid, which, value, marker, colour, label in kinds:
        if not which.any():
            continue
        points = 100 * np.column_stack([problems["generation"].to_numpy(float), value])[which]
        places, counts = np.unique(points.round(6), axis=0, return_counts=True)
        face = colour if gid == "both" else "none"
        axes.scatter(
            places[:, 0],
            places[:, 1],
            s=_AREA * counts,
            marker=marker,
            facecolors=face,
            edgecolors=colour,
            alpha=0.65,
            linewidths=0.8,
            gid=gid,
            clip_on=False,
        )
        handles.append(Line2D([], [], color=colour, marker=marker, markerfacecolor=face, linestyle="none", label=label))
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    axes.set_xlabel("generation: pass@1 of the problem (%)")
    axes.set_ylabel("verification (%)")
    axes.set_title("one mark per problem, larger for several", loc="left", fontsize=TEXT, color=GREY)
    light_grid(axes, "both")
    return handles


def _shares(axes: Axes, table: pd.DataFrame) -> None:
    cells = {row["quantity"]: row for row in table.to_dict("records")}
    for y, (quantity, _, colour) in enumerate(reversed(_ROWS)):
        cell = cells[quantity]
        value, low, high = (100 * float(cell[name]) for name in ("value", "low", "high"))
        if np.isnan(value):
            axes.text(50, y, "none judged", ha="center", va="center", color=GREY, style="italic")
            continue
        if not np.isnan(low):
            axes.plot([low, high], [y, y], color=colour, linewidth=1.1, gid=f"{quantity} interval", clip_on=False)
        axes.plot([value], [y], "o", color=colour, markersize=4.5, gid=quantity, clip_on=False)
        axes.annotate(
            f"{value:.0f}",
            xy=(value, y),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=GREY,
        )
    axes.set_yticks(range(len(_ROWS)), [name for _, name, _ in reversed(_ROWS)])
    axes.set_ylim(-0.5, len(_ROWS) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share over all problems, with interval (%)")
    axes.set_title(_headline(cells), loc="left", fontsize=TEXT, color=GREY)
    light_grid(axes, "x")


def _headline(cells: dict[Any, dict[Any, Any]]) -> str:
    gap, unread = cells["gap"], float(cells["unreadable"]["value"])
    said = "" if unread == 0 else f"; {100 * unread:.0f} % unreadable"
    if np.isnan(gap["value"]):
        return f"no gap without right and wrong answers{said}"
    value, low, high = (100 * float(gap[name]) for name in ("value", "low", "high"))
    return f"gap {value:+.0f} points [{low:+.0f}, {high:+.0f}]{said}".replace("-", "\N{MINUS SIGN}")

"""What replacing one token does to accuracy, by kind of position and along the trace (RLVR-exploration, Eq. 5, 6)."""

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
    model_styles,
    one_benchmark,
    one_model,
    title_above,
    wrap_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def replacement_effects(table: pd.DataFrame, places: pd.DataFrame, *, width: float = PAGE) -> Figure:
    """Draw the difference in accuracy for each kind of position, and for each along the trace.

    ``table``: columns model, benchmark, at (kind of position), positions, value, low, high (replaced minus kept,
    fractions); ``places``: the same with first and last (relative position), a row per part of the trace; as from
    ``steps.replacement.effect_table``. Raises UserError for an empty table, several benchmarks or several models.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmark = one_benchmark(table)
    model = one_model(table, "replaced tokens")
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
        _kinds(left, table)
        handles = _along(right, places)
        title_above(figure, f"{model}, {benchmark}", width)
        legend_below(figure, handles, 5)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _kinds(axes: Axes, table: pd.DataFrame) -> None:
    styles = model_styles(table["at"])
    rows = table.to_dict("records")[::-1]
    for y, row in enumerate(rows):
        style = styles[row["at"]]
        value, low, high = (100 * float(row[name]) for name in ("value", "low", "high"))
        if not np.isnan(low):
            axes.plot([low, high], [y, y], color=style.colour, linewidth=1.1, gid="interval")
        axes.plot([value], [y], style.marker, color=style.colour, markersize=4.5, gid="difference")
        axes.annotate(
            f"{value:+.1f}".replace("-", "\N{MINUS SIGN}"),
            xy=(value, y),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=GREY,
        )
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(rows)), [wrap_name(f"{row['at']}", 14) for row in rows])
    axes.set_ylim(-0.5, len(rows) - 0.4)
    axes.margins(x=0.12)
    axes.set_xlabel("accuracy replaced − without (points)")
    axes.set_title("by kind of token", loc="left", fontsize=TEXT, color=GREY)
    light_grid(axes, "x")


def _along(axes: Axes, places: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    styles = model_styles(places["at"])
    count = len(styles)
    handles = []
    for i, (at, style) in enumerate(styles.items()):
        line = places[places["at"] == at].sort_values("first")
        # Beside each other, so that no interval hides another.
        first, last = (100 * line[name].to_numpy(float) for name in ("first", "last"))
        x = (first + last) / 2 + (i - (count - 1) / 2) * 0.1 * (last - first)
        value, low, high = (100 * line[name].to_numpy(float) for name in ("value", "low", "high"))
        axes.vlines(x, low, high, color=style.colour, linewidth=0.9, gid=f"{at} interval")
        axes.plot(x, value, color=style.colour, marker=style.marker, gid=str(at), linewidth=0.9)
        handles.append(Line2D([], [], color=style.colour, marker=style.marker, linewidth=0.9, label=str(at)))
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("position in the trace (%)")
    axes.set_ylabel("difference (points)")
    axes.set_title("along the trace", loc="left", fontsize=TEXT, color=GREY)
    light_grid(axes)
    return handles

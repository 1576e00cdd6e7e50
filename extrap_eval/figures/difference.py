"""The difference between two runs against the budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.style import (
    COLUMN,
    GREY,
    RC,
    TEXT,
    budget_label,
    corner_note,
    light_grid,
    log2_axis,
    model_styles,
    one_benchmark,
    wrap_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def difference_curve(table: pd.DataFrame, *, alpha: float = 0.05, width: float = COLUMN) -> Figure:
    """Draw a comparison of two runs: their difference at every budget with its band, above zero where the first leads.

    ``table``: as from ``steps.compare.compare``: columns model_a, model_b, benchmark, metric, k, budget, difference,
    low, high (fractions; low and high may be missing), p_holm, training_a, training_b (tokens, may be missing). Markers
    are filled where ``p_holm`` is at most ``alpha``, in the colour of the better run, and hollow elsewhere; budgets
    beyond both training budgets are shaded. Raises UserError for an empty table, several benchmarks or pairs.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    benchmark = one_benchmark(table)
    if len(table[["model_a", "model_b", "metric"]].drop_duplicates()) > 1:
        raise UserError("one figure shows the difference of one pair in one metric: choose one")
    line = table.sort_values("budget")
    names = [str(line["model_a"].iloc[0]), str(line["model_b"].iloc[0])]
    colours = [style.colour for style in model_styles(["a", "b"]).values()]
    x, y = line["budget"].to_numpy(float), 100 * line["difference"].to_numpy(float)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, max(2.3, 0.4 * width)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        low, high = (100 * line[name].to_numpy(float) for name in ("low", "high"))
        axes.fill_between(x, low, high, color="0.45", alpha=0.22, linewidth=0, gid="band")
        axes.plot(x, y, color="0.25", gid="difference")
        sure = line["p_holm"].to_numpy(float) <= alpha + 1e-12
        for at, height, certain in zip(x, y, sure, strict=True):
            leads = int(height <= 0)  # 0: the first
            colour = colours[leads] if certain else "0.25"
            axes.plot(
                [at],
                [height],
                marker="os"[leads] if certain else "o",
                color=colour,
                markerfacecolor=colour if certain else "white",
                markeredgewidth=0.9,
                zorder=3,
                gid="points",
            )
        axes.axhline(0, color="black", linewidth=0.6, gid="zero")
        _room(axes, np.concatenate([y, low, high]))
        axes.yaxis.set_major_locator(MaxNLocator(6))  # ticks that do not change with the layout
        light_grid(axes)
        metric = str(line["metric"].iloc[0])
        metric = f"{metric[:-1]}{int(line['k'].iloc[0])}" if "@" in metric else f"{metric} samples"
        axes.set_ylabel(f"difference in {metric} (points)")
        axes.set_xlabel("token budget (completion tokens)")
        axes.set_title(benchmark, loc="left")
        for name, colour, place in zip(names, colours, (1, 0), strict=True):
            axes.annotate(
                wrap_name(f"{name} better", 26),
                xy=(0, place),
                xycoords="axes fraction",
                xytext=(4, -4 if place else 4),
                textcoords="offset points",
                va="top" if place else "bottom",
                color=tuple(0.75 * part for part in matplotlib.colors.to_rgb(colour)),
                fontsize=TEXT,
                gid="side",
            )
        axes.annotate(
            f"filled: p ≤ {alpha:.2g} (Holm)",
            xy=(1, 0),
            xycoords="axes fraction",
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=GREY,
            fontsize=TEXT,
            gid="key",
        )
        _shade(axes, line)
        figure.draw_without_rendering()
        log2_axis(axes, x, budgets=True)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _room(axes: Axes, heights: np.ndarray) -> None:
    """Zero is inside, and both names have a strip of their own above and below what is drawn."""
    known = heights[~np.isnan(heights)]
    bottom, top = min(0.0, float(known.min())), max(0.0, float(known.max()))
    extent = max(top - bottom, 1.0)
    axes.set_ylim(bottom - 0.3 * extent, top + 0.3 * extent)


def _shade(axes: Axes, line: pd.DataFrame) -> None:
    known = [float(line[name].iloc[0]) for name in ("training_a", "training_b") if line[name].notna().all()]
    limit = max(known) if len(known) == 2 else math.inf
    largest = float(line["budget"].max())
    if limit >= largest:
        return
    axes.axvspan(limit, 4 * largest, color="0.45", alpha=0.12, linewidth=0, zorder=0, gid="extrapolation")
    corner_note(axes, f"beyond training (> {budget_label(limit)})")

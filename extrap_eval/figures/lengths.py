"""How long completions are, by ending and difficulty (after e3 Fig. 15)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.style import (
    GREY,
    PAGE,
    RC,
    TEXT,
    budget_label,
    legend_below,
    light_grid,
    training_budget,
    wrap_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Ending -> colour, hatch.
_ENDINGS = {"correct": ("#009E73", ""), "incorrect": ("#D55E00", "////"), "cut": ("#B8C4CC", "")}
_BINS = 24
_COLUMNS = 3
_MOST_RUNS = 4


def length_histograms(table: pd.DataFrame, *, width: float = PAGE) -> Figure:
    """Draw ``steps.lengths.length_rows`` of up to four runs: a histogram of lengths for every part.

    ``table``: one row per completion; columns model, benchmark, part, ending, n_tokens, cap, training_budget. Correct
    completions stand above the axis, incorrect and cut ones hang below it, on top of each other; bars are in percent of
    the part's completions, markers on the axis are means, the dotted line is the training budget. Raises UserError for
    an empty table or too many runs.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    runs = list(dict.fromkeys(zip(table["model"], table["benchmark"], strict=True)))
    if not runs:
        raise UserError("nothing to draw: the table has no rows for this figure")
    if len(runs) > _MOST_RUNS:
        raise UserError(f"one figure shows the lengths of up to {_MOST_RUNS} runs, not {len(runs)}: choose some")
    tables = [table[(table["model"] == model) & (table["benchmark"] == benchmark)] for model, benchmark in runs]
    rows = [math.ceil(each["part"].nunique() / _COLUMNS) for each in tables]
    columns = min(_COLUMNS, max(each["part"].nunique() for each in tables))
    with matplotlib.rc_context(RC):
        height = 0.45 + sum(0.45 + 1.45 * count for count in rows)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        blocks = figure.subfigures(len(runs), 1, squeeze=False, height_ratios=[0.45 + 1.45 * count for count in rows])[
            :, 0
        ]
        for block, (model, benchmark), own, count in zip(blocks, runs, tables, rows, strict=True):
            by = " (difficulty: this run's own pass@1)" if "by" in own and own["by"].iloc[0] == "accuracy" else ""
            title = wrap_name(f"{model}, {benchmark}{by}", int(width / 0.066))
            block.suptitle(title, x=0.01, ha="left", fontsize=8)
            grid = block.subplots(count, columns, squeeze=False, sharey=True).ravel()
            parts = list(dict.fromkeys(own["part"]))
            for place, (axes, part) in enumerate(zip(grid, parts, strict=False)):
                _draw(axes, own[own["part"] == part], float(own["cap"].iloc[0]), training_budget(own))
                axes.set_title(f"{part} ({(own['part'] == part).sum():,})", loc="left", fontsize=TEXT)
                if place % columns == 0:
                    axes.set_ylabel("completions (%)")
                if place + columns >= len(parts):
                    axes.set_xlabel("completion tokens")
            for axes in grid[len(parts) :]:
                axes.remove()
        handles: list[Patch | Line2D] = [
            Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=name)
            for name, (colour, hatch) in _ENDINGS.items()
            if (table["ending"] == name).any()
        ]
        handles.append(Line2D([], [], color=GREY, marker="v", linestyle="none", markersize=5, label="mean"))
        legend_below(figure, handles, 5)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _draw(axes: Axes, own: pd.DataFrame, cap: float, limit: float) -> None:
    from matplotlib.transforms import offset_copy

    edges = np.linspace(0, cap, _BINS + 1)
    floor = np.zeros(_BINS)
    for name, (colour, hatch) in _ENDINGS.items():
        tokens = own[own["ending"] == name]["n_tokens"].to_numpy(float)
        if not len(tokens):
            continue
        share = 100 * np.histogram(np.minimum(tokens, cap), edges)[0] / len(own)
        up = name == "correct"
        axes.bar(
            edges[:-1],
            share if up else -share,
            bottom=0 if up else floor,
            width=np.diff(edges),
            align="edge",
            facecolor=colour,
            edgecolor="white",
            hatch=hatch,
            linewidth=0.3,
            zorder=2,
            gid=name,
        )
        floor = floor if up else floor - share
        if name != "cut":
            beside = offset_copy(axes.transData, axes.get_figure(root=True), y=3 if up else -3, units="points")
            (mark,) = axes.plot([tokens.mean()], [0], transform=beside, zorder=4, gid=f"mean, {name}")
            mark.set(
                marker="v" if up else "^", color=colour, markersize=5, markeredgecolor="black", markeredgewidth=0.6
            )
    axes.axhline(0, color="black", linewidth=0.6, zorder=3)
    if limit < cap:
        axes.axvline(limit, color=GREY, linewidth=0.8, linestyle=":", gid="training budget")
    axes.set_xlim(0, cap)
    step = 2.0 ** math.floor(math.log2(cap / 3)) if cap >= 6 else 1.0
    ticks = np.arange(0, cap + 1, step)
    axes.set_xticks(ticks, [budget_label(tick) if tick else "0" for tick in ticks])
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    light_grid(axes)

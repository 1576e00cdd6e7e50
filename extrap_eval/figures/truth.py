"""Estimates against a truth that is known: how far they are off, and how often their intervals cover it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extrap_eval.figures.style import GREY, PAGE, RC, TEXT, legend_below, light_grid, log2_axis, model_styles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def truth_against_estimates(table: pd.DataFrame, *, level: float = 0.95, width: float = PAGE) -> Figure:
    """Draw what ``steps.calibrate.calibrate`` found, every metric against the token budget.

    ``table``: columns metric, budget, truth, mean (of the estimates), coverage, width (of the intervals, mean); all but
    the budget are fractions. Left: the truth as a line, the mean estimate as a marker with half the mean interval to
    either side. Right: how often the ``level`` intervals cover the truth; the band is what ``calibrate`` allows them.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    styles = model_styles(table["metric"])
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.7), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for place, (metric, style) in enumerate(styles.items()):
            shift = 2 ** (0.05 * (place - (len(styles) - 1) / 2))  # side by side around their budget
            rows = table[table["metric"] == metric].sort_values("budget")
            budget, half = rows["budget"], 50 * rows["width"]
            left.plot(budget, 100 * rows["truth"], color=style.colour, linewidth=1, gid="truth")
            left.errorbar(
                budget * shift,
                100 * rows["mean"],
                yerr=half,
                fmt=style.marker,
                color=style.colour,
                elinewidth=0.6,
                markersize=3,
                gid="estimate",
            )
            right.plot(budget, 100 * rows["coverage"], color=style.colour, marker=style.marker, gid="coverage")
        right.axhspan(100 * level - 5, 100 * level + 4, color="0.92", linewidth=0, zorder=0)
        right.axhline(100 * level, color=GREY, linewidth=0.8, linestyle=":")
        lowest = 100 * float(table["coverage"].min())
        right.set_ylim(min(100 * level - 7, lowest - 2), 100.5)
        left.set_ylabel("accuracy (%)")
        right.set_ylabel("intervals with the truth (%)")
        right.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        left.set_title("line: truth, marker: mean estimate ± half an interval", loc="left", fontsize=TEXT)
        right.set_title(f"coverage of {100 * level:g} % intervals; grey: what they may have", loc="left", fontsize=TEXT)
        for axes in (left, right):
            axes.set_xlabel("token budget (completion tokens)")
            light_grid(axes)
        handles = [Line2D([], [], color=s.colour, marker=s.marker, label=metric) for metric, s in styles.items()]
        legend_below(figure, handles, 6)
        figure.draw_without_rendering()
        for axes in (left, right):
            log2_axis(axes, table["budget"].astype(float), margin=0.15)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure

"""How many episodes traces have (MRT Fig. 23)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.figures.style import COLUMN, RC, one_benchmark

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# From the bottom of the stack, dark to light, so that the parts stay in order in grey.
_COLOURS = ("#4A1657", "#0B6A4F", "#56A2CF", "#E69F00", "#F5C77E", "#CC79A7", "#8C8C8C")
RIGHT, WRONG = "#009E73", "#D55E00"


def episode_histogram(table: pd.DataFrame, *, bin_width: int | None = None, width: float = COLUMN) -> Figure:
    """Draw the distribution of the number of episodes of one run, stacked by part.

    ``table``: columns model, benchmark, part (text, such as right and wrong or a difficulty; the parts are stacked in
    the order in which they come), episodes (whole numbers, one row per trace). ``bin_width``: numbers of episodes per
    bar, by default so that there are at most 30 bars. Raises UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    benchmark = one_benchmark(table)
    most = int(table["episodes"].max())
    step = bin_width or max(1, -(-(most + 1) // 30))
    edges = np.arange(0, most + step + 1, step)
    parts = list(dict.fromkeys(table["part"]))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        floor = np.zeros(len(edges) - 1)
        for place, part in enumerate(parts):
            count = np.histogram(table[table["part"] == part]["episodes"], edges)[0]
            colour = {"right": RIGHT, "wrong": WRONG}.get(part, _COLOURS[place % len(_COLOURS)])
            hatch = "////" if part == "wrong" else None
            traces = int(count.sum())
            axes.bar(
                edges[:-1],
                count,
                width=step,
                bottom=floor,
                align="center" if step == 1 else "edge",
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.4,
                label=f"{part} ({traces})",
                gid=str(part),
            )
            floor = floor + count
        axes.set_xlabel("episodes in the thought")
        axes.set_ylabel("traces")
        axes.set_title(f"{table['model'].iloc[0]}, {benchmark}", loc="left")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        if len(parts) > 1:
            axes.legend(frameon=False, reverse=True)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure

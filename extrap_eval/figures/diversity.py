"""Different answers among k samples, and different attempts along a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.figures.style import (
    GREY,
    PAGE,
    RC,
    ModelStyle,
    budget_label,
    legend_below,
    light_grid,
    log2_axis,
    model_styles,
    one_benchmark,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHED = (0, (3, 1.5))


def diversity_curves(diversity: pd.DataFrame, attempts: pd.DataFrame, *, width: float = PAGE) -> Figure:
    """Draw answer diversity against k, unique attempts against tokens, and in how many traces a right one was made.

    ``diversity``: columns model, benchmark, budget, k, value, low, high. ``attempts``: columns model, quantity
    ("attempts", "unique" and "tried" are drawn), budget, value, low, high. Both as from ``steps.diversity``. Raises
    UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.artist import Artist
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    benchmark = one_benchmark(diversity)
    styles = model_styles(diversity["model"])
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        answers, unique, tried = figure.subplots(1, 3)
        for model, style in styles.items():
            _line(answers, diversity[diversity["model"] == model], "k", style, gid="diversity", marker=style.marker)
            own = attempts[attempts["model"] == model]
            _line(unique, own[own["quantity"] == "unique"], "budget", style, gid="unique")
            _line(unique, own[own["quantity"] == "attempts"], "budget", style, gid="attempts", dashed=True)
            _line(tried, own[own["quantity"] == "tried"], "budget", style, gid="tried", scale=100)
        budgets = sorted({int(budget) for budget in diversity["budget"]})
        answers.set_title(f"{benchmark}, at {', '.join(map(budget_label, budgets))} tokens", loc="left")
        answers.set_xlabel("samples k")
        answers.set_ylabel("distinct answers")
        for axes, label in ((unique, "attempts per trace"), (tried, "traces with a right one (%)")):
            axes.set_xlabel("completion tokens")
            axes.set_ylabel(label)
        for axes in (answers, unique, tried):
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(
                MaxNLocator(5, steps=[1, 2, 5, 10])
            )  # ticks that do not change with the layout
            light_grid(axes)
        handles: list[Artist] = [
            Line2D([], [], color=style.colour, marker=style.marker, label=name) for name, style in styles.items()
        ]
        handles += [
            Line2D([], [], color=GREY, label="different attempts"),
            Line2D([], [], color=GREY, linestyle=_DASHED, label="all attempts"),
        ]
        legend_below(figure, handles, 5)
        figure.draw_without_rendering()
        log2_axis(answers, diversity["k"].astype(float))
        octaves = np.log2(attempts["budget"].to_numpy(float))
        powers = 2.0 ** np.arange(np.ceil(octaves.min()), np.floor(octaves.max()) + 1)
        for axes in (unique, tried):
            log2_axis(axes, powers if len(powers) > 1 else attempts["budget"].astype(float), budgets=True)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _line(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    style: ModelStyle,
    *,
    gid: str,
    marker: str | None = None,
    dashed: bool = False,
    scale: float = 1,
) -> None:
    ordered = rows.sort_values(x)
    at = ordered[x].to_numpy(float)
    value, low, high = (scale * ordered[name].to_numpy(float) for name in ("value", "low", "high"))
    if not dashed:
        axes.fill_between(at, low, high, color=style.colour, alpha=0.13, linewidth=0)
    axes.plot(at, value, color=style.colour, marker=marker, linestyle=_DASHED if dashed else "-", gid=gid)

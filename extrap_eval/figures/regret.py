"""Normalised regret against the token budget (MRT Fig. 9, 12) or the number of groups of episodes (Fig. 26)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from extrap_eval.figures.style import (
    COLUMN,
    PAGE,
    RC,
    budget_label,
    corner_note,
    end_labels,
    light_grid,
    log2_axis,
    model_styles,
    one_benchmark,
    settle_labels,
    share_limits,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def regret_curve(table: pd.DataFrame, *, by: Literal["tokens", "groups"] = "tokens", width: float = COLUMN) -> Figure:
    """Draw the regret of every model in one panel; less is better.

    ``table``: columns model, benchmark, at (token budget, or groups of episodes), value, low, high (fractions), and,
    by tokens, natural (the longest natural completion in tokens; beyond it the points come from budget forcing, which
    is shaded; may be missing). Raises UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmark = one_benchmark(table)
    styles = model_styles(table["model"])
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, max(2.3, 0.4 * width)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        ends: dict[str, tuple[float, float]] = {}
        natural = math.inf
        for model, style in styles.items():
            line = table[table["model"] == model].sort_values("at")
            x = line["at"].to_numpy(float)
            value, low, high = (line[name].to_numpy(float) for name in ("value", "low", "high"))
            axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0)
            axes.plot(x, value, color=style.colour, marker=style.marker, gid="regret")
            ends[model] = float(x[-1]), float(value[-1])
            if by == "tokens" and "natural" in line:
                natural = min(natural, float(line["natural"].fillna(math.inf).min()))
        share_limits(axes, 1)
        light_grid(axes)
        axes.set_ylabel("normalised regret")
        axes.set_xlabel("token budget (completion tokens)" if by == "tokens" else "groups of episodes")
        axes.set_title(benchmark, loc="left")
        largest = float(table["at"].max())
        if natural < largest:
            axes.axvspan(natural, 4 * largest, color="0.45", alpha=0.12, linewidth=0, zorder=0, gid="forced")
            corner_note(axes, f"forced (> {budget_label(natural)})")
        labels = end_labels(axes, ends, styles, 17 if width < PAGE else 40)
        figure.draw_without_rendering()
        if by == "tokens":
            log2_axis(axes, table["at"], budgets=True)
        else:
            whole = sorted({int(at) for at in table["at"]})
            axes.set_xticks(whole[:: math.ceil(len(whole) / 10)])
        settle_labels(figure, axes, labels)
    return figure

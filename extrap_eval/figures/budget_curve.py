"""Accuracy against token budget, with the extrapolation region (e3 Fig. 2, with intervals)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.figures.style import (
    COLUMN,
    PAGE,
    RC,
    TEXT,
    ModelStyle,
    budget_label,
    corner_note,
    end_labels,
    light_grid,
    log2_axis,
    model_styles,
    one_benchmark,
    settle_labels,
    share_limits,
    training_budget,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

BANDS_UP_TO = 4  # models; more bands than that hide each other, and become error bars


def budget_curve(
    table: pd.DataFrame, *, metric: str = "pass@k", k: int | None = 1, width: float | None = None
) -> Figure:
    """Draw one metric of ``steps.curves.curves`` against the budget, every model in one panel.

    ``table``: columns model, benchmark, metric, k, budget, value, low, high, training_budget (tokens, may be
    missing); value, low and high are fractions. ``k`` None for metrics without one. ``width`` in inches, by
    default one paper column for up to four models and a page otherwise.

    A line is solid with filled markers up to the model's training budget, dashed with hollow ones beyond;
    budgets beyond a training budget are shaded, the darker the more of the models they are beyond. Raises
    UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = table[table["metric"] == metric]
    if k is not None:
        rows = rows[rows["k"] == k]
    benchmark = one_benchmark(rows)
    styles = model_styles(rows["model"])
    width = width or (COLUMN if len(styles) <= BANDS_UP_TO else PAGE)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, max(2.3, 0.4 * width)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        ends: dict[str, tuple[float, float]] = {}
        training: dict[str, float] = {}
        for place, (model, style) in enumerate(styles.items()):
            line = rows[rows["model"] == model].sort_values("budget")
            training[model] = training_budget(line)
            # Error bars of several models stand side by side around their budget.
            shift = None if len(styles) <= BANDS_UP_TO else 0.03 * (place - (len(styles) - 1) / 2)
            ends[model] = _draw_model(axes, line, style, training[model], shift)
        axes.set_xlabel("token budget (completion tokens)")
        name = metric if k is None else f"{metric[:-1]}{k}"
        axes.set_ylabel(f"{name} (%)" if "@" in name else f"{name} samples (%)")
        share_limits(axes)
        light_grid(axes)
        title = axes.set_title(benchmark, loc="left")
        note = _shade(axes, training, float(rows["budget"].max()))
        labels = end_labels(axes, ends, styles, 17 if width < PAGE else 40)
        figure.draw_without_rendering()
        if note is not None and note.get_window_extent().x0 < title.get_window_extent().x1 + TEXT:
            axes.set_title(benchmark, loc="left", pad=3 + 1.3 * TEXT)
        log2_axis(axes, rows["budget"], budgets=True, margin=0.08 if len(styles) <= BANDS_UP_TO else 0.15)
        settle_labels(figure, axes, labels)
    return figure


def _draw_model(
    axes: Axes, line: pd.DataFrame, style: ModelStyle, limit: float, shift: float | None
) -> tuple[float, float]:
    """Draw one model's band and line; return its last point in data coordinates."""
    x = line["budget"].to_numpy(float)
    y, low, high = (100 * line[name].to_numpy(float) for name in ("value", "low", "high"))
    if shift is None:
        axes.fill_between(x, low, high, color=style.colour, alpha=0.15, linewidth=0)
    else:
        axes.vlines(x * 2**shift, low, high, color=style.colour, linewidth=0.7, alpha=0.6)
    inside = x <= limit
    crossing: list[tuple[float, float]] = []
    if inside.any() and not inside.all():
        # The line changes style at the training budget itself, which need not be a budget of the table.
        crossing = [(limit, float(np.interp(np.log2(limit), np.log2(x), y)))]
    solid = [*zip(x[inside], y[inside], strict=True), *crossing]
    dashed = [*crossing, *zip(x[~inside], y[~inside], strict=True)]
    for points, dashes, kind in ((solid, "-", "trained"), (dashed, (0, (3, 1.5)), "extrapolated")):
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), color=style.colour, linestyle=dashes, gid=f"{kind} line")
    for chosen, face in ((inside, style.colour), (~inside, "white")):
        axes.plot(
            x[chosen],
            y[chosen],
            style.marker,
            color=style.colour,
            markerfacecolor=face,
            markeredgewidth=0.9,
            gid="points",
        )
    return float(x[-1]), float(y[-1])


def _shade(axes: Axes, training: dict[str, float], largest: float) -> Annotation | None:
    """Shade budgets beyond a training budget; return the note above the shaded part."""
    limits = sorted({limit for limit in training.values() if limit < largest})
    if not limits:
        return None
    end = 4 * largest  # beyond the axis
    for limit in limits:
        axes.axvspan(
            limit,
            end,
            color="0.45",
            alpha=0.14 / len(limits) + 0.02,
            linewidth=0,
            zorder=0,
            gid="extrapolation",
        )
    text = f"extrapolation (> {budget_label(limits[0])})" if len(limits) == 1 else "extrapolation"
    return corner_note(axes, text)

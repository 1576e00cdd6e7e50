"""pass@k and maj@k against k at several budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    RC,
    budget_label,
    light_grid,
    log2_axis,
    one_benchmark,
    share_limits,
    wrap_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From light to dark, so that they stay in order in grey: smallest to largest budget.
_COLOURS = ("#E69F00", "#56A2CF", "#0B6A4F", "#4A1657")
MOST_BUDGETS = len(_COLOURS)
_KINDS: dict[str, tuple[Any, str]] = {"pass@k": ("-", "o"), "maj@k": ((0, (3, 1.5)), "s")}


def passk_majk(table: pd.DataFrame, *, budgets: Sequence[int] | None = None, width: float | None = None) -> Figure:
    """Draw pass@k (solid) and maj@k (dashed) of ``steps.curves.curves`` against k, one panel per model.

    ``table``: columns model, benchmark, metric, k, budget, value, low, high (fractions). ``budgets``: one
    colour each, by default up to four of the table's, evenly spread with the smallest and the largest.
    ``width`` in inches. Raises UserError for an empty table, several benchmarks, more than four budgets or
    one that is not in the table.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = table[table["metric"].isin(list(_KINDS))]
    benchmark = one_benchmark(rows)
    there = sorted({int(budget) for budget in rows["budget"]})
    chosen = _spread_out(there) if budgets is None else sorted(set(budgets))
    if absent := [budget for budget in chosen if budget not in there]:
        raise UserError(f"budget {absent[0]} is not in the table: it has {', '.join(map(str, there))}")
    if len(chosen) > MOST_BUDGETS:
        raise UserError(f"{len(chosen)} budgets are too many to tell apart: choose at most {MOST_BUDGETS}")
    colours = dict(zip(chosen, _COLOURS[-len(chosen) :], strict=True))

    models = list(dict.fromkeys(rows["model"]))
    width = width or (COLUMN if len(models) == 1 else PAGE)
    n_rows = math.ceil(len(models) / (1 if width < 3 else 2 if width < 5 else 3))
    n_columns = math.ceil(len(models) / n_rows)
    characters = int((width - 0.95) / n_columns / 0.066) - 2  # that fit over a panel beside the legend
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 0.5 + 1.8 * n_rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, model in zip(panels, models, strict=False):
            _draw_panel(axes, rows[rows["model"] == model], colours)
            axes.set_title(wrap_name(model, characters), loc="left")
        for axes in panels[len(models) :]:
            axes.remove()
        for place, axes in enumerate(panels[: len(models)]):
            if place + n_columns >= len(models):
                axes.set_xlabel("samples k")
                axes.tick_params(labelbottom=True)
            if place % n_columns == 0:
                axes.set_ylabel("accuracy (%)")
        handles = [
            Line2D([], [], color=GREY, linestyle=line, marker=marker, label=name)
            for name, (line, marker) in _KINDS.items()
        ]
        handles += [
            Line2D([], [], color=colour, linewidth=3, label=budget_label(budget)) for budget, colour in colours.items()
        ]
        figure.legend(
            handles=handles,
            loc="outside right upper",
            title=f"{wrap_name(benchmark, 14)}\nbudget (tokens)",
            frameon=False,
        )
        figure.draw_without_rendering()
        for axes in panels[: len(models)]:
            log2_axis(axes, rows["k"].astype(float))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _spread_out(budgets: list[int]) -> list[int]:
    count = min(MOST_BUDGETS, len(budgets))
    return [budgets[i] for i in np.linspace(0, len(budgets) - 1, count).round().astype(int)]


def _draw_panel(axes: Axes, rows: pd.DataFrame, colours: dict[int, str]) -> None:
    for budget, colour in colours.items():
        for metric, (line, marker) in _KINDS.items():
            points = rows[(rows["budget"] == budget) & (rows["metric"] == metric)].sort_values("k")
            k = points["k"].to_numpy(float)
            value, low, high = (100 * points[name].to_numpy(float) for name in ("value", "low", "high"))
            axes.fill_between(k, low, high, color=colour, alpha=0.1, linewidth=0)
            axes.plot(
                k,
                value,
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=2.8,
                gid=f"{metric} {budget}",
            )
    share_limits(axes)
    light_grid(axes)

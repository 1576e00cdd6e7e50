"""Longer or more: accuracy of k samples of j groups of episodes each, and at equal tokens (MRT, e3 Fig. 10)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.style import (
    COLUMN,
    PAGE,
    RC,
    TEXT,
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

_COLOURS = ("#E69F00", "#56A2CF", "#0B6A4F", "#4A1657")  # light to dark: smallest to largest budget
_LINES = "#A63D00"
_APART = 0.7  # rows of the grid between two labels in one place


def attempt_grid(
    table: pd.DataFrame,
    *,
    equal: pd.DataFrame | None = None,
    label: str = "groups of episodes j",
    width: float | None = None,
) -> Figure:
    """Draw the accuracy of every number of groups j and samples k of one model, with lines of equal tokens.

    ``table``: columns model, benchmark, vote ("pass" or "maj"), group (j), k, tokens (of all k samples, mean), value
    (fraction); as from ``metrics.efficiency.attempt_grid``. ``equal``: columns k, budget (tokens), value, low, high,
    missing where a budget cannot be spent so, as from ``metrics.efficiency.at_equal_tokens``; drawn beside the grid,
    up to four budgets. ``label``: of the axis of j. Raises UserError for an empty table, several benchmarks, models or
    votes, or too many budgets.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmark = one_benchmark(table)
    for column in ("model", "vote"):
        if table[column].nunique() > 1:
            raise UserError(
                f"one grid shows one {column}, not {', '.join(map(str, table[column].unique()))}: choose one"
            )
    budgets = [] if equal is None else sorted({int(budget) for budget in equal["budget"]})
    if len(budgets) > len(_COLOURS):
        raise UserError(f"{len(budgets)} budgets are too many to tell apart: choose at most {len(_COLOURS)}")
    vote = str(table["vote"].iloc[0])
    width = width or (PAGE if budgets else COLUMN)
    rows = table["group"].nunique()
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, max(2.4, 0.8 + 0.22 * rows)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2 if budgets else 1, squeeze=False)[0]
        _draw_grid(panels[0], table)
        panels[0].set_xlabel("samples k")
        panels[0].set_ylabel(label)
        name = wrap_name(f"{table['model'].iloc[0]}, {benchmark}: {vote}@k (%)", int(width / len(panels) / 0.068))
        panels[0].set_title(name, loc="left")
        if equal is not None and budgets:
            _draw_equal(panels[1], equal, budgets)
            panels[1].set_ylabel(f"{vote}@k (%)")
            panels[1].set_xlabel("samples k, each as long as the tokens allow")
            panels[1].legend(title="tokens in all", frameon=False, alignment="left")
            figure.draw_without_rendering()
            log2_axis(panels[1], equal["k"].astype(float))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _draw_grid(axes: Axes, table: pd.DataFrame) -> None:
    values = 100 * table.pivot_table(index="group", columns="k", values="value").sort_index()
    tokens = table.pivot_table(index="group", columns="k", values="tokens").sort_index()
    numbers = values.to_numpy(float)
    # The darkest cell is still light enough for black numbers and lines.
    axes.imshow(numbers, origin="lower", aspect="auto", cmap="Blues", vmin=0, vmax=1.8 * max(1.0, numbers.max()))
    for j, k in np.ndindex(numbers.shape):
        axes.text(k, j, f"{numbers[j, k]:.0f}", ha="center", va="center", fontsize=TEXT, gid="accuracy")
    if min(numbers.shape) > 1:
        _draw_equal_tokens(axes, np.log2(tokens.to_numpy(float)))
    axes.set_xticks(range(numbers.shape[1]), [str(k) for k in values.columns])
    axes.set_yticks(range(numbers.shape[0]), [str(j) for j in values.index])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def _draw_equal_tokens(axes: Axes, logs: np.ndarray) -> None:
    """A line through every power of two of tokens, labelled between two columns; ``logs`` (J, K): log2 of tokens."""
    levels = np.arange(math.ceil(logs.min()), math.floor(logs.max()) + 1)
    if not len(levels):
        return
    lines = axes.contour(logs, levels=levels, colors=_LINES, linewidths=0.8, linestyles="solid")
    lines.set_gid("equal tokens")
    between = (logs[:, :-1] + logs[:, 1:]) / 2
    placed: list[tuple[int, float]] = []
    for level in levels.tolist():
        inside = [c for c in range(between.shape[1]) if between[0, c] < level < between[-1, c]]
        rows = {c: float(np.interp(level, between[:, c], np.arange(len(logs)))) for c in inside}
        free = [c for c in inside if all(c != other or abs(rows[c] - row) >= _APART for other, row in placed)]
        if not free:
            continue
        column = min(free, key=lambda c: abs(c - inside[len(inside) // 2]))
        placed.append((column, rows[column]))
        axes.text(
            column + 0.5,
            rows[column],
            budget_label(2.0**level),
            ha="center",
            va="center",
            fontsize=TEXT,
            color=_LINES,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
            gid="tokens",
        )


def _draw_equal(axes: Axes, equal: pd.DataFrame, budgets: list[int]) -> None:
    for budget, colour in zip(budgets, _COLOURS[-len(budgets) :], strict=True):
        line = equal[(equal["budget"] == budget) & equal["value"].notna()].sort_values("k")
        k = line["k"].to_numpy(float)
        value, low, high = (100 * line[name].to_numpy(float) for name in ("value", "low", "high"))
        axes.fill_between(k, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(k, value, "o-", color=colour, label=budget_label(budget), gid=f"equal {budget}")
    share_limits(axes)
    light_grid(axes)

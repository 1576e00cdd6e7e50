"""maj@k against the tokens that k samples cost (MRT Fig. 7, 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.figures.style import (
    COLUMN,
    PAGE,
    RC,
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


def votes_against_tokens(table: pd.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw accuracy against total tokens, one line per model.

    ``table``: columns model, benchmark, k, tokens (of k samples, mean), value, low, high (fractions); as from
    ``steps.efficiency.vote_table``. Raises UserError for an empty table or several benchmarks.
    """
    ks = ", ".join(str(k) for k in sorted(set(table["k"].astype(int))))
    return _draw(table, "completion tokens of k samples (mean)", "maj@k (%)", f"k = {ks}", width)


def one_thought_against_votes(table: pd.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw one thought in a sliding window beside votes over short ones, against all tokens.

    ``table``: columns as above, model being the name of a line, as from ``steps.sliding.window_curves``. Raises
    UserError for an empty table or several benchmarks.
    """
    return _draw(table, "completion tokens in all (mean)", "accuracy (%)", "k episodes, or k votes", width)


def _draw(table: pd.DataFrame, x_label: str, y_label: str, note: str, width: float) -> Figure:
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
        for model, style in styles.items():
            line = table[table["model"] == model].sort_values("k")
            x = line["tokens"].to_numpy(float)
            value, low, high = (100 * line[name].to_numpy(float) for name in ("value", "low", "high"))
            axes.fill_between(x, low, high, color=style.colour, alpha=0.13, linewidth=0)
            axes.plot(x, value, color=style.colour, marker=style.marker, gid="votes")
            ends[model] = float(x[-1]), float(value[-1])
        share_limits(axes)
        light_grid(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_title(benchmark, loc="left")
        corner_note(axes, note)
        labels = end_labels(axes, ends, styles, 17 if width < PAGE else 40)
        figure.draw_without_rendering()
        least, most = float(table["tokens"].min()), float(table["tokens"].max())
        log2_axis(axes, 2.0 ** np.arange(np.floor(np.log2(least)), np.ceil(np.log2(most)) + 1), budgets=True)
        octaves = max(np.log2(most / least), 0.5)
        axes.set_xlim(least / 2 ** (0.08 * octaves), most * 2 ** (0.08 * octaves))
        settle_labels(figure, axes, labels)
    return figure

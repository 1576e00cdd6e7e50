"""What became of every sample at each budget, as stacked bands with accuracy over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.figures.style import (
    COLUMN,
    GREY,
    RC,
    budget_label,
    log2_axis,
    one_benchmark,
    one_model,
    training_budget,
    wrap_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# From the bottom of the stack: what finished, then what did not. Colour, hatch (for print in grey).
BANDS: dict[str, tuple[str, str]] = {
    "finished-correct": ("#009E73", ""),
    "finished-wrong": ("#D55E00", "////"),
    "no-box": ("#F5C77E", ""),
    "scorer-timeout": ("#333333", ""),
    "looped": ("#CC79A7", "...."),
    "cut-while-answering": ("#56B4E9", ""),
    "cut-while-thinking": ("#DCE5EC", ""),
}


def outcome_bands(outcomes: pd.DataFrame, curves: pd.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw ``steps.curves.outcome_table`` of one run with the pass@1 of ``steps.curves.curves`` over it.

    ``outcomes``: columns model, benchmark, budget, outcome, fraction; ``curves``: model, metric, k, budget,
    value, low, high, training_budget. pass@1 may lie above the share that finished correctly: a sample that
    the budget cuts counts as correct when its answer so far is. Raises UserError for several models or
    benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    benchmark = one_benchmark(outcomes)
    model = one_model(outcomes, "outcomes")
    shares = outcomes.pivot_table(index="budget", columns="outcome", values="fraction", aggfunc="sum", fill_value=0)
    shares = shares.reindex(columns=list(BANDS), fill_value=0.0).sort_index()
    line = curves[(curves["model"] == model) & (curves["metric"] == "pass@k") & (curves["k"] == 1)]
    line = line.sort_values("budget")
    budgets = shares.index.to_numpy(float)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, max(2.3, 0.4 * width)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        top = np.zeros(len(budgets))
        handles = []
        for name, (colour, hatch) in BANDS.items():
            share = 100 * shares[name].to_numpy(float)
            if not share.any():
                continue
            # A single budget has no width to fill: draw it as a bar.
            x = budgets if len(budgets) > 1 else budgets[0] * np.array([0.85, 1.18])
            low, high = (np.broadcast_to(edge, x.shape) for edge in (top, top + share))
            handles.append(
                axes.fill_between(
                    x,
                    low,
                    high,
                    facecolor=colour,
                    edgecolor="white",
                    linewidth=0.5,
                    hatch=hatch,
                    label=name,
                    gid=name,
                )
            )
            top = top + share
        value, low, high = (100 * line[name].to_numpy(float) for name in ("value", "low", "high"))
        drawn = axes.errorbar(
            line["budget"].to_numpy(float),
            value,
            yerr=[np.fmax(value - low, 0), np.fmax(high - value, 0)],
            color="black",
            marker="o",
            markersize=3,
            elinewidth=0.8,
            capsize=1.5,
            label="pass@1",
        )
        for part in drawn.get_children():
            part.set_clip_on(False)  # the first and last points lie on the frame
            part.set_path_effects([withStroke(linewidth=2.4, foreground="white")])
        limit = training_budget(line)
        if limit < budgets.max():
            axes.axvline(limit, color="black", linewidth=0.8, linestyle=":", gid="training budget")
            axes.annotate(
                f"trained to {budget_label(limit)}",
                xy=(limit, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="right" if limit**2 > budgets.min() * budgets.max() else "left",
                va="bottom",
                color=GREY,
                style="italic",
            )
        axes.set_ylim(0, 100)
        axes.set_xlabel("token budget (completion tokens)")
        axes.set_ylabel("samples (%)")
        figure.legend(
            handles=[drawn, *reversed(handles)],
            loc="outside right upper",
            title=f"{wrap_name(model, 20)}\n{wrap_name(benchmark, 20)}",
            frameon=False,
            handlelength=1.4,
            alignment="left",
        )
        figure.draw_without_rendering()
        log2_axis(axes, budgets, budgets=True, margin=0.0 if len(budgets) > 1 else 1.0)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure

"""Budget forcing: accuracy against its cost, beside trained extrapolation (e3 Fig. 6), and what each "Wait" does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    RC,
    TEXT,
    legend_below,
    light_grid,
    log2_axis,
    model_styles,
    one_benchmark,
    one_model,
    share_limits,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAINED, LOST = "#009E73", "#D55E00"


def forcing_curves(table: pd.DataFrame, *, trained: pd.DataFrame | None = None, width: float = PAGE) -> Figure:
    """Draw accuracy against the mean tokens used and against the cap, side by side, every model in both.

    ``table``: columns model, benchmark, w (extensions), tokens (completion tokens used, mean), cap (the most tokens a
    trace may have used after w extensions), value, low, high (fractions). ``trained``: rows of ``steps.curves.curves``
    (model, metric, k, budget, mean_tokens, value, low, high), of which pass@1 is drawn, dashed: at its mean tokens on
    the left and its budget on the right. The two axes differ because most completions end before their cap. Raises
    UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    benchmark = one_benchmark(table)
    if trained is not None:
        trained = trained[(trained["metric"] == "pass@k") & (trained["k"] == 1)]
    models = [*table["model"], *(trained["model"] if trained is not None else ())]
    styles = model_styles(models)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharey=True)
        handles = []
        for model, style in styles.items():
            line = table[table["model"] == model].sort_values("w")
            if len(line):
                for axes, x in zip(panels, ("tokens", "cap"), strict=True):
                    _band(axes, line, x, style.colour)
                    axes.plot(line[x], 100 * line["value"], style.marker + "-", color=style.colour, gid="forced")
                    _extensions(axes, line, x)
                handles.append(Line2D([], [], color=style.colour, marker=style.marker, label=f"{model}, forced"))
            if trained is not None and len(curve := trained[trained["model"] == model].sort_values("budget")):
                for axes, x in zip(panels, ("mean_tokens", "budget"), strict=True):
                    _band(axes, curve, x, style.colour)
                    axes.plot(
                        curve[x],
                        100 * curve["value"],
                        color=style.colour,
                        marker=style.marker,
                        markerfacecolor="white",
                        linestyle=(0, (3, 1.5)),
                        gid="not forced",
                    )
                label = f"{model}, not forced"
                marks = {"marker": style.marker, "markerfacecolor": "white", "linestyle": (0, (3, 1.5))}
                handles.append(Line2D([], [], color=style.colour, label=label, **marks))  # type: ignore[arg-type]
        share_limits(panels[0])
        panels[0].set_ylabel("accuracy (%)")
        panels[0].set_xlabel("completion tokens used (mean)")
        panels[1].set_xlabel("cap (completion tokens)")
        panels[0].set_title(benchmark, loc="left")
        for axes in panels:
            light_grid(axes)
        legend_below(figure, handles, 3)
        figure.draw_without_rendering()
        for axes, ours, theirs in zip(panels, ("tokens", "cap"), ("mean_tokens", "budget"), strict=True):
            values = [*table[ours], *(trained[theirs] if trained is not None else ())]
            _token_axis(axes, np.array(values, dtype=float), budgets=ours == "cap")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _band(axes: Axes, line: pd.DataFrame, x: str, colour: str) -> None:
    low, high = (100 * line[name].to_numpy(float) for name in ("low", "high"))
    axes.fill_between(line[x].to_numpy(float), low, high, color=colour, alpha=0.12, linewidth=0)


def _extensions(axes: Axes, line: pd.DataFrame, x: str) -> None:
    """The number of extensions beside the last point of a line; none have been made at the first."""
    last = line.iloc[-1]
    axes.annotate(
        f"w = {int(last['w'])}",
        xy=(float(last[x]), 100 * float(last["value"])),
        xytext=(5, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=TEXT,
        color=GREY,
        annotation_clip=False,
    )


def _token_axis(axes: Axes, values: np.ndarray, *, budgets: bool) -> None:
    """Log2, with ticks at powers of two where the values are means."""
    low, high = float(values.min()), float(values.max())
    if budgets:
        log2_axis(axes, values, budgets=True)
        return
    powers = 2.0 ** np.arange(np.floor(np.log2(low)), np.ceil(np.log2(high)) + 1)
    log2_axis(axes, powers, budgets=True)
    octaves = max(np.log2(high / low), 0.2)
    axes.set_xlim(low / 2 ** (0.08 * octaves), high * 2 ** (0.08 * octaves))


def wait_bars(table: pd.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw how many answers each extension puts right (upwards) and spoils (downwards), and the net change.

    ``table``: columns model, benchmark, w (extension, from 1), wrong_to_right, right_to_wrong, net, net_low, net_high
    (fractions of the traces), tokens (spent on the extension, mean); as from ``metrics.forcing.wait_audit``. Raises
    UserError for an empty table, several benchmarks or several models.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmark = one_benchmark(table)
    model = one_model(table, "extensions")
    rows = table.sort_values("w")
    w = rows["w"].to_numpy(float)
    gained, lost, net, low, high = (
        100 * rows[name].to_numpy(float) for name in ("wrong_to_right", "right_to_wrong", "net", "net_low", "net_high")
    )
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.bar(w, gained, width=0.6, color=GAINED, label="wrong → right", gid="gained")
        axes.bar(w, -lost, width=0.6, color=LOST, hatch="////", edgecolor="white", linewidth=0, label="right → wrong")
        axes.axhline(0, color="black", linewidth=0.6)
        error = [np.fmax(net - low, 0), np.fmax(high - net, 0)]
        axes.errorbar(
            w, net, yerr=error, fmt="D", color="black", markersize=3, elinewidth=0.8, capsize=1.5, label="net"
        )
        for x, tokens, top in zip(w, rows["tokens"], np.fmax(gained, np.nan_to_num(high)), strict=True):
            axes.annotate(
                f"{tokens:,.0f}",
                xy=(x, max(top, 0)),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=TEXT,
                color=GREY,
            )
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top + 0.08 * (top - bottom))  # for the numbers on top
        axes.set_xticks(w, [f"{int(each)}" for each in w])
        axes.set_xlabel("extension (above: mean tokens spent)")
        axes.set_ylabel("traces (%)")
        axes.set_title(f"{model}, {benchmark}", loc="left")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure

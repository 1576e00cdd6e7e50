"""Token entropy and branching factor by relative position (RLVR-exploration, section 2: the U shape)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from extrap_eval.figures.style import PAGE, RC, legend_below, light_grid, one_benchmark, wrap_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

RIGHT, WRONG = "#009E73", "#D55E00"
_LABELS = {"entropy": "token entropy (nats)", "branching": "branching factor (tokens)"}
_LINES: dict[str, tuple[str, Any, str]] = {"correct": (RIGHT, "-", "o"), "incorrect": (WRONG, "--", "s")}


def distributions_by_position(table: pd.DataFrame, *, width: float = PAGE) -> Figure:
    """Draw mean entropy and branching by relative position, correct and incorrect completions apart, with bands.

    ``table``: columns model, benchmark, part (of which correct and incorrect are drawn), metric (entropy, branching),
    position (from 0 to 1), value, low, high, traces, top, uncovered (share of positions that are lower bounds, which
    then is said). One row of two panels per model. Raises UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    benchmark = one_benchmark(table)
    models = list(dict.fromkeys(table["model"]))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 0.7 + 1.75 * len(models)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(models), len(_LABELS), sharex=True, sharey="col", squeeze=False)
        for place, model in enumerate(models):
            rows = table[table["model"] == model]
            for axes, (metric, label) in zip(panels[place], _LABELS.items(), strict=True):
                for part, (colour, style, marker) in _LINES.items():
                    line = rows[(rows["metric"] == metric) & (rows["part"] == part)].sort_values("position")
                    x = 100 * line["position"].to_numpy(float)
                    values, low, high = (line[name].to_numpy(float) for name in ("value", "low", "high"))
                    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
                    axes.plot(x, values, style, marker=marker, color=colour, markersize=2.4, gid=part)
                axes.set_ylabel(label)
                axes.set_xlim(0, 100)
                light_grid(axes)
            panels[place][0].set_title(wrap_name(f"{model}, {benchmark}", 48), loc="left")
            panels[place][1].set_title(_bound(rows), loc="right", fontsize=7, color="#555555")
        for axes in panels[-1]:
            axes.set_xlabel("position in the completion (%)")
        handles: list[Artist] = [
            Line2D([], [], color=colour, linestyle=style, marker=marker, markersize=2.8, label=f"{part} completions")
            for part, (colour, style, marker) in _LINES.items()
        ]
        legend_below(figure, handles, 2)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _bound(rows: pd.DataFrame) -> str:
    """What makes the values of a model lower bounds; nothing where nothing does."""
    share = float(rows["uncovered"].max())
    if not share > 0:
        return ""
    return f"lower bounds: top {int(rows['top'].min())} hold less than 0.95 at up to {100 * share:.2g} % of positions"

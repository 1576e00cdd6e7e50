"""What traces would answer after each group of episodes (MRT Fig. 3, 24, 25), and what each group adds (Fig. 16)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    RC,
    TEXT,
    legend_below,
    light_grid,
    model_styles,
    one_benchmark,
    one_model,
    share_limits,
    title_above,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRACE = "#0072B2"
DIRECT = "#D55E00"
_VOTES = ("#0072B2", "#56A2CF", "#E69F00", "#882255", "#4A1657")  # p = 1 first


def probe_curves(
    table: pd.DataFrame,
    *,
    direct: pd.DataFrame | None = None,
    x: Literal["tokens", "episodes"] = "tokens",
    width: float | None = None,
) -> Figure:
    """Draw [maj@p]_j of one model, one panel per bin of traces.

    ``table``: columns model, benchmark, first, last (numbers of episodes of the traces in the bin), traces, group (j),
    episodes (in the prefix, mean), p, tokens (prefix and p answers, mean), value, low, high (fractions); as from
    ``metrics.probes.bins``. ``direct``: columns model, k, tokens (of k samples, mean), value, low, high: pass@k of a
    model that answers at once; drawn where x is tokens.

    Over tokens, one thick line joins [maj@1]_j, and from each of its points a thin one leads through the votes of more
    answers to the same prefix. Over episodes, one line per p. Raises UserError for an empty table, several benchmarks
    or several models.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmark = one_benchmark(table)
    model = one_model(table, "probes")
    bins = sorted({(int(a), int(b)) for a, b in zip(table["first"], table["last"], strict=True)})
    columns = min(len(bins), 3)
    rows = math.ceil(len(bins) / columns)
    width = width or (COLUMN if columns == 1 else PAGE)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 0.75 + 1.75 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for place, (axes, (first, last)) in enumerate(zip(panels, bins, strict=False)):
            inside = table[(table["first"] == first) & (table["last"] == last)]
            if x == "tokens":
                _draw_tokens(axes, inside, direct)
            else:
                _draw_episodes(axes, inside)
            traces = int(inside["traces"].max())
            axes.set_title(f"{first}–{last} episodes ({traces} trace{'s' if traces != 1 else ''})", loc="left")
            light_grid(axes)
            if place + columns >= len(bins):
                axes.set_xlabel("completion tokens" if x == "tokens" else "episodes")
            if place % columns == 0:
                axes.set_ylabel("accuracy (%)")
        for axes in panels[len(bins) :]:
            axes.remove()
        share_limits(panels[0])
        handles = _token_handles(direct) if x == "tokens" else _vote_handles(table)
        title_above(figure, f"{model}, {benchmark}", width)
        legend_below(figure, handles, 5)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _draw_tokens(axes: Axes, rows: pd.DataFrame, direct: pd.DataFrame | None) -> None:
    from matplotlib.ticker import MaxNLocator

    if direct is not None:
        line = direct.sort_values("k")
        _band(axes, line, "tokens", DIRECT)
        axes.plot(line["tokens"], 100 * line["value"], "s--", color=DIRECT, markersize=2.8, linewidth=1, gid="direct")
    for _, prefix in rows.groupby("group"):
        votes = prefix.sort_values("p")
        axes.plot(
            votes["tokens"], 100 * votes["value"], "^-", color="#009E73", linewidth=0.7, markersize=2.2, gid="votes"
        )
    line = rows[rows["p"] == 1].sort_values("group")
    _band(axes, line, "tokens", TRACE)
    axes.plot(line["tokens"], 100 * line["value"], "o-", color=TRACE, gid="trace")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))  # labels of narrow panels must not touch


def _draw_episodes(axes: Axes, rows: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    for p, colour in _vote_colours(rows).items():
        line = rows[rows["p"] == p].sort_values("group")
        if p == 1:
            _band(axes, line, "episodes", colour)
        axes.plot(line["episodes"], 100 * line["value"], "o-", color=colour, markersize=3, gid=f"maj@{p}")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _band(axes: Axes, line: pd.DataFrame, x: str, colour: str) -> None:
    low, high = (100 * line[name].to_numpy(float) for name in ("low", "high"))
    axes.fill_between(line[x].to_numpy(float), low, high, color=colour, alpha=0.15, linewidth=0)


def _vote_colours(rows: pd.DataFrame) -> dict[int, str]:
    return dict(zip(sorted({int(p) for p in rows["p"]}), _VOTES, strict=False))


def _token_handles(direct: pd.DataFrame | None) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=TRACE, marker="o", label="[maj@1] after j groups"),
        Line2D([], [], color="#009E73", marker="^", linewidth=0.7, markersize=2.8, label="votes of p answers"),
    ]
    if direct is not None:
        name = str(direct["model"].iloc[0])
        handles.append(Line2D([], [], color=DIRECT, marker="s", linestyle="--", label=f"{name}, direct pass@k"))
    return handles


def _vote_handles(table: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, marker="o", label=f"[maj@{p}] after j groups")
        for p, colour in _vote_colours(table).items()
    ]


def progress_histogram(table: pd.DataFrame, *, replicates: int = 8, width: float = COLUMN) -> Figure:
    """Draw how often a group of episodes raises or lowers the accuracy of a trace, and by how much.

    ``table``: columns model, benchmark, progress (fraction, from -1 to 1; one row per trace and group, as from
    ``metrics.probes.progress``). ``replicates``: answers per probe, which progress is a multiple of. Bars of one model,
    steps of several. Raises UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = table[table["progress"].notna()]
    benchmark = one_benchmark(rows)
    styles = model_styles(rows["model"])
    bins = min(replicates, 16)
    edges = (np.arange(-bins, bins + 2) - 0.5) / bins
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 2.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        highest = 0.0
        for model, style in styles.items():
            progress = rows[rows["model"] == model]["progress"].to_numpy(float)
            share = 100 * np.histogram(progress, edges)[0] / len(progress)
            highest = max(highest, float(share.max()))
            label = f"{model} (mean {100 * progress.mean():+.1f} points)".replace(" -", " −")
            if len(styles) == 1:
                axes.stairs(share, edges, fill=True, color=style.colour, alpha=0.6, label=label, gid="progress")
            else:
                axes.stairs(share, edges, color=style.colour, linewidth=1.2, label=label, gid="progress")
        axes.axvline(0, color=GREY, linewidth=0.6, linestyle=":")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.08 * highest)
        axes.set_xlabel("progress of a group (accuracy after − before)")
        axes.set_ylabel("groups (%)")
        axes.set_title(benchmark, loc="left")
        figure.legend(loc="outside lower center", frameon=False, fontsize=TEXT)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure

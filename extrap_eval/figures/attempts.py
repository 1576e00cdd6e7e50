"""Verifications of right and wrong traces, pass@k against a cap on attempts, and what chaining them is worth (e3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.episodes import RIGHT, WRONG
from extrap_eval.figures.style import PAGE, RC, legend_below, light_grid, log2_axis, one_benchmark, wrap_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From light to dark, so that they stay in order in grey: the fewest samples to the most.
_COLOURS = ("#E69F00", "#56A2CF", "#0B6A4F", "#4A1657")
# How an answer comes about -> its line in the third panel.
_WAYS: dict[str, tuple[str, Any, str]] = {
    "chained": ("#0072B2", "-", "one trace, verifying"),
    "alone": ("#555555", (0, (1, 1.2)), "first attempt alone"),
    "votes": ("#D55E00", (0, (3, 1.5)), "vote of j first attempts"),
    "best": ("#8C8C8C", (0, (5, 1, 1, 1)), "best of j first attempts"),
}


def chained_attempts(traces: pd.DataFrame, caps: pd.DataFrame, gaps: pd.DataFrame, *, width: float = PAGE) -> Figure:
    """Draw one row of three panels per run; the tables are those of ``steps.chained``, of the same runs.

    ``traces``: columns model, benchmark, part ("right", "wrong"), count (verifications of a trace). ``caps``: columns
    model, unit, group (j), k, value, low, high. ``gaps``: columns model, attempts (j), and chained, alone, votes and
    best with their _low and _high. Raises UserError for an empty table or several benchmarks.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmark = one_benchmark(traces)
    models = list(dict.fromkeys(traces["model"]))
    if set(caps["model"]) != set(models) or set(gaps["model"]) != set(models):
        raise UserError("the tables of attempts are not about the same runs")
    unit = str(caps["unit"].iloc[0])
    colours = _colours(caps)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 0.75 + 2.1 * len(models)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(models), 3, squeeze=False)
        for row, model in zip(panels, models, strict=True):
            _histogram(row[0], traces[traces["model"] == model])
            row[0].set_title(wrap_name(f"{model}, {benchmark}", 34), loc="left")
            _capped(row[1], caps[caps["model"] == model], colours)
            _ways(row[2], gaps[gaps["model"] == model])
            row[0].set_ylabel("share of such traces (%)")
            row[1].set_ylabel("pass@k (%)")
            row[2].set_ylabel("accuracy (%)")
            for axes in row[1:]:
                axes.set_xlabel(f"at most j {unit}")
                axes.set_ylim(-2, 102)
                light_grid(axes)
        legend_below(figure, _key(colours), 4)
        figure.draw_without_rendering()
        for row, model in zip(panels, models, strict=True):
            log2_axis(row[1], caps[caps["model"] == model]["group"].astype(float))
            log2_axis(row[2], gaps[gaps["model"] == model]["attempts"].astype(float))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _key(colours: dict[int, str]) -> list[Artist]:
    """What the lines of the second and the third panel are, two rows where there are as many of both."""
    from matplotlib.lines import Line2D

    of_k: list[Artist] = [
        Line2D([], [], color=colour, marker="o", markersize=2.6, label=f"k = {k}") for k, colour in colours.items()
    ]
    ways = [Line2D([], [], color=colour, linestyle=dashes, label=label) for colour, dashes, label in _WAYS.values()]
    if len(of_k) != len(ways):
        return [*of_k, *ways]
    return [handle for pair in zip(of_k, ways, strict=True) for handle in pair]  # legends are filled by columns


def _histogram(axes: Axes, traces: pd.DataFrame) -> None:
    """Shares of right and of wrong traces, since there are seldom as many of both."""
    most = int(np.quantile(traces["count"], 0.99)) if len(traces) else 0
    step = max(1, -(-(most + 1) // 24))
    edges = np.arange(0, most + 2 * step, step)
    for part, colour, hatch in (("right", RIGHT, None), ("wrong", WRONG, "////")):
        counts = traces[traces["part"] == part]["count"].to_numpy()
        if not len(counts):
            continue
        share = 100 * np.histogram(np.minimum(counts, edges[-2]), edges)[0] / len(counts)
        axes.stairs(share, edges - 0.5, fill=True, color=colour, alpha=0.45, hatch=hatch, gid=part)
        axes.stairs(share, edges - 0.5, color=colour, label=f"{part} ({len(counts)})")
        axes.axvline(float(counts.mean()), color=colour, linewidth=0.9, linestyle=(0, (2, 1.5)), gid=f"mean {part}")
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none", borderpad=0.2)
    more = f" ({edges[-2]}+ in one bar)" if int(traces["count"].max()) >= edges[-1] else ""
    axes.set_xlabel(f"verifications in a trace{more}")


def _colours(caps: pd.DataFrame) -> dict[int, str]:
    """Up to four k, evenly spread, and their colours."""
    there = sorted({int(k) for k in caps["k"]})
    count = min(len(_COLOURS), len(there))
    chosen = [there[i] for i in np.linspace(0, len(there) - 1, count).round().astype(int)]
    return dict(zip(chosen, _COLOURS[-count:], strict=True))


def _capped(axes: Axes, caps: pd.DataFrame, colours: dict[int, str]) -> None:
    for k, colour in colours.items():
        line = caps[caps["k"] == k].sort_values("group")
        at = line["group"].to_numpy(float)
        value, low, high = (100 * line[name].to_numpy(float) for name in ("value", "low", "high"))
        axes.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(at, value, "o-", color=colour, markersize=2.6, gid=f"pass@{k}")


def _ways(axes: Axes, gaps: pd.DataFrame) -> None:
    line = gaps.sort_values("attempts")
    at = line["attempts"].to_numpy(float)
    for name, (colour, dashes, _) in _WAYS.items():
        value, low, high = (100 * line[each].to_numpy(float) for each in (name, f"{name}_low", f"{name}_high"))
        if name in ("chained", "votes"):
            axes.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(at, value, color=colour, linestyle=dashes, gid=name)

"""A published figure redrawn: what was measured over what the paper printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    RC,
    ModelStyle,
    budget_label,
    end_labels,
    legend_below,
    light_grid,
    log2_axis,
    model_styles,
    settle_labels,
    wrap_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Axis of the table -> its label, and how it is divided.
_AXES = {
    "budget": ("token budget (completion tokens)", "budgets"),
    "tokens": ("completion tokens used (mean)", "powers"),
    "thinking tokens": ("thinking tokens (mean)", "powers"),
    "samples k": ("samples k", "values"),
    "groups": ("groups of episodes", "whole"),
    "episodes": ("episodes in the thought", "bars"),
    "length": ("completion tokens", "bars"),
    "progress": ("progress of a group (accuracy after − before)", "bars"),
    "score": ("", "score"),
}
_PUBLISHED: dict[str, Any] = {"linestyle": (0, (1, 1.2)), "linewidth": 1.0, "markerfacecolor": "white", "zorder": 1.8}
_DASHED = (0, (3, 1.5))
_RING = 5.4  # points: a published marker shows around ours where both are equal
_FEW_OCTAVES = 2.5  # with so few, powers of two alone leave an axis almost without ticks
_DIRECT_LABELS_UP_TO = 8  # lines; more labels than that are taller than the panel
NO_PERCENT = ("normalised regret",)


def reproduction(
    ours: pd.DataFrame,
    paper: pd.DataFrame,
    *,
    title: str,
    trained: Mapping[str, float] | None = None,
    known_as: str = "published",
) -> Figure:
    """Draw points of ``steps.points`` over those of ``steps.references``, one panel for each panel and axis of either.

    Both tables: columns panel, axis, line, metric, x, value, low, high (fractions); one of them may be empty, and a
    figure of published values alone says so. Ours are solid lines with filled markers and bands; published values are
    dotted with hollow markers, in the colour of the same line. ``trained``: line or panel -> training budget in tokens:
    beyond it our line is dashed, and the budgets are shaded.
    ``known_as``: what the other values are, in the legend. Points of the axis "score" become rows of dots. Raises
    UserError for two empty tables and an unknown axis.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(ours, paper)
    scores = panels[0][1] == "score"
    lines = list(dict.fromkeys([*paper["line"], *ours["line"]]))  # so that the paper's keep their colours
    styles = _styles(lines)
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    direct = len(panels) == 1 and len(lines) <= _DIRECT_LABELS_UP_TO and not scores
    width = COLUMN if len(panels) == 1 and (len(lines) <= 4 or not direct) and not scores else PAGE
    height = 0.75 + (0.35 + 0.18 * len(lines) if scores else 1.75 if rows > 1 else 1.9) * rows
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        shared = scores or len({metric for _, _, metric in panels}) == 1
        grid = figure.subplots(rows, columns, squeeze=False, sharey=shared).ravel()
        for axes, key in zip(grid, panels, strict=False):
            mine, theirs = (_of_panel(table, key) for table in (ours, paper))
            if scores:
                _draw_scores(axes, mine, theirs, lines, styles)
            else:
                _draw_lines(axes, mine, theirs, styles, trained or {})
            name = key[0] if not scores else f"{key[0]}, {key[2]}"
            axes.set_title(wrap_name(name, int(width / columns / 0.068)), loc="left")
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes, key in zip(grid, panels, strict=False) if not scores else ():
            bottom, top = axes.get_ylim()
            whole = 1.0 if key[2] in NO_PERCENT else 100.0
            least = 0.0 if _AXES[key[1]][1] == "bars" else max(bottom, -0.02 * whole)
            axes.set_ylim(least, min(top, 1.02 * whole))
        for place, (axes, key) in enumerate(zip(grid, panels, strict=False)):
            last_of_column = place + columns >= len(panels)
            if scores:
                axes.set_xlabel("accuracy (%)" if last_of_column else "")
            elif last_of_column or panels[place + columns][1] != key[1]:
                axes.set_xlabel(_AXES[key[1]][0])
            if not scores and (place % columns == 0 or panels[place - 1][2] != key[2]):
                axes.set_ylabel(key[2] if key[2] in NO_PERCENT else f"{key[2]} (%)")
        figure.suptitle(
            "\n".join(wrap_name(part, int(width / 0.064)) for part in title.splitlines()), x=0.01, ha="left", fontsize=8
        )
        named = {} if direct or scores else styles
        measured = "measured, 95 % interval" if ours["low"].notna().any() else "measured" if len(ours) else None
        bars = not scores and all(_AXES[axis][1] == "bars" for _, axis, _ in panels)
        handles = _handles(named, measured, known_as if len(paper) else None, markers=not bars, lines=not scores)
        legend_below(figure, handles, 5)
        labels = end_labels(grid[0], _ends(ours, paper), styles, 17 if width < PAGE else 40) if direct else []
        figure.draw_without_rendering()
        for axes, key in zip(grid, panels, strict=False):
            both = np.concatenate([_of_panel(table, key)["x"].to_numpy(float) for table in (ours, paper)])
            _divide(axes, _AXES[key[1]][1], both)
        if labels:
            settle_labels(figure, grid[0], labels)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _styles(lines: list[str]) -> dict[str, ModelStyle]:
    """A marker per line and a colour per model: a line is named after its model, and ", forced" or the like."""
    colours = model_styles(line.split(", ")[0] for line in lines)
    return {line: ModelStyle(colours[line.split(", ")[0]].colour, model_styles(lines)[line].marker) for line in lines}


_Key = tuple[str, str, str]


def _panels(ours: pd.DataFrame, paper: pd.DataFrame) -> list[_Key]:
    """Panel, axis and metric of every panel: ours first, and among them those of one axis side by side as they come."""
    keys: dict[tuple[str, str], str] = {}
    scores: dict[_Key, None] = {}
    for table in (ours, paper):
        for panel, axis, metric in zip(table["panel"], table["axis"], table["metric"], strict=True):
            if axis not in _AXES:
                raise UserError(f"axis: {axis} is not one of {', '.join(_AXES)}")
            if axis == "score":
                scores[panel, axis, metric] = None
            else:
                keys.setdefault((panel, axis), metric)
    found = [*scores, *((panel, axis, metric) for (panel, axis), metric in keys.items())]
    if not found:
        raise UserError("nothing to draw: there is neither a measured nor a published value for this figure")
    return found


def _of_panel(table: pd.DataFrame, key: _Key) -> pd.DataFrame:
    rows = table[(table["panel"] == key[0]) & (table["axis"] == key[1])]
    return rows[rows["metric"] == key[2]] if key[1] == "score" else rows


def _scale(rows: pd.DataFrame) -> float:
    return 1.0 if set(rows["metric"]) & set(NO_PERCENT) else 100.0


def _draw_lines(
    axes: Axes, ours: pd.DataFrame, paper: pd.DataFrame, styles: dict[str, ModelStyle], trained: Mapping[str, float]
) -> None:
    bars = "bars" in {_AXES[axis][1] for axis in (*ours["axis"], *paper["axis"])}
    draw_style = "steps-mid" if bars else "default"
    for line, rows in paper.groupby("line", sort=False):
        rows, scale = rows.sort_values("x"), _scale(paper)
        style = styles[str(line)]
        axes.plot(
            rows["x"],
            scale * rows["value"],
            color=style.colour,
            marker="" if bars else style.marker,
            markersize=_RING if len(ours) else 3.4,
            drawstyle=draw_style,
            gid="published",
            **_PUBLISHED,
        )
    limits = set()
    for line, rows in ours.groupby("line", sort=False):
        rows, scale = rows.sort_values("x"), _scale(ours)
        style = styles[str(line)]
        x, value, low, high = (rows[name].to_numpy(float) for name in ("x", "value", "low", "high"))
        axes.fill_between(x, scale * low, scale * high, color=style.colour, alpha=0.15, linewidth=0)
        limit = trained.get(str(line), trained.get(str(rows["panel"].iloc[0]), math.inf))
        limit = limit if set(rows["axis"]) == {"budget"} else math.inf
        limits |= {limit} if limit < x.max() else set()
        inside = np.searchsorted(x, limit, side="right")
        marker = "" if bars else style.marker
        shared: dict[str, Any] = {"color": style.colour, "drawstyle": draw_style, "gid": "measured"}
        axes.plot(x[:inside], scale * value[:inside], marker=marker, **shared)
        axes.plot(x[max(inside - 1, 0) :], scale * value[max(inside - 1, 0) :], linestyle=_DASHED, **shared)
        axes.plot(x[inside:], scale * value[inside:], marker, color=style.colour, markerfacecolor="white")
    for limit in sorted(limits):
        axes.axvspan(
            limit, 1e9, color="0.45", alpha=0.14 / len(limits) + 0.02, linewidth=0, zorder=0, gid="extrapolation"
        )
    light_grid(axes)


def _draw_scores(
    axes: Axes, ours: pd.DataFrame, paper: pd.DataFrame, lines: list[str], styles: dict[str, ModelStyle]
) -> None:
    places = {line: -i for i, line in enumerate(lines)}
    for line, value in zip(paper["line"], paper["value"], strict=True):
        style = styles[line]
        size = _RING if len(ours) else 3.8
        kind: dict[str, Any] = {
            "color": style.colour,
            "gid": "published",
            "markerfacecolor": "white",
            "markersize": size,
        }
        axes.plot(100 * value, places[line], style.marker, **kind)
    for row in ours.to_dict("records"):
        style, y = styles[row["line"]], places[row["line"]]
        axes.hlines(y, 100 * row["low"], 100 * row["high"], color=style.colour, linewidth=1)
        axes.plot(100 * row["value"], y, style.marker, color=style.colour, gid="measured")
    axes.set_yticks(list(places.values()), list(places))
    axes.set_ylim(-len(lines) + 0.4, 0.6)
    light_grid(axes, "both")


def _ends(ours: pd.DataFrame, paper: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The last point of every line, ours where there is one."""
    ends = {}
    for table in (paper, ours):
        for line, rows in table.groupby("line", sort=False):
            last = rows.sort_values("x").iloc[-1]
            ends[str(line)] = float(last["x"]), _scale(table) * float(last["value"])
    return ends


def _handles(
    styles: dict[str, ModelStyle], measured: str | None, known_as: str | None, *, markers: bool, lines: bool
) -> list[Any]:
    """Of the lines that no label names, and of what was measured and what is known (None: there is nothing of it)."""
    from matplotlib.lines import Line2D

    def handle(colour: str, marker: str, label: str, **more: Any) -> Line2D:
        return Line2D([], [], color=colour, marker=marker if markers else "", label=label, **more)

    hollow: dict[str, Any] = {} if measured else {"markerfacecolor": "white", "linestyle": "" if markers else ":"}
    handles = [handle(style.colour, style.marker, line, **hollow) for line, style in styles.items()]
    if measured is not None:
        handles.append(handle(GREY, "o", measured))
    if known_as is not None:
        handles.append(handle(GREY, "o", known_as, **(_PUBLISHED if lines else {**_PUBLISHED, "linestyle": ""})))
    return handles


def _divide(axes: Axes, how: str, values: np.ndarray) -> None:
    """The ticks of the x axis, now that its width is known."""
    values = values[values > 0] if how in ("budgets", "powers", "values") else values
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if how in ("budgets", "values"):
        log2_axis(axes, values, budgets=how == "budgets")
    elif how == "powers":
        octaves = max(math.log2(high / low), 0.5)
        ticks = 2.0 ** np.arange(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
        within = low / 2 ** (0.08 * octaves), high * 2 ** (0.08 * octaves)
        if octaves < _FEW_OCTAVES:
            ticks = np.concatenate([ticks, 1.5 * ticks])
        shown = ticks[(ticks >= within[0]) & (ticks <= within[1])]
        log2_axis(axes, shown if len(shown) else np.array([low, high]).round(), budgets=True)
        axes.set_xlim(*within)
    elif how == "whole":
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    elif how == "bars" and high > 4096:
        axes.set_xticks(*_thousands(high))


def _thousands(high: float) -> tuple[list[float], list[str]]:
    step = 1024 * 2 ** max(0, math.ceil(math.log2(high / 1024 / 8)))
    ticks = np.arange(0, high + 1, step)
    return list(ticks), [budget_label(tick) if tick else "0" for tick in ticks]

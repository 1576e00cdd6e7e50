"""What completions are made of at every budget, in small panels (RLVR-exploration, sections 2-4; e3 Fig. 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.style import GREY, PAGE, RC, legend_below, light_grid, log2_axis, training_budget, wrap_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Ending -> colour, marker, width of the line.
LINES: dict[str, tuple[str, str, float]] = {
    "all": ("black", "o", 1.4),
    "correct": ("#009E73", "^", 1.0),
    "incorrect": ("#D55E00", "s", 1.0),
    "cut": ("#5B7F95", "v", 1.0),
}
_COLUMNS = 3
_APART = 0.07  # octaves between the points of two endings
_FEWEST = 5  # completions that a point is about; of fewer the interval covers the panel
_MOST_RUNS = 4


def quality_panels(table: pd.DataFrame, *, threshold: float = 0.31, width: float = PAGE) -> Figure:
    r"""Draw ``steps.quality.quality_table`` of up to four runs: six panels each, a line for every ending.

    ``table``: columns model, benchmark, budget, ending, measure, value, low, high, completions, unit, training_budget.
    Panels: looped endings, their median onset, 3-gram redundancy, the share of it beyond ``threshold``, format
    violations (dotted: several boxes) and language mixing. Panels of one measure share their scale over the runs;
    beyond the training budget they are shaded. Points about fewer than 5 completions are left out, but for
    onsets. Raises UserError for an empty table or too many runs.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    runs = list(dict.fromkeys(zip(table["model"], table["benchmark"], strict=True)))
    if not runs:
        raise UserError("nothing to draw: the table has no rows for this figure")
    if len(runs) > _MOST_RUNS:
        raise UserError(f"one figure shows the quality of up to {_MOST_RUNS} runs, not {len(runs)}: choose some")
    unit = str(table["unit"].iloc[0])
    panels = {
        "looped": "looped ending (%)",
        "loop onset": "onset of the loop (median token)",
        "redundancy": f"3-gram redundancy of {unit} (%)",
        "redundant": f"redundancy above {100 * threshold:g} % (%)",
        "format violation": "none or several boxes (%)",
        "language mixing": "language mixing (%)",
    }
    rows = -(-len(panels) // _COLUMNS)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, 0.45 + (0.3 + 1.45 * rows) * len(runs)), layout="constrained")
        FigureCanvasAgg(figure)
        blocks = figure.subfigures(len(runs), 1, squeeze=False)[:, 0]
        drawn: dict[str, list[Axes]] = {name: [] for name in panels}
        for block, (model, benchmark) in zip(blocks, runs, strict=True):
            own = table[(table["model"] == model) & (table["benchmark"] == benchmark)]
            title = wrap_name(f"{model}, {benchmark}", int(width / 0.068))
            block.suptitle(title, x=0.01, ha="left", fontsize=8)
            grid = block.subplots(rows, _COLUMNS, sharex=True).ravel()
            for axes, (measure, label) in zip(grid, panels.items(), strict=True):
                _draw(axes, own, measure)
                axes.set_title(label, loc="left", fontsize=7)
                drawn[measure].append(axes)
            for axes in grid[-_COLUMNS:]:
                axes.set_xlabel("token budget")
        for measure, several in drawn.items():
            seen = table[table["measure"] == measure]
            seen = seen if measure == "loop onset" else seen[seen["completions"] >= _FEWEST]
            heights = [*seen["value"].dropna(), *seen[seen["ending"] == "all"]["high"].dropna()]
            top = 1.05 * max(heights, default=0.0) * (1.0 if measure == "loop onset" else 100.0)
            for axes in several:
                # A share that is nowhere more than a few percent keeps a scale on which it is seen to be small.
                axes.set_ylim(0, max(top, 1.0) if measure == "loop onset" else min(103.0, max(10.0, top)))
        shown = [name for name in LINES if ((table["ending"] == name) & table["value"].notna()).any()]
        handles: list[Line2D | Patch] = [
            Line2D([], [], color=LINES[name][0], marker=LINES[name][1], linewidth=LINES[name][2], label=name)
            for name in shown
        ]
        handles.append(Line2D([], [], color="black", linestyle=":", linewidth=1.0, label="several boxes, all"))
        if any(axes.get_gid() == "extrapolation" for axes in drawn["looped"]):
            handles.append(Patch(facecolor="0.45", alpha=0.12, label="beyond training"))
        legend_below(figure, handles, 6)
        figure.draw_without_rendering()
        for several in drawn.values():
            for axes, (model, benchmark) in zip(several, runs, strict=True):
                own = table[(table["model"] == model) & (table["benchmark"] == benchmark)]
                log2_axis(axes, own["budget"].astype(float), budgets=True)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _draw(axes: Axes, own: pd.DataFrame, measure: str) -> None:
    scale = 1.0 if measure == "loop onset" else 100.0
    rows = own[own["measure"] == measure]
    if measure != "loop onset":
        rows = rows[rows["completions"] >= _FEWEST]
    for name, (colour, marker, line) in LINES.items():
        x, value, low, high = _series(rows[rows["ending"] == name], scale)
        if not len(x):
            continue
        if name == "all":
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1)
        else:
            # Side by side, so that the intervals of endings can be told apart.
            x = x * 2.0 ** (_APART * (list(LINES).index(name) - 2))
            if value.any():  # that nothing was seen is shown for all completions
                axes.vlines(x, low, high, color=colour, linewidth=0.6, alpha=0.7, zorder=2)
        order = 3 if name == "all" else 2.5
        axes.plot(
            x, value, color=colour, marker=marker, linewidth=line, markersize=3, zorder=order, gid=f"{measure}, {name}"
        )
    if not axes.get_lines():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=GREY)
    if measure == "format violation":
        several = own[(own["measure"] == "several boxes") & (own["ending"] == "all")]
        x, value, _, _ = _series(several, scale)
        axes.plot(x, value, color="black", linestyle=":", linewidth=1.0, gid="several boxes, all")
    limit = training_budget(own)
    if limit < own["budget"].max():
        axes.axvspan(limit, 4 * own["budget"].max(), color="0.45", alpha=0.12, linewidth=0, zorder=0)
        axes.set_gid("extrapolation")
    light_grid(axes)


def _series(rows: pd.DataFrame, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    known = rows[rows["value"].notna()].sort_values("budget")
    value, low, high = (scale * known[name].to_numpy(float) for name in ("value", "low", "high"))
    return known["budget"].to_numpy(float), value, low, high

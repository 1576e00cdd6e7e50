"""Problems that runs never solve, as sets: a Venn diagram of two or three, an UpSet picture of more."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    RC,
    TEXT,
    budget_label,
    legend_below,
    model_styles,
    one_benchmark,
    wrap_name,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_COLUMNS = 24  # of an UpSet picture; smaller intersections are left out
_OFF = "#D9D9D9"


def unsolvable_sets(sets: pd.DataFrame, regions: pd.DataFrame, *, width: float | None = None) -> Figure:
    """Draw the unsolvable sets of the first k samples of several runs (RLVR-exploration, Fig. 1c).

    ``sets``: columns model, benchmark, budget, k, problems, size; one row per run. ``regions``: columns members ("101":
    of exactly the first and third run), size. Both as from ``steps.unsolvable``. Two or three runs give circles whose
    areas are the sizes as far as circles allow (the numbers are what counts); more give the intersections as columns,
    the largest first (UpSet: Lex et al., IEEE TVCG 20, 2014). Raises UserError for a single run, and where every run
    solves every problem.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    benchmark = one_benchmark(sets)
    names = [str(name) for name in sets["model"]]
    if len(names) < 2:
        raise UserError("a picture of sets needs two runs at least: name more runs")
    sizes = dict(zip(regions["members"].astype(str), regions["size"].astype(int).tolist(), strict=True))
    any_of = sum(sizes.values())
    if not any_of:
        raise UserError(
            "nothing to draw: every run solves every problem at this budget: take a smaller --k or --budget"
        )
    columns = sum(size > 0 for size in sizes.values())
    venn = len(names) <= 3
    wide = width or (COLUMN if venn or columns <= 10 else PAGE)
    height = 3.0 if venn else 1.9 + 0.2 * len(names)
    total = int(sets["problems"].iloc[0])
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(wide, height), layout="constrained")
        FigureCanvasAgg(figure)
        title = f"{benchmark}: never right in k = {int(sets['k'].iloc[0])}"
        note = f"{budget_label(float(sets['budget'].iloc[0]))} tokens; {total - any_of} of {total} problems in no set"
        if venn:
            axes = figure.add_subplot()
            _draw_venn(axes, names, sizes)
            axes.set_title(f"{title}\n{note}", loc="left")
            handles = [
                Patch(facecolor=style.colour, alpha=0.4, label=f"{name} ({int(size)})")
                for (name, style), size in zip(model_styles(names).items(), sets["size"], strict=True)
            ]
            legend_below(figure, handles, 2)
        else:
            _draw_upset(figure, names, sets["size"].astype(int).tolist(), sizes, title, note)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _draw_venn(axes: Axes, names: list[str], sizes: dict[str, int]) -> None:
    from matplotlib_venn import venn2, venn3

    colours = [style.colour for style in model_styles(names).values()]
    kept = {members: sizes.get(members, 0) for members in _members(len(names))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of circles of no area, which are what an empty set is
        draw = venn2 if len(names) == 2 else venn3
        drawn = draw(subsets=kept, set_labels=None, set_colors=colours, alpha=0.4, ax=axes)
    for members, size in kept.items():
        text, patch = drawn.get_label_by_id(members), drawn.get_patch_by_id(members)
        if patch is not None:
            patch.set(edgecolor="white", linewidth=0.6, gid=f"region {members}")
        if text is not None:
            # Three circles cannot always leave out a region that is empty, which then says so.
            there = patch is not None and _area(patch.get_path().to_polygons()) > 0.01
            text.set(fontsize=8, gid=f"size {members}", text=str(size) if size or there else "")


def _area(polygons: list[np.ndarray]) -> float:
    total = 0.0
    for x, y in (np.asarray(polygon).T for polygon in polygons):
        total += abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
    return total


def _members(count: int) -> list[str]:
    return [format(number, f"0{count}b") for number in range(1, 2**count)]


def _draw_upset(
    figure: Figure, names: list[str], totals: list[int], sizes: dict[str, int], title: str, note: str
) -> None:
    from matplotlib.ticker import MaxNLocator

    ordered = sorted(((size, members) for members, size in sizes.items() if size), key=lambda item: (-item[0], item[1]))
    shown = ordered[:_MOST_COLUMNS]
    bars, matrix = figure.subplots(2, 1, sharex=True, height_ratios=[1.4, 0.2 * len(names)])
    places = np.arange(len(shown))
    bars.bar(places, [size for size, _ in shown], color="0.25", width=0.62, gid="intersections")
    for place, (size, _) in zip(places, shown, strict=True):
        bars.text(place, size, str(size), ha="center", va="bottom", fontsize=TEXT)
    bars.set_ylabel("problems")
    bars.set_title(title, loc="left")
    bars.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    bars.tick_params(axis="x", length=0, labelbottom=False)
    bars.margins(y=0.15)
    styles = model_styles(names)
    for row, (name, style) in enumerate(styles.items()):
        if row % 2 == 0:
            matrix.axhspan(row - 0.5, row + 0.5, color="0.95", linewidth=0)
        inside = np.array([members[row] == "1" for _, members in shown])
        matrix.plot(places[~inside], np.full((~inside).sum(), row), "o", color=_OFF, markersize=4.5)
        matrix.plot(places[inside], np.full(inside.sum(), row), "o", color=style.colour, markersize=5, gid=f"in {name}")
    for place, (_, members) in zip(places, shown, strict=True):
        rows = [row for row, member in enumerate(members) if member == "1"]
        matrix.plot([place, place], [rows[0], rows[-1]], color="0.35", linewidth=1, zorder=1.5)
    matrix.set_yticks(
        range(len(names)), [f"{wrap_name(name, 24)} ({total})" for name, total in zip(names, totals, strict=True)]
    )
    for label, style in zip(matrix.get_yticklabels(), styles.values(), strict=True):
        label.set_color(style.ink)
    matrix.set_ylim(len(names) - 0.5, -0.5)
    matrix.set_xticks([])
    left_out = len(ordered) - len(shown)
    matrix.set_xlabel(note + (f"; {left_out} smaller intersections left out" if left_out else ""), color=GREY)
    matrix.spines[["left", "bottom"]].set_visible(False)
    matrix.tick_params(length=0)

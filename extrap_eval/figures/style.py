"""What all figures share: sizes, colours, markers, budget axes, labels that do not collide, saving."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

COLUMN = 3.4  # inches: one column of a two-column paper
PAGE = 6.8
TEXT = 7.0  # points, the smallest size used
GREY = "#555555"

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": TEXT,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titlepad": 3,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": TEXT,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.8,
    "hatch.linewidth": 0.4,
}

_FILES: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "extrap-eval"}

# By suffix; without dates, so that the same figure gives the same bytes.
_METADATA: dict[str, dict[str, None]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

# Distinct under the common colour-vision deficiencies (after Okabe and Ito, and Tol) and alternating in
# lightness, so that neighbours stay apart in grey; the markers differ as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#882255", "#8C8C8C")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "h")


@dataclass(frozen=True)
class ModelStyle:
    colour: str
    marker: str

    @property
    def ink(self) -> tuple[float, float, float]:
        """The colour, darkened so that small text in it is readable on white."""
        from matplotlib.colors import to_rgb

        red, green, blue = to_rgb(self.colour)
        return 0.75 * red, 0.75 * green, 0.75 * blue


def model_styles(models: Iterable[str]) -> dict[str, ModelStyle]:
    """A colour and a marker per model, in order; from the tenth on, colours return with other markers."""
    names = list(dict.fromkeys(models))
    return {
        name: ModelStyle(_COLOURS[i % len(_COLOURS)], _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)])
        for i, name in enumerate(names)
    }


def budget_label(budget: float) -> str:
    """16384 -> "16k", 1536 -> "1.5k", 31000 -> "31000"."""
    if budget >= 1024 and budget % 512 == 0:
        return f"{budget / 1024:g}k"
    return f"{budget:g}"


def log2_axis(axes: Axes, values: Iterable[float], *, budgets: bool = False, margin: float = 0.08) -> None:
    """Log2 x axis with a tick at each value; none where its label would touch one that goes first.

    ``budgets``: the values are token budgets ("16k"). ``margin``: room at both ends, in octaves per octave
    shown. Call it when the axes have their final width.
    """
    distinct = sorted({float(value) for value in values})
    octaves = max(np.log2(distinct[-1] / distinct[0]), 1.0)
    axes.set_xscale("log", base=2)
    axes.set_xlim(distinct[0] / 2 ** (margin * octaves / 2), distinct[-1] * 2 ** (margin * octaves / 2))
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = axes.get_position().width * figure.get_figwidth() / np.ptp(np.log2(axes.get_xlim()))
    character = 0.64 * TEXT / 72
    kept: dict[float, str] = {}
    for value in sorted(distinct, key=lambda v: (np.log2(v) % 1 != 0, -v)):
        label = budget_label(value) if budgets else f"{value:g}"
        if all(
            abs(np.log2(value / other)) * inches >= character * ((len(label) + len(text)) / 2 + 0.7)
            for other, text in kept.items()
        ):
            kept[value] = label
    axes.set_xticks(list(kept), list(kept.values()))
    axes.minorticks_off()


def one_benchmark(table: pd.DataFrame) -> str:
    """The benchmark a table is about; UserError where it is empty or about several."""
    names = list(table["benchmark"].unique())
    if not names:
        raise UserError("nothing to draw: the table has no rows for this figure")
    if len(names) > 1:
        raise UserError(f"one figure shows one benchmark, not {', '.join(names)}: choose one")
    return str(names[0])


def one_model(table: pd.DataFrame, what: str) -> str:
    """The model a table is about; UserError where it is about several. ``what``: of it is shown."""
    names = list(map(str, table["model"].unique()))
    if len(names) > 1:
        raise UserError(f"one figure shows the {what} of one model, not {', '.join(names)}: choose one")
    return names[0]


def training_budget(rows: pd.DataFrame) -> float:
    """The training budget of the model these rows are about, in tokens; infinite where none is known."""
    known = rows["training_budget"].dropna()
    return float(known.iloc[0]) if len(known) else math.inf


def spread(centres: Sequence[float], heights: Sequence[float], low: float, high: float) -> np.ndarray:
    """Move label centres as little as possible (least squares) so that none overlap, keeping their order.

    All stay inside [low, high] if they fit there together; otherwise they are stacked from ``low``. Returns
    the new centres in the order given.
    """
    order = np.argsort(centres, kind="stable")
    height = np.asarray(heights, dtype=float)[order]
    start = np.concatenate([[0.0], np.cumsum(height)[:-1]]) + height / 2  # centres of a gapless stack at 0
    wanted = np.asarray(centres, dtype=float)[order] - start
    blocks: list[list[float]] = []  # pool adjacent violators: [mean, size]
    for value in wanted:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, size = blocks.pop()
            other, count = blocks[-1]
            blocks[-1] = [(mean * size + other * count) / (size + count), size + count]
    shift = np.repeat([mean for mean, _ in blocks], [int(size) for _, size in blocks])
    shift = np.maximum(np.minimum(shift, high - height.sum()), low)
    placed = np.empty(len(order))
    placed[order] = shift + start
    return placed


def wrap_name(name: str, width: int) -> str:
    """Break a name after hyphens and spaces so that lines hold ``width`` characters where possible."""
    lines = [""]
    for part in name.replace("-", "-\0").replace(" ", " \0").split("\0"):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)


def end_labels(
    axes: Axes, ends: dict[str, tuple[float, float]], styles: dict[str, ModelStyle], characters: int
) -> list[Annotation]:
    """Model names right of the axes, each tied to the end of its line."""
    return [
        axes.annotate(
            wrap_name(model, characters),
            xy=ends[model],
            xytext=(1.06, ends[model][1]),
            textcoords=("axes fraction", "data"),
            color=styles[model].ink,
            fontsize=TEXT,
            va="center",
            linespacing=0.95,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": styles[model].colour,
                "linewidth": 0.5,
                "patchA": None,
                "shrinkA": 2,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
            zorder=1.5,  # leader lines pass below markers
        )
        for model in ends
    ]


def settle_labels(figure: Figure, axes: Axes, labels: list[Annotation]) -> None:
    """Lay out, then move the labels apart; the layout is kept from then on."""
    figure.draw_without_rendering()
    heights = [1.15 * TEXT * (1 + label.get_text().count("\n")) * figure.dpi / 72 for label in labels]
    wanted = [float(axes.transData.transform((1, label.xyann[1]))[1]) for label in labels]
    window = axes.get_window_extent()
    room = max(0.0, sum(heights) - window.height)
    placed = spread(wanted, heights, window.y0 - room / 2, window.y1 + room / 2)
    to_data = axes.transData.inverted()
    for label, y in zip(labels, placed, strict=True):
        label.xyann = (label.xyann[0], float(to_data.transform((window.x0, y))[1]))
    figure.set_layout_engine("none")


def title_above(figure: Figure, text: str, width: float) -> None:
    """A title over all panels of a figure ``width`` inches wide, from its left edge, in as many lines as it needs."""
    figure.suptitle(wrap_name(text, int(width / 0.062)), x=0.01, ha="left", fontsize=8)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """A legend under the figure, in at most so many columns and no more than are as wide as the figure."""
    for count in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=count, frameon=False)
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def corner_note(axes: Axes, text: str) -> Annotation:
    """A remark above the right end of the axes."""
    return axes.annotate(
        text,
        xy=(1, 1),
        xycoords="axes fraction",
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=TEXT,
        style="italic",
    )


def share_limits(axes: Axes, whole: float = 100) -> None:
    """No y axis far beyond what shares of ``whole`` can be."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -0.02 * whole), min(top, 1.02 * whole))


def light_grid(axes: Axes, axis: Literal["x", "y", "both"] = "y") -> None:
    axes.grid(axis=axis, color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write .png (300 dpi), .svg (text drawn as paths) or .pdf (fonts embedded as TrueType), by suffix.

    UserError for another suffix.
    """
    import matplotlib

    target = Path(path)
    kind = target.suffix.lower()
    if kind not in _METADATA:
        raise UserError(f"{target}: figures are saved as .png, .svg or .pdf, not {kind or 'without a suffix'!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_FILES):
        figure.savefig(target, dpi=300, metadata=_METADATA[kind])
    return target


def figure_svg(figure: Figure) -> bytes:
    """What ``save_figure`` would write as .svg."""
    import io

    import matplotlib

    drawn = io.BytesIO()
    with matplotlib.rc_context(_FILES):
        figure.savefig(drawn, format="svg", metadata=_METADATA[".svg"])
    return drawn.getvalue()

"""Published values beside ours: how both are written down, and how far they are apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.cards.load import shown_path
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# What places a value: panel and line of the figure, what its x axis counts, what is measured, and at which budget,
# number of samples k, number of extensions w, ... (exactly, where ``x`` is the measured place on the axis).
PLACE = ["panel", "axis", "line", "metric", "at"]
POINT_COLUMNS = [*PLACE, "x", "value", "low", "high"]
REFERENCE_COLUMNS = [*PLACE, "x", "value", "error", "error_note", "source"]


def read_reference(path: Path) -> pd.DataFrame:
    """Published values: ``REFERENCE_COLUMNS``, with value and error (how exactly it is known; half a unit of the last
    digit of a printed value) as fractions, and low and high = value ∓ error.

    Raises UserError naming file, line and value for a column, place or number that is not what it should be.
    """
    import pandas as pd

    where = shown_path(path)
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys((*PLACE[:-1], "error_note", "source"), str))
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: cannot be read: {error}") from None
    if list(table.columns) != REFERENCE_COLUMNS:
        raise UserError(f"{where}: its columns are {', '.join(table.columns)}, not {', '.join(REFERENCE_COLUMNS)}")
    for name in ("at", "x", "value", "error"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        if (bad := numbers.isna()).any():
            row = int(np.flatnonzero(bad)[0])
            raise UserError(f"{where}:{row + 2}: {name}: {table[name].iloc[row]} is not a number")
        table[name] = numbers.astype(float)
    twice = table.duplicated(PLACE)
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise UserError(f"{where}:{row + 2}: {', '.join(map(str, table[PLACE].iloc[row]))}: is there twice")
    return table.assign(low=table["value"] - table["error"], high=table["value"] + table["error"])


def against_reference(ours: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Our points and the published ones, one row per place that either has, in the order of the paper's, then ours.

    ``ours``: ``POINT_COLUMNS``; ``paper`` as from ``read_reference``. Columns: ``PLACE``, ours, low, high, paper,
    error, difference (ours − paper), within: whether the published value, known as exactly as it is, lies within our
    interval (missing where one of the two, or the interval, is).
    """
    mine = ours[[*PLACE, "value", "low", "high"]].rename(columns={"value": "ours"})
    theirs = paper[[*PLACE, "value", "error"]].rename(columns={"value": "paper"})
    both = theirs.merge(mine, how="outer", on=PLACE, sort=False)
    first: dict[tuple[object, ...], int] = {}
    for place in (*_places(theirs), *_places(mine)):
        first.setdefault(place, len(first))
    both["order"] = [first[place] for place in _places(both)]
    both = both.sort_values("order", kind="stable", ignore_index=True).drop(columns="order")
    both["difference"] = both["ours"] - both["paper"]
    inside = (both["low"] - both["error"] <= both["paper"]) & (both["paper"] <= both["high"] + both["error"])
    known = both[["ours", "paper", "low", "high"]].notna().all(axis=1)
    both["within"] = inside.astype("boolean").where(known)
    return both[[*PLACE, "ours", "low", "high", "paper", "error", "difference", "within"]]


def _places(table: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(table[PLACE].itertuples(index=False, name=None))

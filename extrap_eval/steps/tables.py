"""Tidy tables as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def readable(tidy: pd.DataFrame) -> pd.DataFrame:
    """One row per model, benchmark and budget; one column per metric, in percent with its interval.

    pass@k and maj@k get a column for the largest k only, to stay readable; the tidy output holds all.
    """
    import pandas as pd

    largest = tidy["k"].max()
    rows: dict[tuple[str, str, int], dict[str, object]] = {}
    for cell in tidy.to_dict("records"):
        if cell["metric"] in ("pass@k", "maj@k"):
            if cell["k"] not in (1, largest) or (cell["metric"] == "maj@k" and cell["k"] == 1):
                continue
            name = f"{cell['metric'][:-1]}{int(cell['k'])}"
        else:
            name = str(cell["metric"])
        key = (str(cell["model"]), str(cell["benchmark"]), int(cell["budget"]))
        row = rows.setdefault(key, dict(zip(("model", "benchmark", "budget"), key, strict=True)))
        row[name] = f"{100 * cell['value']:.1f} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"
    return pd.DataFrame(list(rows.values()))

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import length_histograms
from tests.figures.test_budget_curve import texts_inside

CAP = 32768


def rows(
    model: str = "e3-1.7B", *, parts: Sequence[str] = ("easy", "middle", "hard"), cut: bool = True
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    tables = []
    for i, part in enumerate(parts):
        for ending, count in (("correct", 300 - 80 * (i % 3)), ("incorrect", 50 + 40 * i), ("cut", 20 if cut else 0)):
            tokens = np.full(count, CAP) if ending == "cut" else rng.gamma(2, 3000, count).clip(1, CAP).astype(int)
            tables.append(pd.DataFrame({"part": part, "ending": ending, "n_tokens": tokens}))
    facts = {"model": model, "benchmark": "AIME 2025", "by": "accuracy", "cap": CAP, "training_budget": 16384}
    return pd.concat(tables, ignore_index=True).assign(**facts)


def test_bars_hold_all_completions_of_a_part() -> None:
    table = rows()
    figure = length_histograms(table)
    assert len(figure.axes) == 3
    for axes, part in zip(figure.axes, ("easy", "middle", "hard"), strict=True):
        own = table[table["part"] == part]
        heights: dict[str, float] = {}
        for bar in axes.patches:
            heights[str(bar.get_gid())] = heights.get(str(bar.get_gid()), 0.0) + bar.get_height()
        shares = own["ending"].value_counts(normalize=True) * 100
        assert heights == pytest.approx(
            {"correct": shares["correct"], "incorrect": -shares["incorrect"], "cut": -shares["cut"]}
        )
        marks = {str(line.get_gid()): line.get_xdata()[0] for line in axes.get_lines() if "mean" in str(line.get_gid())}
        for ending in ("correct", "incorrect"):
            assert marks[f"mean, {ending}"] == pytest.approx(own[own["ending"] == ending]["n_tokens"].mean())
        assert axes.get_title(loc="left") == f"{part} ({len(own):,})"
    texts_inside(figure)


def test_cut_ones_hang_below_the_incorrect_ones() -> None:
    axes = length_histograms(rows(parts=("all",))).axes[0]
    last = {str(bar.get_gid()): bar for bar in axes.patches if bar.get_x() + bar.get_width() == CAP}
    assert last["cut"].get_y() == pytest.approx(last["incorrect"].get_height())
    assert all(not label.get_text().startswith("−") for label in axes.get_yticklabels())


@pytest.mark.parametrize("parts", [("all",), ("easy", "hard"), tuple(f"difficulty {i}" for i in range(1, 7))])
def test_several_runs(parts: tuple[str, ...]) -> None:
    table = pd.concat([rows(parts=parts), rows("DeepSeek-R1-Distill-Qwen-1.5B", parts=parts, cut=False)])
    figure = length_histograms(table)
    assert len(figure.axes) == 2 * len(parts)
    texts_inside(figure)


def test_refusals() -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        length_histograms(rows().iloc[:0])
    with pytest.raises(UserError, match="up to 4 runs, not 5"):
        length_histograms(pd.concat([rows(f"model {i}") for i in range(5)]))

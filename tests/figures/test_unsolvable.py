from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import unsolvable_sets
from tests.figures.tables import NAMES
from tests.figures.test_budget_curve import assert_apart, texts_inside


def tables(models: int, seed: int = 0, share: float = 0.4) -> tuple[pd.DataFrame, pd.DataFrame]:
    inside = np.random.default_rng(seed).random((models, 40)) < share
    common = {"benchmark": "AIME 2025", "budget": 16384, "k": 16}
    sets = pd.DataFrame(
        [common | {"model": NAMES[i], "problems": 40, "size": int(row.sum())} for i, row in enumerate(inside)]
    )
    regions = []
    for members in itertools.product((True, False), repeat=models):
        size = int((np.array(members) == inside.T).all(axis=1).sum())
        if any(members) and (size or models <= 3):
            regions.append(common | {"members": "".join("01"[m] for m in members), "size": size})
    return sets, pd.DataFrame(regions)


@pytest.mark.parametrize("models", [2, 3])
@pytest.mark.parametrize("share", [0.05, 0.4, 1.0])
def test_venn(models: int, share: float) -> None:
    sets, regions = tables(models, share=share)
    figure = unsolvable_sets(sets, regions)
    axes = figure.axes[0]
    shown = {
        text.get_gid().removeprefix("size "): text.get_text() for text in axes.texts if "size" in (text.get_gid() or "")
    }
    wanted = dict(zip(regions["members"], regions["size"], strict=True))
    for members, size in wanted.items():
        assert not size or shown[members] == str(size)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{name} ({size})" for name, size in zip(sets["model"], sets["size"], strict=True)
    ]
    texts_inside(figure)
    assert_apart([text for text in axes.texts if text.get_text()])
    assert axes.get_title("left").endswith(f"{40 - sum(wanted.values())} of 40 problems in no set")


@pytest.mark.parametrize("models", [4, 6])
def test_upset(models: int) -> None:
    sets, regions = tables(models, share=0.6)
    figure = unsolvable_sets(sets, regions)
    bars, matrix = figure.axes
    heights = [bar.get_height() for bar in bars.containers[0]]
    assert heights == sorted(regions["size"], reverse=True)[: len(heights)]
    ordered = sorted(zip(-regions["size"], regions["members"], strict=True))
    for row, name in enumerate(sets["model"]):
        (dots,) = [line for line in matrix.lines if line.get_gid() == f"in {name}"]
        inside = [place for place, (_, members) in enumerate(ordered[: len(heights)]) if members[row] == "1"]
        assert np.asarray(dots.get_xdata()).tolist() == inside
        assert set(np.asarray(dots.get_ydata()).tolist()) <= {row}
    texts_inside(figure)
    assert_apart(list(matrix.get_yticklabels()))


def test_nothing_to_draw() -> None:
    sets, regions = tables(2)
    with pytest.raises(UserError, match="every run solves every problem"):
        unsolvable_sets(sets, regions.assign(size=0))
    with pytest.raises(UserError, match="two runs at least"):
        unsolvable_sets(sets.head(1), regions)

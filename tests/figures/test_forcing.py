from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import forcing_curves, wait_bars
from tests.figures.probe_tables import forcing_rows, trained_rows, wait_rows
from tests.figures.tables import NAMES
from tests.figures.test_budget_curve import assert_apart, texts_inside


def test_forced_and_trained_on_both_axes() -> None:
    table, trained = forcing_rows(), trained_rows()
    figure = forcing_curves(table, trained=pd.concat([trained, trained.assign(k=4), trained.assign(metric="maj@k")]))
    for axes, ours, theirs in zip(figure.axes, ("tokens", "cap"), ("mean_tokens", "budget"), strict=True):
        for gid, rows, x in (("forced", table, ours), ("not forced", trained, theirs)):
            lines = [line for line in axes.get_lines() if line.get_gid() == gid]
            for line, name in zip(lines, NAMES[:2], strict=True):
                own = rows[rows["model"] == name]
                np.testing.assert_allclose(line.get_xydata(), np.column_stack([own[x], 100 * own["value"]]))
                assert line.is_dashed() == (gid == "not forced")
    texts_inside(figure)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{name}, {kind}" for name in NAMES[:2] for kind in ("forced", "not forced")
    ]


@pytest.mark.parametrize("models", [1, 3])
def test_alone(models: int) -> None:
    figure = forcing_curves(forcing_rows(models))
    texts_inside(figure)
    for axes in figure.axes:
        assert_apart([tick for tick in axes.get_xticklabels() if tick.get_text()])


@pytest.mark.parametrize("extensions", [1, 8])
def test_bars_up_and_down(extensions: int) -> None:
    table = wait_rows(extensions)
    figure = wait_bars(table)
    axes = figure.axes[0]
    up, down = (container.patches for container in axes.containers[:2])  # type: ignore[attr-defined]
    np.testing.assert_allclose([bar.get_height() for bar in up], 100 * table["wrong_to_right"])
    np.testing.assert_allclose([bar.get_height() for bar in down], -100 * table["right_to_wrong"])
    texts_inside(figure)
    assert_apart([*axes.texts, axes._left_title])  # type: ignore[attr-defined]


def test_one_model_only() -> None:
    with pytest.raises(UserError, match="one model, not"):
        wait_bars(pd.concat([wait_rows(), wait_rows().assign(model="other")]))
    with pytest.raises(UserError, match="no rows"):
        forcing_curves(forcing_rows().iloc[:0])

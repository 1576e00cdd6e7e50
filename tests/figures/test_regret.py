from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import regret_curve
from tests.figures.probe_tables import regret_rows
from tests.figures.tables import NAMES
from tests.figures.test_budget_curve import assert_apart, labels, texts_inside


@pytest.mark.parametrize("models", [1, 3])
def test_a_line_per_model_and_forced_budgets_shaded(models: int) -> None:
    table = regret_rows(models)
    figure = regret_curve(table)
    axes = figure.axes[0]
    drawn = [line for line in axes.get_lines() if line.get_gid() == "regret"]
    for line, name in zip(drawn, NAMES[:models], strict=True):
        rows = table[table["model"] == name]
        np.testing.assert_allclose(line.get_xydata(), rows[["at", "value"]])
    shaded = [patch.get_x() for patch in axes.patches if patch.get_gid() == "forced"]  # type: ignore[attr-defined]
    assert shaded == [16384]
    assert "forced (> 16k)" in [text.get_text() for text in axes.texts]
    assert axes.get_xscale() == "log"
    texts_inside(figure)
    assert_apart([*labels(axes), axes.yaxis.label])
    assert_apart([tick for tick in axes.get_xticklabels() if tick.get_text()])


@pytest.mark.parametrize("natural", [None, float("nan"), 40000])
def test_nothing_forced_is_not_shaded(natural: float | None) -> None:
    axes = regret_curve(regret_rows(2, natural=natural)).axes[0]
    assert not [patch for patch in axes.patches if patch.get_gid() == "forced"]


def test_by_groups_of_episodes() -> None:
    figure = regret_curve(regret_rows(by="groups").drop(columns="natural"), by="groups")
    axes = figure.axes[0]
    assert axes.get_xscale() == "linear"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3", "4", "5", "6"]
    assert axes.get_xlabel() == "groups of episodes"
    texts_inside(figure)


def test_one_benchmark_only() -> None:
    with pytest.raises(UserError, match="choose one"):
        regret_curve(pd.concat([regret_rows(), regret_rows().assign(benchmark="other")]))

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import attempt_grid
from tests.figures.probe_tables import equal_rows, grid_rows
from tests.figures.test_budget_curve import texts_inside


def test_every_cell_holds_its_accuracy() -> None:
    table = grid_rows()
    axes = attempt_grid(table).axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts if text.get_gid() == "accuracy"}
    ks = sorted(set(table["k"]))
    assert written == {(ks.index(row.k), row.group): f"{100 * row.value:.0f}" for row in table.itertuples()}
    tokens = [text.get_text() for text in axes.texts if text.get_gid() == "tokens"]
    assert tokens == ["1k", "2k", "4k", "8k", "16k", "32k", "64k"]  # 128k only touch the last column


def test_lines_of_equal_tokens_beside_it() -> None:
    equal = equal_rows()
    figure = attempt_grid(grid_rows(), equal=equal)
    _, axes = figure.axes
    for budget in (4096, 8192, 16384, 32768):
        (line,) = [each for each in axes.get_lines() if each.get_gid() == f"equal {budget}"]
        rows = equal[(equal["budget"] == budget) & equal["value"].notna()]
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([rows["k"], 100 * rows["value"]]))
    texts_inside(figure)


@pytest.mark.parametrize(("groups", "ks"), [(1, (1, 2)), (3, (1,)), (1, (1,)), (2, (1, 2))])
def test_small_grids(groups: int, ks: tuple[int, ...]) -> None:
    texts_inside(attempt_grid(grid_rows(groups, ks)))


def test_refusals() -> None:
    with pytest.raises(UserError, match="one grid shows one vote, not pass, maj"):
        attempt_grid(pd.concat([grid_rows(), grid_rows(vote="maj")]))
    with pytest.raises(UserError, match="one grid shows one model"):
        attempt_grid(pd.concat([grid_rows(), grid_rows().assign(model="other")]))
    with pytest.raises(UserError, match="5 budgets are too many"):
        attempt_grid(grid_rows(), equal=equal_rows((1024, 2048, 4096, 8192, 16384)))

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import verification_against_generation
from extrap_eval.steps.verification import verification_table
from tests.figures.test_budget_curve import assert_apart, texts_inside

COUNTS = ["right", "accepted", "right_unreadable", "wrong", "rejected", "wrong_unreadable"]


def problem_rows(rows: list[tuple[int, ...]], generation: list[float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COUNTS).assign(model="A reasoning model", benchmark="AIME 2025")
    balanced = (table["accepted"] / table["right"] + table["rejected"] / table["wrong"]) / 2
    return table.assign(problem_id=[f"p{i}" for i in range(len(table))], balanced=balanced, generation=generation)


def problems() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [(4, int(a), 0, 8, int(b), 1) for a, b in zip(rng.integers(0, 5, 10), rng.integers(0, 8, 10), strict=True)]
    rows += [(4, 4, 0, 4, 4, 0)] * 3 + [(4, 3, 0, 0, 0, 0), (0, 0, 0, 4, 1, 1)]
    return problem_rows(rows, [*rng.uniform(0, 1, 10).round(2), 0.5, 0.5, 0.5, 1.0, 0.0])


def marks(axes: object, gid: str) -> list[tuple[float, float]]:
    (found,) = [each for each in axes.collections if each.get_gid() == gid]  # type: ignore[attr-defined]
    return [(float(x), float(y)) for x, y in found.get_offsets()]


def test_problems_stand_where_they_belong() -> None:
    table = problems()
    figure = verification_against_generation(table, verification_table(table))
    left, right = figure.axes
    both = table[table["balanced"].notna()]
    expected = {
        (round(100 * g, 4), round(100 * b, 4)) for g, b in zip(both["generation"], both["balanced"], strict=True)
    }
    assert {(round(x, 4), round(y, 4)) for x, y in marks(left, "both")} == expected
    sizes = next(each.get_sizes() for each in left.collections if each.get_gid() == "both")
    assert sorted(sizes)[-1] == 3 * sorted(sizes)[0]  # three problems in one place
    assert marks(left, "right") == [(100, 75)]
    assert marks(left, "wrong") == [(0, 25)]
    (diagonal,) = [line for line in left.get_lines() if line.get_gid() == "diagonal"]
    assert (diagonal.get_xydata()[:, 0] == diagonal.get_xydata()[:, 1]).all()
    rows = verification_table(table).set_index("quantity")
    for line in right.get_lines():
        if line.get_gid() in rows.index:
            assert line.get_xdata()[0] == pytest.approx(100 * rows.loc[line.get_gid(), "value"])
    assert f"{100 * rows.loc['gap', 'value']:+.0f}".replace("-", "−") in right._left_title.get_text()
    texts_inside(figure)
    assert_apart([text for text in right.texts if text.get_text()])


def test_one_kind_alone_and_nothing_wrong() -> None:
    table = problem_rows([(4, 4, 0, 0, 0, 0)] * 4, [1.0, 0.5, 0.25, 1.0])
    figure = verification_against_generation(table, verification_table(table))
    texts_inside(figure)
    assert "no gap" in figure.axes[1]._left_title.get_text()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="no rows"):
        verification_against_generation(table.iloc[:0], verification_table(table))
    two = pd.concat([table, table.assign(model="other")])
    with pytest.raises(UserError, match="one model, not"):
        verification_against_generation(two, verification_table(table))

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import replacement_effects
from tests.figures.test_budget_curve import assert_apart, texts_inside

KINDS = ("high-entropy", "low-entropy", "early", "late", "random")


def effect_rows(kinds: tuple[str, ...] = KINDS, bins: int = 1) -> pd.DataFrame:
    rows = []
    for i, at in enumerate(kinds):
        for b in range(bins):
            if (at == "early" and b) or (at == "late" and b != bins - 1):
                continue
            value = -0.12 + 0.03 * i + 0.01 * b
            rows.append(
                {
                    "model": "A reasoning model",
                    "benchmark": "AIME 2025",
                    "at": at,
                    "first": b / bins,
                    "last": (b + 1) / bins,
                    "positions": 40,
                    "value": value,
                    "low": value - 0.04,
                    "high": value + 0.05,
                }
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("kinds", [KINDS, KINDS[2:], ("random",)])
def test_differences_by_kind_and_along_the_trace(kinds: tuple[str, ...]) -> None:
    table, places = effect_rows(kinds), effect_rows(kinds, 5)
    figure = replacement_effects(table, places)
    left, right = figure.axes
    drawn = [line for line in left.get_lines() if line.get_gid() == "difference"]
    np.testing.assert_allclose([float(line.get_xdata()[0]) for line in drawn][::-1], 100 * table["value"])
    assert [text.get_text() for text in left.get_yticklabels()][::-1] == list(kinds)
    for at in kinds:
        (line,) = [each for each in right.get_lines() if each.get_gid() == at]
        own = places[places["at"] == at]
        np.testing.assert_allclose(line.get_ydata(), 100 * own["value"])
        # In its own part of the trace, beside the others.
        centre = 50 * (own["first"] + own["last"]).to_numpy()
        assert np.abs(np.asarray(line.get_xdata(), float) - centre).max() < 5
    texts_inside(figure)
    assert_apart([text for text in left.texts if text.get_text()])


def test_one_model_only() -> None:
    table = effect_rows()
    with pytest.raises(UserError, match="one model, not"):
        replacement_effects(pd.concat([table, table.assign(model="other")]), table)
    with pytest.raises(UserError, match="no rows"):
        replacement_effects(table.iloc[:0], table)

from __future__ import annotations

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import one_thought_against_votes, votes_against_tokens
from tests.figures.probe_tables import vote_rows
from tests.figures.tables import NAMES
from tests.figures.test_budget_curve import assert_apart, labels, texts_inside


@pytest.mark.parametrize("models", [1, 4])
def test_a_line_per_model(models: int) -> None:
    table = vote_rows(models)
    figure = votes_against_tokens(table)
    axes = figure.axes[0]
    lines = [line for line in axes.get_lines() if line.get_gid() == "votes"]
    for line, name in zip(lines, NAMES[:models], strict=True):
        rows = table[table["model"] == name]
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([rows["tokens"], 100 * rows["value"]]))
    low, high = axes.get_xlim()
    assert low < table["tokens"].min()
    assert high > table["tokens"].max()
    texts_inside(figure)
    assert_apart([*labels(axes), axes.yaxis.label])
    assert_apart([*axes.texts, axes._left_title])  # type: ignore[attr-defined]


def test_empty() -> None:
    with pytest.raises(UserError, match="no rows"):
        votes_against_tokens(vote_rows().iloc[:0])


def test_one_thought_beside_votes() -> None:
    figure = one_thought_against_votes(vote_rows(2))
    (axes,) = figure.axes
    assert axes.get_ylabel() == "accuracy (%)"
    assert "k episodes, or k votes" in [text.get_text() for text in axes.texts]
    texts_inside(figure)
    assert_apart([*axes.texts, axes._left_title])  # type: ignore[attr-defined]

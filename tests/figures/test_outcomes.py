from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer

from extrap_eval.errors import UserError
from extrap_eval.figures import outcome_bands
from extrap_eval.figures.outcomes import BANDS
from extrap_eval.scoring.outcomes import OUTCOMES
from tests.figures.tables import BUDGETS, NAMES, curve_table
from tests.figures.test_budget_curve import assert_apart, texts_inside

SHARES = np.array(
    [  # finished-correct, finished-wrong, no-box, scorer-timeout, looped, cut-while-answering, cut-while-thinking
        [0.05, 0.02, 0.0, 0.0, 0.03, 0.1, 0.8],
        [0.2, 0.1, 0.02, 0.0, 0.08, 0.1, 0.5],
        [0.3, 0.2, 0.05, 0.0, 0.1, 0.05, 0.3],
        [0.4, 0.3, 0.05, 0.0, 0.1, 0.05, 0.1],
    ]
)


def outcome_rows(budgets: tuple[int, ...] = BUDGETS) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": NAMES[0], "benchmark": "AIME 2025", "budget": b, "outcome": name, "fraction": share}
            for b, shares in zip(budgets, SHARES, strict=False)
            for name, share in zip(BANDS, shares, strict=True)
        ]
    )


def test_every_outcome_has_a_band() -> None:
    assert set(BANDS) == set(OUTCOMES)


def test_bands_are_stacked_and_pass_at_1_lies_over_them() -> None:
    figure = outcome_bands(outcome_rows(), curve_table())
    axes = figure.axes[0]
    edges = 100 * np.concatenate([np.zeros((4, 1)), SHARES.cumsum(axis=1)], axis=1)
    bands = {band.get_gid(): band for band in axes.collections if band.get_gid() in BANDS}
    assert set(bands) == set(BANDS) - {"scorer-timeout"}  # never happened: neither drawn nor in the legend
    for place, name in enumerate(BANDS):
        if name not in bands:
            continue
        vertices = {(float(x), round(float(y), 6)) for x, y in bands[name].get_paths()[0].vertices}  # type: ignore[union-attr]
        for row, budget in enumerate(BUDGETS):
            assert (budget, round(edges[row, place], 6)) in vertices
            assert (budget, round(edges[row, place + 1], 6)) in vertices
    (line,) = [item for item in axes.containers if isinstance(item, ErrorbarContainer)]
    table = curve_table()
    expected = 100 * table[table["metric"] == "pass@k"]["value"]
    np.testing.assert_allclose(np.asarray(line[0].get_ydata(), float), expected)
    assert axes.get_ylim() == (0, 100)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["pass@1", *[name for name in reversed(list(BANDS)) if name in bands]]  # in stacking order


@pytest.mark.parametrize("width", [3.4, 6.8])
@pytest.mark.parametrize("training", [4096, 16384, None])
def test_training_budget_is_marked_and_nothing_collides(width: float, training: int | None) -> None:
    figure = outcome_bands(outcome_rows(), curve_table(training=(training,)), width=width)
    axes = figure.axes[0]
    marked = [float(line.get_xdata()[0]) for line in axes.get_lines() if line.get_gid() == "training budget"]  # type: ignore[index]
    assert marked == ([] if training is None else [training])
    texts_inside(figure)
    (legend,) = figure.legends
    assert_apart([*axes.texts, legend.get_title(), *legend.get_texts()])


def test_one_budget_is_a_bar() -> None:
    texts_inside(outcome_bands(outcome_rows((8192,)), curve_table(budgets=(8192,))))


def test_one_model_only() -> None:
    both = pd.concat([outcome_rows(), outcome_rows().assign(model="other")])
    with pytest.raises(UserError, match="one model, not"):
        outcome_bands(both, curve_table())

from __future__ import annotations

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import passk_majk
from tests.figures.tables import BUDGETS, NAMES, curve_table
from tests.figures.test_budget_curve import assert_apart, texts_inside

KS = (1, 2, 4, 8, 16)


def test_lines_hold_both_metrics_at_each_budget() -> None:
    table = curve_table(ks=KS)
    axes = passk_majk(table, budgets=[8192, 32768]).axes[0]
    drawn = {line.get_gid(): line for line in axes.get_lines()}
    assert set(drawn) == {"pass@k 8192", "maj@k 8192", "pass@k 32768", "maj@k 32768"}
    for name, line in drawn.items():
        metric, budget = str(name).split()
        rows = table[(table["metric"] == metric) & (table["budget"] == int(budget))]
        assert list(line.get_xdata()) == list(KS)
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 100 * rows["value"])
        assert line.is_dashed() == (metric == "maj@k")
    assert drawn["pass@k 8192"].get_color() == drawn["maj@k 8192"].get_color()
    assert drawn["pass@k 8192"].get_color() != drawn["pass@k 32768"].get_color()
    assert axes.get_xscale() == "log"
    assert sorted(int(tick.get_text()) for tick in axes.get_xticklabels()) == list(KS)


@pytest.mark.parametrize(("models", "width"), [(1, None), (2, 3.4), (4, None), (9, None)])
def test_one_panel_per_model_and_nothing_collides(models: int, width: float | None) -> None:
    figure = passk_majk(curve_table(models, ks=KS), width=width)
    panels = figure.axes
    titles = [axes._left_title for axes in panels]  # type: ignore[attr-defined]
    assert [title.get_text().replace("\n", "") for title in titles] == list(NAMES[:models])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["pass@k", "maj@k", "4k", "8k", "16k", "32k"]
    for text in texts_inside(figure):
        assert text.get_fontsize() >= 7
    assert_apart([*titles, *legend.get_texts(), legend.get_title()])
    for axes in panels:
        assert_apart([tick for tick in axes.get_xticklabels() if tick.get_text() and tick.get_visible()])


def test_default_budgets_span_the_table() -> None:
    table = curve_table(ks=(1, 4), budgets=[2048, 4096, 8192, 16384, 24576, 32768])
    axes = passk_majk(table).axes[0]
    assert [str(line.get_gid()) for line in axes.get_lines()][::2] == [
        f"pass@k {budget}" for budget in (2048, 8192, 16384, 32768)
    ]


def test_one_k() -> None:
    texts_inside(passk_majk(curve_table()))


def test_refusals() -> None:
    with pytest.raises(UserError, match="budget 5000 is not in the table: it has 4096, 8192"):
        passk_majk(curve_table(), budgets=[5000])
    with pytest.raises(UserError, match="at most 4"):
        passk_majk(curve_table(budgets=[*BUDGETS, 65536]), budgets=[*BUDGETS, 65536])

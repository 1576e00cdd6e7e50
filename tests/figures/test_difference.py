from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import difference_curve, save_figure
from tests.figures.tables import BUDGETS, NAMES
from tests.figures.test_budget_curve import assert_apart, texts_inside


def differences(
    values: tuple[float, ...] = (-0.05, 0.0, 0.1, 0.3), training: tuple[float | None, float | None] = (8192, 16384)
) -> pd.DataFrame:
    change = np.array(values)
    return pd.DataFrame(
        {
            "model_a": NAMES[0],
            "model_b": NAMES[7],
            "benchmark": "AIME 2025",
            "metric": "pass@k",
            "k": 1,
            "budget": BUDGETS[: len(values)],
            "difference": change,
            "low": change - 0.04,
            "high": change + 0.06,
            "p_holm": np.array([0.05, 1.0, 0.2, 0.001])[: len(values)],
            "training_a": training[0],
            "training_b": training[1],
        }
    )


@pytest.mark.parametrize("values", [(-0.05, 0.0, 0.1, 0.3), (-0.3, -0.2, -0.1, -0.4), (0.0, 0.0, 0.0, 0.0)])
def test_what_is_drawn(values: tuple[float, ...]) -> None:
    figure = difference_curve(differences(values))
    axes = figure.axes[0]
    drawn = {line.get_gid(): line for line in axes.get_lines() if line.get_gid() in ("difference", "zero")}
    np.testing.assert_allclose(drawn["difference"].get_xydata(), np.column_stack([BUDGETS, 100 * np.array(values)]))
    assert set(drawn["zero"].get_ydata()) == {0}
    points = [line for line in axes.get_lines() if line.get_gid() == "points"]
    filled = [point.get_markerfacecolor() != "white" for point in points]
    assert filled == [True, False, False, True]
    bottom, top = axes.get_ylim()
    assert bottom < min(0, 100 * min(values) - 4)
    assert top > max(0, 100 * max(values) + 6)
    assert axes.get_ylabel() == "difference in pass@1 (points)"
    assert axes.get_xlabel() == "token budget (completion tokens)"
    sides = [text for text in axes.texts if text.get_gid() == "side"]
    assert [text.get_text().replace("\n", "").replace("-", "")[:5] for text in sides] == ["DeepS", "DeepS"]
    texts_inside(figure)
    assert_apart([text for text in axes.texts if text.get_text()])


def test_the_better_model_gives_its_colour() -> None:
    points = [line for line in difference_curve(differences()).axes[0].get_lines() if line.get_gid() == "points"]
    assert points[0].get_color() != points[3].get_color()
    assert points[0].get_marker() != points[3].get_marker()


@pytest.mark.parametrize(("training", "shaded"), [((8192, 16384), [16384]), ((None, 4096), []), ((65536, 4096), [])])
def test_shaded_beyond_both_training_budgets(training: tuple[float | None, float | None], shaded: list[int]) -> None:
    axes = difference_curve(differences(training=training)).axes[0]
    assert [patch.get_x() for patch in axes.patches if patch.get_gid() == "extrapolation"] == shaded  # type: ignore[attr-defined]


def test_one_problem_has_no_band(tmp_path: object) -> None:
    table = differences().assign(low=np.nan, high=np.nan)
    texts_inside(difference_curve(table))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_saved(tmp_path: object, suffix: str) -> None:
    assert save_figure(difference_curve(differences()), f"{tmp_path}/d.{suffix}").stat().st_size > 3000


def test_one_pair_only() -> None:
    with pytest.raises(UserError, match="one pair"):
        difference_curve(pd.concat([differences(), differences().assign(model_b="other")]))
    with pytest.raises(UserError, match="nothing to draw"):
        difference_curve(differences().iloc[:0])

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import quality_panels
from tests.figures.test_budget_curve import texts_inside

MEASURES = ("looped", "loop onset", "redundancy", "redundant", "format violation", "several boxes", "language mixing")


def rows(model: str = "e3-1.7B", *, budgets: Sequence[int] = (1024, 4096, 16384), few: str = "") -> pd.DataFrame:
    """``few``: an ending with 4 completions only."""
    table = []
    for j, budget in enumerate(budgets):
        for i, ending in enumerate(("all", "correct", "incorrect", "cut")):
            for k, measure in enumerate(MEASURES):
                share = (1 + i + j + k) / 20
                value, width = (1000.0 * (j + 1), 300) if measure == "loop onset" else (share, 0.05)
                if measure == "loop onset" and ending == "correct":
                    value = math.nan
                table.append(
                    {
                        "model": model,
                        "benchmark": "AIME 2025",
                        "budget": budget,
                        "ending": ending,
                        "measure": measure,
                        "value": value,
                        "low": value - width,
                        "high": value + width,
                        "completions": 4 if ending == few else 100,
                        "unit": "words",
                        "training_budget": 4096,
                    }
                )
    return pd.DataFrame(table)


def lines(figure: object) -> dict[str, np.ndarray]:
    return {str(line.get_gid()): line.get_xydata() for axes in figure.axes for line in axes.get_lines()}  # type: ignore[attr-defined]


def test_every_measure_has_a_panel_with_a_line_per_ending() -> None:
    table = rows()
    figure = quality_panels(table)
    assert len(figure.axes) == 6
    drawn = lines(figure)
    for measure in ("looped", "redundancy", "language mixing"):
        for ending in ("all", "correct", "incorrect", "cut"):
            own = table[(table["measure"] == measure) & (table["ending"] == ending)]
            np.testing.assert_allclose(drawn[f"{measure}, {ending}"][:, 1], 100 * own["value"])
    assert drawn["loop onset, all"][:, 1].tolist() == [1000, 2000, 3000]
    assert "loop onset, correct" not in drawn
    assert len(drawn["several boxes, all"]) == 3
    texts_inside(figure)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["all", "correct", "incorrect", "cut", "several boxes, all", "beyond training"]


def test_endings_of_few_completions_are_left_out() -> None:
    drawn = lines(quality_panels(rows(few="incorrect")))
    assert "redundancy, incorrect" not in drawn
    assert "loop onset, incorrect" in drawn


def test_several_runs_share_scales() -> None:
    other = rows("DeepSeek-R1-Distill-Qwen-1.5B")
    other["value"] = other["value"] / 2
    figure = quality_panels(pd.concat([rows(), other]))
    assert len(figure.axes) == 12
    for first, second in zip(figure.axes[:6], figure.axes[6:], strict=True):
        assert first.get_ylim() == second.get_ylim()
        assert first.get_title(loc="left") == second.get_title(loc="left")
    texts_inside(figure)


def test_one_budget_and_no_loops() -> None:
    table = rows(budgets=(2048,))
    table.loc[table["measure"] == "loop onset", ["value", "low", "high"]] = math.nan
    figure = quality_panels(table)
    assert [text.get_text() for text in figure.axes[1].texts] == ["none"]
    assert all(axes.get_gid() != "extrapolation" for axes in figure.axes)
    texts_inside(figure)


def test_refusals() -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        quality_panels(rows().iloc[:0])
    with pytest.raises(UserError, match="up to 4 runs, not 5"):
        quality_panels(pd.concat([rows(f"model {i}") for i in range(5)]))

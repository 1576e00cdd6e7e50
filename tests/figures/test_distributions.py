from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import distributions_by_position
from tests.figures.test_budget_curve import assert_apart, texts_inside


def table(models: tuple[str, ...] = ("Toy",), uncovered: float = 0.0, bins: int = 10) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for model in models:
        for part in ("all", "correct", "incorrect"):
            for metric, base in (("entropy", 0.4), ("branching", 1.5)):
                for b in range(bins):
                    value = base + 0.1 * rng.random()
                    rows.append(
                        {
                            "model": model, "benchmark": "toy-math", "part": part, "metric": metric, "top": 20,
                            "value": value, "low": value - 0.05, "high": value + 0.05, "traces": 30, "problems": 10,
                            "uncovered": uncovered, "position": (b + 0.5) / bins,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("models", [("Toy",), ("A model with a rather long name-7B-Instruct", "Toy")])
def test_correct_and_incorrect_are_drawn_apart(models: tuple[str, ...]) -> None:
    rows = table(models)
    figure = distributions_by_position(rows)
    assert len(figure.axes) == 2 * len(models)
    for place, axes in enumerate(figure.axes):
        model, metric = models[place // 2], ("entropy", "branching")[place % 2]
        assert len(axes.collections) == 2  # bands
        for line in axes.lines:
            part = line.get_gid()
            said = rows[(rows["model"] == model) & (rows["metric"] == metric) & (rows["part"] == part)]
            np.testing.assert_allclose(np.asarray(line.get_xdata()), 100 * said["position"])
            np.testing.assert_allclose(np.asarray(line.get_ydata()), said["value"])
        assert {line.get_gid() for line in axes.lines} == {"correct", "incorrect"}
        assert_apart([tick for tick in axes.get_yticklabels() if tick.get_text()])
    texts_inside(figure)


def test_lower_bounds_are_labelled() -> None:
    texts = [axes.get_title(loc="right") for axes in distributions_by_position(table(uncovered=0.123)).axes]
    assert texts == ["", "lower bounds: top 20 hold less than 0.95 at up to 12 % of positions"]
    texts_inside(distributions_by_position(table(uncovered=0.123)))
    assert all(axes.get_title(loc="right") == "" for axes in distributions_by_position(table()).axes)


def test_nothing_to_draw() -> None:
    with pytest.raises(UserError, match="no rows"):
        distributions_by_position(table().iloc[:0])
    with pytest.raises(UserError, match="one benchmark"):
        distributions_by_position(pd.concat([table(), table().assign(benchmark="other")]))

"""Pictures of attempts: of diversity and of chained asymmetries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import chained_attempts, diversity_curves
from tests.figures.tables import NAMES
from tests.figures.test_budget_curve import assert_apart, texts_inside

BUDGETS = [128, 512, 2048, 8192]


def diversity_tables(models: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    answers, attempts = [], []
    for i, model in enumerate(NAMES[:models]):
        common = {"model": model, "benchmark": "Countdown", "budget": 8192}
        answers += [
            common | {"k": k, "value": k ** (0.5 + 0.1 * i), "low": k**0.4, "high": k**0.9} for k in (1, 2, 4, 8, 16)
        ]
        for quantity, scale in (("attempts", 1.0), ("unique", 0.7), ("tried", 1e-4), ("of problem", 2.0)):
            values = scale * np.array(BUDGETS) / 100 * (1 + 0.2 * i)
            attempts += [
                common
                | {"quantity": quantity, "budget": budget, "value": value, "low": 0.9 * value, "high": 1.1 * value}
                for budget, value in zip(BUDGETS, values, strict=True)
            ]
    return pd.DataFrame(answers), pd.DataFrame(attempts)


@pytest.mark.parametrize("models", [1, 3])
def test_diversity(models: int) -> None:
    answers, attempts = diversity_tables(models)
    figure = diversity_curves(answers, attempts)
    panels = figure.axes
    assert [len([line for line in axes.lines if line.get_gid()]) for axes in panels] == [models, 2 * models, models]
    first = panels[0].lines[0]
    np.testing.assert_allclose(first.get_ydata(), answers[answers["model"] == NAMES[0]]["value"])
    tried = attempts[(attempts["model"] == NAMES[0]) & (attempts["quantity"] == "tried")]["value"]
    np.testing.assert_allclose(panels[2].lines[0].get_ydata(), 100 * tried)
    texts_inside(figure)
    for axes in panels:
        assert_apart([tick for tick in axes.get_xticklabels() if tick.get_text()])
    with pytest.raises(UserError, match="no rows"):
        diversity_curves(answers.iloc[:0], attempts)


def chained_tables(models: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    traces, caps, gaps = [], [], []
    for model in NAMES[:models]:
        common = {"model": model, "benchmark": "AIME 2025"}
        for part, mean in (("right", 9), ("wrong", 30)):
            traces += [common | {"part": part, "count": int(count)} for count in rng.poisson(mean, 200)]
        traces.append(common | {"part": "wrong", "count": 900})
        for j in (1, 2, 4, 8, 16, 32):
            share = 1 - 0.9**j
            for k in (1, 2, 4, 8, 16):
                value = 1 - (1 - share) ** k
                caps.append(
                    common | {"unit": "episodes", "group": j, "k": k, "value": value, "low": 0.9 * value, "high": value}
                )
            row: dict[str, object] = common | {"attempts": j}
            for name, value in {"chained": share, "alone": 0.1, "votes": 0.2, "best": share}.items():
                known = value if j <= 16 or name in ("chained", "alone") else np.nan
                row |= {name: known, f"{name}_low": 0.9 * known, f"{name}_high": 1.1 * known}
            gaps.append(row)
    return pd.DataFrame(traces), pd.DataFrame(caps), pd.DataFrame(gaps)


@pytest.mark.parametrize("models", [1, 2])
def test_chained_attempts(models: int) -> None:
    traces, caps, gaps = chained_tables(models)
    figure = chained_attempts(traces, caps, gaps)
    assert len(figure.axes) == 3 * models
    histogram, capped, ways = figure.axes[:3]
    for part in ("right", "wrong"):
        (stairs,) = [patch for patch in histogram.patches if patch.get_gid() == part]
        assert stairs.get_data().values.sum() == pytest.approx(100)  # type: ignore[attr-defined]
    (single,) = [line for line in capped.lines if line.get_gid() == "pass@1"]
    np.testing.assert_allclose(single.get_ydata(), [100 * (1 - 0.9**j) for j in (1, 2, 4, 8, 16, 32)])
    assert {line.get_gid() for line in ways.lines} == {"chained", "alone", "votes", "best"}
    texts_inside(figure)
    with pytest.raises(UserError, match="not about the same runs"):
        chained_attempts(traces, caps, gaps.iloc[:0])

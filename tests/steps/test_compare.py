from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.metrics.intervals import difference_interval, resamples
from extrap_eval.steps.compare import compare
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.store import Run
from tests.steps.scored_runs import random_samples, scored_run


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("pair")
    strong = scored_run(folder / "a", random_samples(20, 8, seed=1, skill=0.8), model={"name": "Strong"})
    weak = scored_run(folder / "b", random_samples(20, 4, seed=2, skill=0.2), model={"name": "Weak"})
    return strong, weak


def test_paired_difference_at_every_budget(pair: tuple[Run, Run]) -> None:
    a, b = pair
    table = compare(a.path, b, budgets=[100, 400], resamples=500, seed=2)
    first, second = (outcomes(run, [100, 400]).correct.mean(axis=1) for run in pair)  # (P, B)
    low, high = difference_interval((first - second).T, resamples(20, 500, 2))
    assert table["budget"].tolist() == [100, 400]
    np.testing.assert_allclose(table["difference"], (first - second).mean(axis=0))
    np.testing.assert_allclose(table["difference"], table["value_a"] - table["value_b"])
    np.testing.assert_allclose(table["low"], low)
    np.testing.assert_allclose(table["high"], high)
    assert table["low"].iloc[1] > 0
    assert set(table[["model_a", "model_b", "n_a", "n_b", "problems"]].itertuples(index=False, name=None)) == {
        ("Strong", "Weak", 8, 4, 20)
    }
    turned = compare(b, a, budgets=[100, 400], resamples=500, seed=2)
    np.testing.assert_allclose(turned["difference"], -table["difference"])


def test_default_budgets_are_those_in_common(tmp_path: Path, pair: tuple[Run, Run]) -> None:
    longer = {"tokens": 150, "source": "test"}
    other = scored_run(tmp_path / "c", random_samples(20, 4, seed=3), model={"training_budget": longer})
    assert compare(pair[0], other)["budget"].tolist() == [50, 150, 400]


def test_votes(pair: tuple[Run, Run]) -> None:
    table = compare(*pair, metric="maj@k", k=4)
    assert set(table["metric"]) == {"maj@k"}
    assert table["value_a"].iloc[-1] > compare(*pair, k=1)["value_a"].iloc[-1]


def test_a_run_is_not_better_than_itself(pair: tuple[Run, Run]) -> None:
    table = compare(pair[0], pair[0])
    bound = 1 - 0.025 ** (1 / 20)
    assert table["difference"].eq(0).all()
    np.testing.assert_allclose(table["high"], bound)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": "exercise"}, "differ in their problems: 20 problems, sha256 .* and 20 problems, sha256"),
        ({"benchmark": {"prompt": "Solve {problem}"}}, "differ in the prompt template: .* and 'Solve {problem}'"),
        ({"versions": {"judge": "2", "timeline": 1}}, "differ in the rules they were scored by: .*'1'.*'2'"),
        ({"gold_errors": {"p3": "unreadable"}}, "problem p3 is left out of only one"),
    ],
)
def test_unlike_runs_are_refused(tmp_path: Path, pair: tuple[Run, Run], changes: dict[str, Any], message: str) -> None:
    other = scored_run(tmp_path / "other", random_samples(20, 4, seed=2), **changes)
    with pytest.raises(UserError, match=message):
        compare(pair[0], other)


def test_other_refusals(pair: tuple[Run, Run]) -> None:
    with pytest.raises(UserError, match=r"k: 5 is not in 1\.\.4"):
        compare(*pair, k=5)
    with pytest.raises(UserError, match=r"budget: 500 is not in 1\.\.400"):
        compare(*pair, budgets=[500])
    with pytest.raises(UserError, match="level"):
        compare(*pair, level=95)

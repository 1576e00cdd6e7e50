from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.metrics.planning import (
    assumed_difference,
    assumed_spread,
    detectable,
    difference_spread,
    informative_budgets,
    interval_width,
    spread,
)
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.plan import SAMPLES, Wish, plan_size
from extrap_eval.store import Run
from tests.steps.scored_runs import Said, random_samples, scored_run


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored_run(tmp_path_factory.mktemp("pilot") / "run", random_samples(20, 6, seed=1))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Run:
    samples = random_samples(20, 4, seed=2, skill=0.3)
    return scored_run(tmp_path_factory.mktemp("second") / "run", samples, model={"name": "Other"})


def test_what_a_pilot_says_of_each_budget(pilot: Run) -> None:
    found = outcomes(pilot, [50, 200, 400])
    table = plan_size(pilot, budgets=[50, 200, 400]).budgets
    assert table["budget"].tolist() == [50, 200, 400]
    for j, row in enumerate(table.to_dict("records")):
        known = spread(found.correct[..., j])
        assert row["accuracy"] == pytest.approx(found.correct[..., j].mean())
        assert row["between_sd"] == pytest.approx(np.sqrt(known.between))
        assert row["within_sd"] == pytest.approx(np.sqrt(known.within))
        assert row["width"] == pytest.approx(float(interval_width(known, 20, 6)))
        assert row["width_low"] < row["width"] < row["width_high"]
        assert row["detectable"] == pytest.approx(float(detectable(assumed_difference(known, 0.8), 20, 6)))
        assert row["tokens"] == pytest.approx(np.minimum(found.n_tokens, row["budget"]).mean())
        done = found.finished & (found.n_tokens <= row["budget"])
        assert row["cut"] == pytest.approx(1 - done.mean())
        assert row["answered"] == pytest.approx((found.class_id[..., j] >= 0).mean())
    telling = informative_budgets(found.correct, 20, 6)
    assert table["informative"].tolist() == telling.informative.tolist()
    np.testing.assert_allclose(table["change"], telling.change)
    np.testing.assert_allclose(table["detectable_change"], telling.detectable)


def test_designs_at_one_budget_with_their_price(pilot: Run) -> None:
    plan = plan_size(pilot, wish=Wish(budget=200, tokens_per_second=100))
    assert sorted(set(plan.designs["n"])) == sorted({*SAMPLES, 6})
    assert set(plan.designs["problems"]) == {20, 40}
    assert set(plan.designs["budget"]) == {200}
    found = outcomes(pilot, [200])
    mean = np.minimum(found.n_tokens, 200).mean()
    np.testing.assert_allclose(plan.designs["tokens"], plan.designs["problems"] * plan.designs["n"] * mean)
    np.testing.assert_allclose(plan.designs["gpu_hours"], plan.designs["tokens"] / 100 / 3600)
    np.testing.assert_allclose(plan.designs["prompt_tokens"], 3 * plan.designs["problems"] * plan.designs["n"])
    for problems, rows in plan.designs.groupby("problems"):
        assert rows.sort_values("n")["width"].is_monotonic_decreasing, problems
    assert any("correlate" in note for note in plan.notes)


def test_needs_are_the_least_that_will_do(pilot: Run) -> None:
    wish = Wish(problems=[20, 60, 200], n=[8], width=0.2, difference=0.08)
    plan = plan_size(pilot, wish=wish, budgets=[400])
    known = spread(outcomes(pilot, [400]).correct[..., 0])
    for need in plan.needs.to_dict("records"):
        problems, target = need["problems"], need["target"]

        def size(p: int, n: int, goal: str = need["goal"]) -> float:
            if goal == "width":
                return float(interval_width(known, p, n))
            return float(detectable(assumed_difference(known, 0.8), p, n))

        if pd.notna(need["n"]):
            assert size(problems, int(need["n"])) <= target
            assert need["n"] == 1 or size(problems, int(need["n"]) - 1) > target
        else:
            assert size(problems, 10**6) > target
        assert size(int(need["least_problems"]), 8) <= target < size(int(need["least_problems"]) - 1, 8)
    assert plan.needs["goal"].tolist() == ["width"] * 3 + ["difference"] * 3
    assert plan.needs["n"].isna().any()  # 20 problems are too few for one of them
    assert plan.needs["n"].notna().any()


def test_a_second_pilot_measures_the_difference(pilot: Run, second: Run) -> None:
    plan = plan_size(pilot, second, Wish(problems=[30], n=[10]), budgets=[400])
    first, other = (outcomes(run, [400]).correct[..., 0] for run in (pilot, second))
    expected = detectable(difference_spread(first, other), 30, 10)
    assert plan.designs["detectable"].tolist() == [pytest.approx(float(expected))]
    assert not any("correlate" in note for note in plan.notes)


def test_a_shorter_second_pilot_ends_the_budgets(pilot: Run, tmp_path: Path) -> None:
    rows = [[Said(120, [(60, "7")], finished=False)] * 2 for _ in range(20)]
    short = scored_run(tmp_path / "short", rows, max_tokens=120)
    assert plan_size(pilot, short).budgets["budget"].tolist() == [50, 100]


def test_a_budget_that_was_not_sampled_has_a_price_at_most(pilot: Run) -> None:
    found = outcomes(pilot, [400])
    plan = plan_size(pilot, wish=Wish(budget=1000))
    cut = (~found.finished).mean()
    per_sample = plan.designs["tokens"] / (plan.designs["problems"] * plan.designs["n"])
    np.testing.assert_allclose(per_sample, found.n_tokens.mean() + cut * 600)
    assert any("sampled to 400 tokens only" in note for note in plan.notes)


def test_without_a_pilot() -> None:
    wish = Wish(accuracy=0.3, problems=[30, 100], width=0.15, between=0.4, mean_tokens=5000, tokens_per_second=2500)
    plan = plan_size(wish=wish)
    assert plan.budgets.empty
    known = assumed_spread(0.3, 0.4)
    row = plan.designs.query("problems == 30 and n == 16").iloc[0]
    assert row["width"] == pytest.approx(float(interval_width(known, 30, 16)))
    assert row["tokens"] == 30 * 16 * 5000
    assert row["gpu_hours"] == pytest.approx(30 * 16 * 2 / 3600)
    assert plan.needs["n"].isna().tolist() == [True, False]
    assert "40 % of a sample's variance" in plan.notes[0]
    assert plan_size(wish=replace(wish, mean_tokens=None)).designs["tokens"].isna().all()


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(accuracy=0.3), "--accuracy and --problems say what to plan for"),
        (Wish(problems=[30]), "--accuracy and --problems say what to plan for"),
        (Wish(accuracy=1.2, problems=[30]), "--accuracy: 120 is not between 0 and 100 %"),
        (Wish(accuracy=0.3, problems=[30], width=0.0), "--width: 0 is not between"),
        (Wish(accuracy=0.3, problems=[30], difference=-0.1), "--difference: -10 is not between"),
        (Wish(accuracy=0.3, problems=[1, 30]), "--problems: 1 is below 2"),
        (Wish(accuracy=0.3, problems=[30], between=1.1), r"--between: 1.1 is not in 0\.\.1"),
        (Wish(accuracy=0.3, problems=[30], power=1.0), r"--power: 1 is not in 0\.5\.\.1"),
        (Wish(accuracy=0.3, problems=[30], mean_tokens=0), "--mean-tokens: 0 is not positive"),
        (Wish(accuracy=0.3, problems=[30], tokens_per_second=-1), "--tokens-per-second: -1 is not positive"),
    ],
)
def test_impossible_wishes(wish: Wish, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_size(wish=wish)


def test_a_pilot_must_have_two_of_each(tmp_path: Path, pilot: Run) -> None:
    with pytest.raises(UserError, match="leave out one of them"):
        plan_size(pilot, wish=Wish(accuracy=0.3))
    single = scored_run(tmp_path / "one", random_samples(20, 1, seed=1))
    with pytest.raises(UserError, match="20 problems x 1 samples: a pilot needs at least two of each"):
        plan_size(single)
    with pytest.raises(UserError, match="differ in their problems"):
        plan_size(pilot, scored_run(tmp_path / "other", random_samples(7, 2, seed=1)))

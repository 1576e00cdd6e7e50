"""Estimates of a markov run beside the truth: at the same places, and near it."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.forcing import plan_forcing
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.references import against_reference
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.steps.score import ensure_scored
from extrap_eval.steps.truth import truth_and_estimates
from tests.conftest import REPO
from tests.steps.followed_runs import asked, engine_of
from tests.steps.scored_runs import Said, scored_run


@pytest.mark.slow
def test_every_panel_of_the_demo_is_near_the_truth(tmp_path: Path) -> None:
    cards = REPO / "results" / "markov_demo"
    plan = plan_sampling(str(cards / "model.yaml"), str(cards / "benchmark.yaml"))
    run = prepare_run(plan, tmp_path / "run")
    sample(plan, run, engine_of(run), seed=5)
    ensure_scored(run.path)
    asked(
        run,
        plan_probes(run, group_size=2, replicates=2),
        plan_probes(run, at="budgets", replicates=2),
        plan_forcing(run, extensions=2, extension_tokens=100, answers_after=(0, 1, 2), replicates=2),
    )
    ours, truth = truth_and_estimates(run.path)
    assert list(dict.fromkeys(ours["panel"])) == [
        "whole completions, cut",
        "cut, and an answer forced",
        "after groups of episodes",
        "after w extensions",
    ]
    table = against_reference(ours, truth)
    assert table["within"].notna().all()
    # 28 intervals, many of the same completions: a few may miss the truth, none by much.
    assert table["within"].astype(bool).mean() >= 0.75
    assert (table["difference"].abs() <= 1.5 * (table["high"] - table["low"])).all()
    forced = ours["panel"] == "after w extensions"
    assert ours["x"][forced].to_numpy() == pytest.approx(truth["x"][forced].to_numpy(), rel=0.1)


def test_of_other_models_no_truth_is_known(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [[Said(10, [(10, "7")])]])
    with pytest.raises(UserError, match="the truth is known of runs of a model card with a policy alone"):
        truth_and_estimates(run)

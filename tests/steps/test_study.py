"""What a study file asks is what the functions of the commands ask."""

from __future__ import annotations

from pathlib import Path

from extrap_eval.cards.study import Study
from extrap_eval.steps.forcing import plan_forcing
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.study import follow_plans, sampling_plans
from tests.steps.followed_runs import sampled_run


def study(folder: Path, **stages: object) -> Study:
    models = [{"model": "markov"}]
    return Study.model_validate(
        {"name": "s", "benchmark": str(folder / "run.yaml"), "out": str(folder), "models": models, "stages": stages}
    )


def test_every_option_arrives(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=1, n=2)
    drawn = {"temperature": 0.7, "top_p": 1.0, "top_k": 20}
    common = {"n": 1, "replicates": 3, "answer_tokens": 99}
    by_episodes = {"phrases": ["Hm"], "min_steps": 2, "groups": 4, "paper_exact": True}
    at_budgets = {"budgets": [100, 200]}
    extended = {
        "strings": ["Wait", "Hm"], "extensions": 3, "extension_tokens": 50, "thinking_tokens": 500,
        "answers_after": [1, 3], "final_text": "So:", "paper_exact": ["full-cap"],
    }  # fmt: skip
    found = follow_plans(
        study(
            tmp_path,
            probe=[
                common | by_episodes | drawn | {"cap": 7, "probe_text": "Now."},
                common | at_budgets | {"at": "budgets"},
            ],
            force=[common | extended | drawn | {"mode": "s1"}],
        ),
        run,
    )
    expected = [
        plan_forcing(run, mode="s1", sampling=drawn, **common, **extended),  # type: ignore[arg-type]
        plan_probes(run, max_episodes=7, text="Now.", sampling=drawn, **common, **by_episodes),  # type: ignore[arg-type]
        plan_probes(run, at="budgets", **common, **at_budgets),  # type: ignore[arg-type]
    ]
    assert [(plan.name, plan.promise) for plan in found] == [(plan.name, plan.promise) for plan in expected]


def test_what_is_left_out_is_the_default_of_the_commands(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=1, n=1)
    plans = follow_plans(study(tmp_path, probe=[{}, {"at": "budgets"}], force=[{}, {"mode": "s1"}]), run)
    expected = [plan_forcing(run), plan_forcing(run, mode="s1"), plan_probes(run), plan_probes(run, at="budgets")]
    assert [(plan.name, plan.promise) for plan in plans] == [(plan.name, plan.promise) for plan in expected]


def test_sampling_overrides(tmp_path: Path) -> None:
    sampled_run(tmp_path, problems=2, n=1)
    ((model, plan, path),) = sampling_plans(study(tmp_path, sample={"n": 5, "budget_max": 77, "top_p": 0.5}))
    assert (plan.n, plan.model.max_new_tokens, plan.model.sampling.top_p) == (5, 77, 0.5)
    assert (model.model, path) == ("markov", tmp_path / "markov")

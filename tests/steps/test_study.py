"""What a study file asks is what the functions of the commands ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.cards.load import dump_card, load_model_card
from extrap_eval.cards.study import Study, StudyModel
from extrap_eval.engines.base import Engine
from extrap_eval.engines.markov import MarkovEngine, MarkovPolicy
from extrap_eval.errors import UserError
from extrap_eval.steps.forcing import plan_forcing
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.sample import SamplingPlan
from extrap_eval.steps.study import StudyReport, follow_plans, run_models, sampling_plans
from extrap_eval.store import open_run
from tests.steps.followed_runs import sampled_run

pytestmark = pytest.mark.slow


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


def two_models(folder: Path) -> Study:
    """Of one long trace and many short ones each."""
    benchmark = folder / "tail.yaml"
    benchmark.write_text(
        "name: Long tail\nsource: {generator: hidden_number, args: {problems: 8, "
        "probabilities: [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.002]}}\nanswer: {kind: integer}\n"
    )
    for name in ("first", "second"):
        dump = load_model_card("markov").model_copy(update={"name": name})
        (folder / f"{name}.yaml").write_text(dump_card(dump))
    return Study.model_validate(
        {
            "name": "two",
            "benchmark": str(benchmark),
            "out": str(folder / "runs"),
            "models": [{"model": str(folder / "first.yaml")}, {"model": str(folder / "second.yaml")}],
            "stages": {"sample": {"n": 2, "budget_max": 2000}},
        }
    )


@pytest.mark.parametrize(("overlap", "order"), [(True, "open first, open second"), (False, "open first, done first")])
def test_the_next_model_begins_in_the_tail_of_the_last_one(tmp_path: Path, overlap: bool, order: str) -> None:
    events: list[str] = []

    def open_engine(model: StudyModel, plan: SamplingPlan, run: Path, context: int) -> tuple[Engine, int]:
        assert plan.model.policy is not None
        events.append(f"open {plan.model.name}")
        return MarkovEngine(MarkovPolicy(**plan.model.policy), seconds_per_token=1e-3), 8  # type: ignore[arg-type]

    planned = two_models(tmp_path)
    reports: list[StudyReport] = []

    def done(report: StudyReport) -> None:
        events.append(f"done {report.run.name}")
        reports.append(report)

    run_models(planned, list(sampling_plans(planned)), open_engine, overlap=overlap, seed=1, done=done)
    assert ", ".join(events).startswith(order)
    assert sorted(events) == ["done first", "done second", "open first", "open second"]
    assert [(report.finished, report.missing) for report in reports] == [(16, 0), (16, 0)]


def test_a_model_that_cannot_be_opened_ends_the_study_and_what_was_sampled_stays(tmp_path: Path) -> None:
    def open_engine(model: StudyModel, plan: SamplingPlan, run: Path, context: int) -> tuple[Engine, int]:
        assert plan.model.policy is not None
        if plan.model.name == "second":
            raise UserError("no such engine")
        return MarkovEngine(MarkovPolicy(**plan.model.policy), seconds_per_token=1e-3), 8  # type: ignore[arg-type]

    planned = two_models(tmp_path)
    with pytest.raises(UserError, match="no such engine"):
        run_models(planned, list(sampling_plans(planned)), open_engine, seed=1)
    assert 0 < len(open_run(tmp_path / "runs" / "first").keys()) < 16  # its tail was still to come

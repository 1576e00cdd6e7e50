"""How much sooner a study is done when probes and extensions run while the long tail is still sampled."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.cards.study import Study, StudyModel
from extrap_eval.engines.base import Engine
from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.steps.sample import SamplingPlan
from extrap_eval.steps.study import StudyReport, run_models, sampling_plans
from extrap_eval.store import open_run

pytestmark = pytest.mark.perf

SLOTS = 48  # requests that the engine makes at once, each at its own pace
SECONDS_PER_TOKEN = 2e-3
AT_LEAST = 0.15  # less time, on a workload with a long tail


def study(folder: Path) -> Study:
    benchmark = folder / "tail.yaml"
    # Most traces end after a few hundred tokens, those of every eighth problem go on to the cap.
    benchmark.write_text(
        "name: Long tail\nsource: {generator: hidden_number, args: {problems: 32, "
        "probabilities: [0.5, 0.5, 0.3, 0.3, 0.2, 0.2, 0.1, 0.002]}}\nanswer: {kind: integer}\n"
    )
    return Study.model_validate(
        {
            "name": "overlap",
            "benchmark": str(benchmark),
            "out": str(folder / "runs"),
            "models": [{"model": "markov"}],
            "stages": {
                "sample": {"n": 3, "budget_max": 8192},
                "force": [{"extensions": 4, "extension_tokens": 512, "replicates": 4}],
                "probe": [{"groups": 5, "replicates": 4}],
            },
        }
    )


def run_study(folder: Path, *, sequential: bool) -> StudyReport:
    folder.mkdir()
    planned = study(folder)
    reports: list[StudyReport] = []

    def open_engine(model: StudyModel, plan: SamplingPlan, run: Path, context: int) -> tuple[Engine, int]:
        assert plan.model.policy is not None
        policy = MarkovPolicy(**plan.model.policy)  # type: ignore[arg-type]
        return MarkovEngine(policy, seconds_per_token=SECONDS_PER_TOKEN), SLOTS

    models = list(sampling_plans(planned))
    run_models(planned, models, open_engine, sequential=sequential, seed=5, done=reports.append)
    return reports[0]


def test_a_study_in_one_graph_against_one_stage_after_the_other(tmp_path: Path) -> None:
    one_graph = run_study(tmp_path / "graph", sequential=False)
    in_turn = run_study(tmp_path / "turn", sequential=True)
    assert (one_graph.missing, in_turn.missing) == (0, 0)
    # Seeds make both ask the same and answer the same.
    assert (one_graph.finished, one_graph.tokens) == (in_turn.finished, in_turn.tokens)
    for report in (one_graph, in_turn):
        assert all(variant.complete for variant in open_run(report.run).variants())
    busy = one_graph.tokens * SECONDS_PER_TOKEN / SLOTS
    print(f"\n{one_graph.finished} completions, {one_graph.tokens:,} tokens, {SLOTS} at once")
    print(f"  {'':28}{'seconds':>9}{'slots busy':>12}")
    for name, report in (("one stage after the other", in_turn), ("one graph", one_graph)):
        print(f"  {name:28}{report.seconds:9.1f}{busy / report.seconds:12.0%}")
    less = 1 - one_graph.seconds / in_turn.seconds
    print(f"  one graph takes {less:.0%} less time")
    assert less >= AT_LEAST

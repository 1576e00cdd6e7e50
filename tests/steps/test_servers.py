"""What the servers of a plan are asked to serve."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from extrap_eval.cards.load import changed
from extrap_eval.engines.servers.launch import EngineKind
from extrap_eval.steps.sample import SamplingPlan, plan_sampling
from extrap_eval.steps.servers import ServerOptions, server_spec


@pytest.fixture(scope="module")
def plan() -> SamplingPlan:
    return plan_sampling("residue-explorer", "residue_search_tiny", n=2, budget_max=512)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize(
    ("asked", "most", "served"),
    [
        (None, None, 76 + 512 + 8),  # SGLang takes no request that fills its context to the last token
        (900, None, 908),
        (900, 5120, 908),
        (900, 904, 904),  # no more than the model has
        (900, 800, 900),  # which is refused later, with what is needed
    ],
)
def test_the_context_has_room_for_what_is_needed_and_a_little_more(
    plan: SamplingPlan, kind: EngineKind, asked: int | None, most: int | None, served: int
) -> None:
    assert plan.longest_prompt == 76
    plan = dataclasses.replace(plan, model=changed(plan.model, {"max_model_len": most}))
    spec = server_spec(plan, kind, ServerOptions(), python="python", context_length=asked)
    assert spec.context_length == served
    assert Path(spec.model).name == "residue-explorer"


def test_what_the_user_says_wins_over_the_card(plan: SamplingPlan) -> None:
    engine = {"tensor_parallel": 2, "gpu_memory_fraction": 0.8, "extra_args": ["--max-num-seqs", "64"]}
    plan = dataclasses.replace(plan, model=changed(plan.model, {"engine": engine}))
    spec = server_spec(plan, "vllm", ServerOptions(), python="python")
    assert (spec.tensor_parallel, spec.memory_fraction) == (2, 0.8)
    options = ServerOptions(tensor_parallel=4, memory_fraction=0.5, arguments=("--max-num-seqs 128", "--enforce-eager"))
    spec = server_spec(plan, "vllm", options, python="python")
    assert (spec.tensor_parallel, spec.memory_fraction) == (4, 0.5)
    assert spec.extra_args == ("--max-num-seqs", "64", "--max-num-seqs", "128", "--enforce-eager")

"""What a cluster would be asked to run, and what options mean nothing there."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.cluster import open_cluster, preview_cluster, served_on_ray
from extrap_eval.steps.sample import SamplingPlan, plan_sampling
from extrap_eval.steps.servers import ServerOptions


@pytest.fixture(scope="module")
def plan(small_model: Path) -> SamplingPlan:
    return plan_sampling(str(small_model), "residue_search_tiny", n=2, budget_max=512)


def words_of(command: str) -> tuple[dict[str, str], dict[str, str]]:
    """Environment and options of one printed command."""
    words = shlex.split(command)
    first = next(i for i, word in enumerate(words) if "=" not in word)
    given = words[first:]
    options = {a: b for a, b in pairwise(given) if a.startswith("--")}
    return dict(word.split("=", 1) for word in words[:first]), options


@pytest.mark.parametrize(
    ("kind", "options", "groups", "tensor_parallel_option"),
    [
        ("vllm", ServerOptions(gpus=8), [(str(i),) for i in range(8)], None),
        ("vllm", ServerOptions(gpus=8, tensor_parallel=4), [tuple("0123"), tuple("4567")], "--tensor-parallel-size"),
        ("sglang", ServerOptions(gpus=8, tensor_parallel=8), [tuple("01234567")], "--tp-size"),
    ],
)
def test_four_nodes(
    plan: SamplingPlan,
    kind: Any,
    options: ServerOptions,
    groups: list[tuple[str, ...]],
    tensor_parallel_option: str | None,
) -> None:
    shown = preview_cluster(plan, kind, options, nodes=4)
    assert any("4 nodes with 8 GPUs each" in note for note in shown.assumed)
    found = []
    seeds = set()
    for where, command in shown.servers:
        env, given = words_of(command)
        node = re.match(r"node-\d", where)
        assert node is not None
        assert given["--host"] == node[0]
        found.append((node[0], tuple(env["CUDA_VISIBLE_DEVICES"].split(","))))
        seeds.add(given["--seed" if kind == "vllm" else "--random-seed"])
        if tensor_parallel_option is not None:
            assert given[tensor_parallel_option] == str(len(groups[0]))
    assert found == [(f"node-{i}", group) for i in range(1, 5) for group in groups]
    assert len(seeds) == len(found)


def test_fewer_replicas_than_room(plan: SamplingPlan) -> None:
    shown = preview_cluster(plan, "vllm", ServerOptions(gpus=8, replicas=9), nodes=4)
    assert [where for where, _ in shown.servers] == [
        *(f"node-1, GPU {gpu}" for gpu in range(8)),
        "node-2, GPU 0",
    ]


@pytest.mark.parametrize(
    ("options", "nodes", "said"),
    [
        (ServerOptions(), 4, "--nodes 4: say with --gpus how many GPUs each node has"),
        (ServerOptions(gpus=8, replicas=33), 4, "--replicas 33: 4 nodes have room for 32"),
        (ServerOptions(gpus=8, tensor_parallel=16), 4, "--tp 16: no node has so many GPUs"),
    ],
)
def test_what_cannot_be_shown(plan: SamplingPlan, options: ServerOptions, nodes: int, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        preview_cluster(plan, "vllm", options, nodes=nodes)


def test_a_number_of_gpus_is_nothing_to_ask_of_a_cluster(plan: SamplingPlan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--gpus 8: on a cluster Ray gives the GPUs away; use --replicas"):
        open_cluster(plan, "vllm", ServerOptions(gpus=8), run=tmp_path)


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("ray", "vllm"), ("ray:vllm", "vllm"), ("ray:sglang", "sglang"), ("vllm", None), ("http", None)],
)
def test_what_serves(engine: str, kind: str | None) -> None:
    assert served_on_ray(engine) == kind


def test_another_word_after_ray_is_refused() -> None:
    with pytest.raises(UserError, match="--engine ray:tgi: after ray: comes one of vllm, sglang"):
        served_on_ray("ray:tgi")

"""The commands that start servers."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from extrap_eval.engines.servers.guardian import KEY, KEY_FILE
from extrap_eval.engines.servers.launch import LaunchPlan, ServerSpec, served_name, server_command
from extrap_eval.engines.servers.layout import Share
from extrap_eval.errors import UserError

GIB = 1 << 30
TWO_GPUS = Share(gpus=("2", "3"))
TWO_CORES = Share(cores=(4, 5), memory=40 * GIB)


def spec(kind: Any = "vllm", **changes: Any) -> ServerSpec:
    values: dict[str, Any] = {
        "kind": kind,
        "python": "/env/bin/python",
        "model": "org/model",
        "served_name": "model",
        "context_length": 40960,
    }
    return ServerSpec(**values | changes)


def plan(kind: Any = "vllm", share: Share = TWO_GPUS, **changes: Any) -> LaunchPlan:
    return server_command(spec(kind, **changes), share, port=8123, seed=77)


def option(plan: LaunchPlan, name: str) -> str | None:
    return plan.argv[plan.argv.index(name) + 1] if name in plan.argv else None


COMMON = {"--port": "8123", "--host": "127.0.0.1", "--served-model-name": "model"}
OPTIONS: list[tuple[str, Share, dict[str, Any], dict[str, str | None]]] = [
    ("vllm", TWO_GPUS, {}, {**COMMON, "--max-model-len": "40960", "--seed": "77", "--dtype": None}),
    ("vllm", TWO_GPUS, {}, {"--gpu-memory-utilization": None, "--revision": None}),
    ("vllm", TWO_GPUS, {"tensor_parallel": 2}, {"--tensor-parallel-size": "2", "--distributed-executor-backend": "mp"}),
    ("vllm", TWO_GPUS, {"memory_fraction": 0.8, "dtype": "bfloat16"}, {"--gpu-memory-utilization": "0.8"}),
    ("vllm", TWO_GPUS, {"revision": "abc"}, {"--revision": "abc"}),
    ("vllm", TWO_CORES, {"memory_fraction": 0.8}, {"--gpu-memory-utilization": None, "--block-size": "32"}),
    ("vllm", TWO_GPUS, {"logprobs": 20}, {"--max-logprobs": None}),
    ("vllm", TWO_CORES, {"logprobs": 50}, {"--max-logprobs": "50"}),
    ("sglang", TWO_GPUS, {}, {**COMMON, "--context-length": "40960", "--random-seed": "77"}),
    ("sglang", TWO_GPUS, {"model": "/a/b"}, {"--model-path": "/a/b"}),
    ("sglang", TWO_GPUS, {}, {"--config": KEY_FILE, "--mem-fraction-static": None, "--device": None}),
    ("sglang", TWO_GPUS, {"tensor_parallel": 2}, {"--tp-size": "2"}),
    ("sglang", TWO_GPUS, {"memory_fraction": 0.8}, {"--mem-fraction-static": "0.8"}),
    ("sglang", TWO_CORES, {}, {"--device": "cpu", "--attention-backend": "torch_native"}),
    ("sglang", TWO_CORES, {}, {"--max-total-tokens": "163840"}),
    ("sglang", TWO_CORES, {"context_length": 4096}, {"--max-total-tokens": "65536"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "share", "changes", "options"), OPTIONS)
def test_options(kind: str, share: Share, changes: dict[str, Any], options: dict[str, str | None]) -> None:
    made = plan(kind, share, **changes)
    assert {name: option(made, name) for name in options} == options


FLAGS = {
    "vllm": ["--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"],
    "sglang": ["--enable-cache-report", "--enable-metrics"],
}


@pytest.mark.parametrize("kind", FLAGS)
def test_what_every_server_of_a_kind_gets(kind: str) -> None:
    assert set(FLAGS[kind]) <= set(plan(kind).argv)
    assert plan(kind, extra_args=("--port-like=1", "--x")).argv[-2:] == ("--port-like=1", "--x")  # last, so they win


ENVIRONMENTS: list[tuple[str, Share, dict[str, Any], dict[str, str | None]]] = [
    ("vllm", TWO_GPUS, {}, {"CUDA_VISIBLE_DEVICES": "2,3", "VLLM_API_KEY": KEY, "VLLM_CPU_OMP_THREADS_BIND": None}),
    ("vllm", TWO_CORES, {}, {"CUDA_VISIBLE_DEVICES": "", "VLLM_CPU_OMP_THREADS_BIND": "4-5", "OMP_NUM_THREADS": None}),
    ("vllm", TWO_CORES, {}, {"VLLM_CPU_KVCACHE_SPACE": "10"}),  # a quarter of its share
    ("vllm", TWO_CORES, {"memory_fraction": 0.5, "tensor_parallel": 2}, {"VLLM_CPU_KVCACHE_SPACE": "10"}),
    ("vllm", TWO_CORES, {"memory_fraction": 0.001}, {"VLLM_CPU_KVCACHE_SPACE": "1"}),
    ("vllm", TWO_CORES, {"extra_args": ("--kv-cache-memory-bytes=1",)}, {"VLLM_CPU_KVCACHE_SPACE": None}),
    ("vllm", TWO_CORES, {"tensor_parallel": 2}, {"VLLM_CPU_OMP_THREADS_BIND": "4|5"}),
    ("vllm", Share(threads=6), {}, {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "6"}),
    ("vllm", Share(allotted_gpus=True), {}, {"CUDA_VISIBLE_DEVICES": None, "VLLM_CPU_OMP_THREADS_BIND": None}),
    ("sglang", TWO_GPUS, {}, {"CUDA_VISIBLE_DEVICES": "2,3", "OMP_NUM_THREADS": None}),
    ("sglang", TWO_CORES, {}, {"CUDA_VISIBLE_DEVICES": "", "SGLANG_USE_CPU_ENGINE": "1", "OMP_NUM_THREADS": "1"}),
    ("sglang", Share(allotted_gpus=True), {}, {"CUDA_VISIBLE_DEVICES": None, "SGLANG_USE_CPU_ENGINE": None}),
    ("sglang", TWO_GPUS, {}, {"SGLANG_RETURN_ORIGINAL_LOGPROB": None}),
    ("sglang", TWO_GPUS, {"logprobs": 5}, {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1"}),
    ("sglang", TWO_CORES, {"logprobs": 5}, {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1", "OMP_NUM_THREADS": "1"}),
    ("vllm", TWO_GPUS, {}, {"PATH": "/env/bin:$PATH", "PYTHONSAFEPATH": "1"}),
    ("vllm", TWO_GPUS, {"python": "python"}, {"PATH": None}),
]


@pytest.mark.parametrize(("kind", "share", "changes", "environment"), ENVIRONMENTS)
def test_environment(kind: str, share: Share, changes: dict[str, Any], environment: dict[str, str | None]) -> None:
    made = plan(kind, share, **changes)
    assert {name: made.env.get(name) for name in environment} == environment


def test_only_sglang_is_kept_on_its_cores_from_outside() -> None:
    assert plan("sglang", TWO_CORES).cores == (4, 5)
    assert plan("vllm", TWO_CORES).cores == plan("sglang", TWO_GPUS).cores == ()


def test_a_line_for_a_shell() -> None:
    line = str(plan("vllm", Share(gpus=("0",)), model="/models/my model"))
    assert line.startswith('CUDA_VISIBLE_DEVICES=0 VLLM_API_KEY=*** VLLM_NO_USAGE_STATS=1 PYTHONSAFEPATH=1 PATH="/env/')
    assert " /env/bin/python -m vllm.entrypoints.cli.main serve '/models/my model' --served-model-name model " in line
    line = str(plan("sglang", TWO_CORES))
    assert (
        " taskset -c 4-5 /env/bin/python -m sglang.launch_server --config API-KEY.yaml --model-path org/model " in line
    )
    assert KEY not in line
    assert KEY_FILE not in line


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize(
    "argument", ["--port=9", "--host", "--api-key", "--served-model-name=x", "--data-parallel-size=2"]
)
def test_arguments_that_would_undo_ours_are_refused(kind: str, argument: str) -> None:
    with pytest.raises(UserError, match=f"^--server-arg {argument.split('=')[0]}: this one is set by extrap-eval"):
        spec(kind, extra_args=(argument,))


def test_the_config_file_of_sglang_is_taken_and_that_of_vllm_is_not() -> None:
    spec("vllm", extra_args=("--config", "mine.yaml"))
    with pytest.raises(UserError, match="--config"):
        spec("sglang", extra_args=("--config", "mine.yaml"))


def test_specifications_and_plans_travel_to_other_machines() -> None:
    made = plan("sglang")
    assert pickle.loads(pickle.dumps((spec(), made))) == (spec(), made)
    assert option(server_command(spec(), TWO_GPUS, port=1, seed=2, host="10.0.0.7"), "--host") == "10.0.0.7"


@pytest.mark.parametrize(
    ("name", "served"),
    [("e3-1.7B", "e3-1.7B"), ("DeepScaleR Preview GRPO", "DeepScaleR-Preview-GRPO"), ("a:b/ü", "a-b"), ("::", "model")],
)
def test_served_names(name: str, served: str) -> None:
    assert served_name(name) == served

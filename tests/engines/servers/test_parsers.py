"""The engines' own argument parsers understand our commands as they are meant: for 8 GPUs, by one, two and eight."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import extrap_eval.engines.cluster
from extrap_eval.engines.servers.guardian import KEY_FILE
from extrap_eval.engines.servers.launch import ServerSpec, server_command
from extrap_eval.engines.servers.layout import Machine, assumed_gpus, replica_layout
from tests.engine_servers import python_of

pytestmark = [pytest.mark.engine]
H100 = Machine(assumed_gpus(8), tuple(range(96)), 1 << 40)
WORKSTATION = Machine((), tuple(range(16)), 64 << 30)
SCRIPT = Path(__file__).with_name("parse_arguments.py")

ON_GPUS: dict[str, Any] = {"context_length": 40960, "revision": "0123", "dtype": "bfloat16", "memory_fraction": 0.9}
EXTRA = {"vllm": ("--max-num-seqs=512", "--max-logprobs", "50"), "sglang": ("--max-running-requests=512",)}
# What is asked for -> the machine and the fields of ServerSpec.
ASKED: dict[str, tuple[Machine, dict[str, Any]]] = {
    **{f"tp {tp}": (H100, ON_GPUS | {"tensor_parallel": tp, "extra": True}) for tp in (1, 2, 8)},
    "cpu": (WORKSTATION, {}),
    "wrong": (H100, {"extra_args": ("--no-such-option=1",)}),
}
# What ``sample --dry-run`` is asked for -> its options beside the engine; {0} is the kind of engine.
PRINTED = {
    "8 GPUs": ("--engine {0}", "--gpus 8"),
    "4 nodes": ("--engine ray:{0}", "--nodes 4", "--gpus 8", "--tp 4"),
}
AFTER = {"vllm": "serve", "sglang": "sglang.launch_server"}  # the word behind which the arguments begin
Understood = dict[str, list[dict[str, Any]]]


def planned(kind: Any) -> dict[str, list[tuple[str, ...]]]:
    """The command of every replica of each layout."""
    commands = {}
    for name, (machine, changes) in ASKED.items():
        values: dict[str, Any] = {"model": "org/model", "served_name": "model", "context_length": 4096} | changes
        if values.pop("extra", False):
            values |= {"extra_args": EXTRA[kind]}
        spec = ServerSpec(kind=kind, python="python", **values)
        shares = replica_layout(machine, tensor_parallel=spec.tensor_parallel)
        plans = [server_command(spec, share, port=30000 + i, seed=7 + i) for i, share in enumerate(shares)]
        commands[name] = [plan.argv for plan in plans]
    return commands


def printed(kind: Any) -> dict[str, list[list[str]]]:
    """The same of the lines that a dry run prints for a person to copy."""
    commands = {}
    for name, options in PRINTED.items():
        words = [word.format(kind) for option in options for word in option.split()]
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from extrap_eval.cli import main; main()", "sample", "--dry-run", "--json"),
                *("--model", "residue-explorer", "--benchmark", "residue_search_tiny", "--budget-max", "4000", *words),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        commands[name] = [shlex.split(line) for line in json.loads(done.stdout)["servers"]]
    return commands


def documented(kind: Any) -> dict[str, list[list[str]]]:
    """What the documentation says of servers over several nodes, for the second of them."""
    text = (extrap_eval.engines.cluster.__doc__ or "").replace("\\\n", " ").replace("RANK", "1").replace("$", "")
    (line,) = [line for line in text.splitlines() if AFTER[kind] + " " in line]
    return {"documented": [shlex.split(line, comments=True)]}


def understand(kind: Any, folder: Path) -> Understood:
    """What the engine's parser makes of all these commands, in one process of the engine."""
    key_file = folder / "server.yaml"
    key_file.write_text('api-key: "0123-secret"\n')
    commands: dict[str, Any] = {**planned(kind), **printed(kind), **documented(kind)}
    arguments = [
        [str(key_file) if word in (KEY_FILE, "API-KEY.yaml") else word for word in argv[argv.index(AFTER[kind]) + 1 :]]
        for group in commands.values()
        for argv in group
    ]
    done = subprocess.run(
        [str(python_of(kind)), str(SCRIPT), kind], input=json.dumps(arguments), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("understood:")]
    found = iter(json.loads(line.removeprefix("understood:")))
    return {name: [next(found) for _ in group] for name, group in commands.items()}


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Understood:
    return understand("vllm", tmp_path_factory.mktemp("vllm"))


@pytest.fixture(scope="module")
def sglang(tmp_path_factory: pytest.TempPathFactory) -> Understood:
    return understand("sglang", tmp_path_factory.mktemp("sglang"))


@pytest.mark.parametrize(
    ("kind", "tensor_parallel", "length"),
    [("vllm", "tensor_parallel_size", "max_model_len"), ("sglang", "tp_size", "context_length")],
)
def test_what_a_dry_run_prints(request: pytest.FixtureRequest, kind: str, tensor_parallel: str, length: str) -> None:
    understood = request.getfixturevalue(kind)
    here, there = understood["8 GPUs"], understood["4 nodes"]
    assert (len(here), len(there)) == (8, 4 * 8 // 4)
    assert {found["host"] for found in here} == {"127.0.0.1"}
    assert [found["host"] for found in there] == [f"node-{number}" for number in (1, 1, 2, 2, 3, 3, 4, 4)]
    for group, gpus in ((here, 1), (there, 4)):
        assert len({found["port"] for found in group}) == 8
        assert {found[tensor_parallel] for found in group} == {gpus}
        assert {found[length] for found in group} == {76 + 4000 + 8}
        assert not any("refused" in found for found in group)
    print(f"\n{kind}: {len(here)} commands for 8 GPUs and {len(there)} for 4 nodes understood as meant")


@pytest.mark.parametrize("tensor_parallel", [1, 2, 8])
def test_vllm_on_eight_gpus(vllm: Understood, tensor_parallel: int) -> None:
    found = vllm[f"tp {tensor_parallel}"]
    assert len(found) == 8 // tensor_parallel
    for i, arguments in enumerate(found):
        wanted = {
            "model_tag": "org/model",
            "served_model_name": ["model"],
            "host": "127.0.0.1",
            "port": 30000 + i,
            "seed": 7 + i,
            "max_model_len": 40960,
            "tensor_parallel_size": tensor_parallel,
            "data_parallel_size": 1,
            "gpu_memory_utilization": 0.9,
            "revision": "0123",
            "dtype": "bfloat16",
            "max_logprobs": 50,
            "max_num_seqs": 512,
            "enable_prefix_caching": True,
            "enable_prompt_tokens_details": True,
            "disable_uvicorn_access_log": True,
            "disable_log_stats": False,  # its counters are how progress shows
        }
        assert {name: arguments[name] for name in wanted} == wanted


@pytest.mark.parametrize("tensor_parallel", [1, 2, 8])
def test_sglang_on_eight_gpus(sglang: Understood, tensor_parallel: int) -> None:
    found = sglang[f"tp {tensor_parallel}"]
    assert len(found) == 8 // tensor_parallel
    for i, arguments in enumerate(found):
        wanted = {
            "model_path": "org/model",
            "served_model_name": "model",
            "host": "127.0.0.1",
            "port": 30000 + i,
            "random_seed": 7 + i,
            "context_length": 40960,
            "tp_size": tensor_parallel,
            "dp_size": 1,
            "mem_fraction_static": 0.9,
            "revision": "0123",
            "dtype": "bfloat16",
            "max_running_requests": 512,
            "api_key": "0123-secret",
            "enable_metrics": True,
            "enable_cache_report": True,
            "disable_radix_cache": False,
        }
        assert {name: arguments[name] for name in wanted} == wanted


@pytest.mark.parametrize(("kind", "tensor_parallel"), [("vllm", "tensor_parallel_size"), ("sglang", "tp_size")])
def test_what_the_documentation_says_of_several_nodes(
    request: pytest.FixtureRequest, kind: str, tensor_parallel: str
) -> None:
    (found,) = request.getfixturevalue(kind)["documented"]
    assert (found[tensor_parallel], found["nnodes"], found["node_rank"], found["port"]) == (16, 2, 1, 8000)


def test_vllm_without_gpus(vllm: Understood) -> None:
    (arguments,) = vllm["cpu"]
    assert (arguments["max_model_len"], arguments["block_size"], arguments["dtype"]) == (4096, 32, "auto")


def test_sglang_without_gpus(sglang: Understood) -> None:
    (arguments,) = sglang["cpu"]
    assert (arguments["device"], arguments["attention_backend"]) == ("cpu", "torch_native")
    assert (arguments["max_total_tokens"], arguments["mem_fraction_static"]) == (65536, 0.6)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_a_wrong_argument_would_have_been_noticed(request: pytest.FixtureRequest, kind: str) -> None:
    for arguments in request.getfixturevalue(kind)["wrong"]:
        assert "unrecognized arguments: --no-such-option=1" in arguments["refused"]

"""Real vLLM and SGLang servers, started, hurt and ended by this package."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from extrap_eval.engines.base import Generation, GenerationRequest
from extrap_eval.engines.servers.fleet import ServerFleet
from extrap_eval.engines.servers.launch import ServerSpec
from extrap_eval.engines.servers.layout import replica_layout, this_machine
from extrap_eval.engines.servers.replica import LocalReplica, ServerFailed
from extrap_eval.store import open_run
from tests.engines.servers.processes import alive, family, gone

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]
SERVED = "residue-search"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def replicas(
    kind: Any, python: Path, model: Path | str, folder: Path, number: int, **changes: Any
) -> tuple[list[LocalReplica], str]:
    """Small servers, one core each, and their key."""
    values: dict[str, Any] = {"served_name": SERVED, "context_length": 1024, "dtype": "bfloat16"} | changes
    fraction = {"memory_fraction": 0.05} if kind == "vllm" else {}
    spec = ServerSpec(kind=kind, python=str(python), model=str(model), **fraction | values)
    shares = replica_layout(this_machine(), gpus=0, replicas=2)[:number]
    key = secrets.token_urlsafe(24)
    logs = folder / "servers"
    made = [LocalReplica(spec, s, number=i, log=logs / f"{kind}-{i}.log", api_key=key) for i, s in enumerate(shares)]
    return made, key


def request(prompt: np.ndarray, tokens: int = 200, affinity: str = "") -> GenerationRequest:
    return GenerationRequest(prompt, max_tokens=tokens, temperature=1.0, top_p=1.0, affinity=affinity)


async def ask(
    fleet: ServerFleet, prompt: np.ndarray, number: int, tokens: int = 200, of: str = "trace"
) -> list[Generation]:
    asked = (fleet.generate(request(prompt, tokens, affinity=f"{of} {i}")) for i in range(number))
    return await asyncio.gather(*asked)


async def serving(fleet: ServerFleet, restarts: int) -> None:
    """Wait until all serve and so many restarts are behind them."""
    while not all(s.phase == "serving" for s in fleet.states()) or sum(s.restarts for s in fleet.states()) < restarts:
        assert not any(s.phase == "given up" for s in fleet.states()), fleet.states()
        await asyncio.sleep(0.5)


def refused_without_key(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/v1/models", timeout=30)
    except urllib.error.HTTPError as error:
        return error.code == 401
    return False


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("*")}


def left_behind(before: set[str]) -> set[str]:
    """Shared memory that is new and that no process maps, now and some seconds later; other tests may run beside.

    The semaphores (32 bytes) of a front that was killed are known to it alone, and stay.
    """
    found = {name for name in shared_memory() - before if not name.startswith("sem.")}
    for _ in range(5):
        mapped = ""
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with contextlib.suppress(OSError):
                mapped += maps.read_text(errors="replace")
        found = {name for name in found & shared_memory() if f"/dev/shm/{name}" not in mapped}
        time.sleep(1)
    return found


async def test_two_vllm_servers(vllm_python: Path, small_model: Path, prompt: np.ndarray, tmp_path: Path) -> None:
    before = shared_memory()
    (first, second), key = replicas("vllm", vllm_python, small_model, tmp_path, 2)
    fleet = ServerFleet([first, second], kind="vllm", served_name=SERVED, api_key=key, patience_seconds=30)
    everybody: set[int] = set()
    async with fleet:
        await serving(fleet, 0)
        everybody |= {*family(first.pid), *family(second.pid)}
        assert len(everybody) >= 6  # front, engine core and worker of each
        for pid in everybody:
            assert key not in " ".join(psutil.Process(pid).cmdline())
        urls = [str(state.url) for state in fleet.states()]
        assert all(map(refused_without_key, urls))
        assert (fleet.info.kind, fleet.info.context_length) == ("vllm", 1024)

        done = await ask(fleet, prompt, 16)
        assert {generation.server for generation in done} == set(urls)
        assert all(len(g.token_ids) == 200 or g.finish_reason == "stop" for g in done)
        assert len({tuple(g.token_ids.tolist()) for g in done}) == 16  # no two servers say the same

        waiting = asyncio.create_task(ask(fleet, prompt, 32, tokens=900))
        await asyncio.sleep(1.0)
        dead = first.pid
        os.kill(dead or 0, signal.SIGKILL)  # the front; its engine core and worker would live on
        assert all(len(g.token_ids) == 900 or g.finish_reason == "stop" for g in await waiting)
        await serving(fleet, 1)
        assert first.pid != dead
        assert not any(alive(pid) for pid in everybody - set(family(second.pid)))
        everybody |= set(family(first.pid))

        for pid in family(second.pid)[1:]:  # its front goes on accepting requests
            os.kill(pid, signal.SIGSTOP)
        assert all(g.token_ids.size for g in await ask(fleet, prompt, 16))
        await serving(fleet, 2)
        assert [state.restarts for state in fleet.states()] == [1, 1]
        everybody |= set(family(second.pid))
        # (Those traces now belong to the server that took them over.)
        assert {g.server for g in await ask(fleet, prompt, 16, of="new")} == {str(s.url) for s in fleet.states()}
    assert not any(map(alive, everybody))
    assert left_behind(before) == set()
    for log in (first.log, second.log):
        assert key not in log.read_text()
        assert log.read_text().count("--- start at") == 2


async def test_an_sglang_server(sglang_python: Path, small_model: Path, prompt: np.ndarray, tmp_path: Path) -> None:
    (server,), key = replicas("sglang", sglang_python, small_model, tmp_path, 1)
    fleet = ServerFleet([server], kind="sglang", served_name=SERVED, api_key=key)
    async with fleet:
        everybody = set(family(server.pid))
        for pid in everybody:
            assert key not in " ".join(psutil.Process(pid).cmdline())
        assert refused_without_key(str(fleet.states()[0].url))
        assert (fleet.info.kind, fleet.info.context_length) == ("sglang", 1024)
        # prompt and completion fill the context but for the two tokens that SGLang keeps back
        longest = 1024 - 2 - len(prompt)
        (done,) = await ask(fleet, prompt, 1, tokens=longest)
        assert done.finish_reason == "stop" or len(done.token_ids) == longest

        waiting = asyncio.create_task(ask(fleet, prompt, 4, tokens=300))
        await asyncio.sleep(1.0)
        (scheduler,) = [p for p in psutil.Process(server.pid).children() if "scheduler" in " ".join(p.cmdline())]
        scheduler.kill()
        assert all(len(g.token_ids) == 300 or g.finish_reason == "stop" for g in await waiting)
        await serving(fleet, 1)
        assert not any(map(alive, everybody))
        everybody |= set(family(server.pid))
    assert not any(map(alive, everybody))
    assert key not in server.log.read_text()


def no_such_architecture(model: Path, folder: Path) -> Path:
    changed = folder / "model"
    changed.mkdir()
    for file in model.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    config = (changed / "config.json").read_text()
    (changed / "config.json").write_text(config.replace("Qwen3ForCausalLM", "NoSuchForCausalLM"))
    return changed


FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("vllm", {"extra_args": ("--no-such-flag",)}, r"it refuses an argument \(unrecognized arguments: --no-such-flag\)"),
    ("vllm", {"context_length": 100_000}, r"has a context of 5120 tokens and 100000 are wanted: lower --budget-max"),
    ("vllm", {"extra_args": ("--kv-cache-memory-bytes=100000",)}, r"too small for one completion: 1024 tokens"),
    ("sglang", {"architecture": True}, r"this sglang does not know the architecture NoSuchForCausalLM of "),
    ("sglang", {"extra_args": ("--max-total-tokens=512",)}, r"too small for one completion: 1024 tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "said"), FAILURES)
async def test_why_one_does_not_start(
    request: pytest.FixtureRequest,
    small_model: Path,
    tmp_path: Path,
    kind: str,
    changes: dict[str, Any],
    said: str,
) -> None:
    changes = dict(changes)
    model = no_such_architecture(small_model, tmp_path) if changes.pop("architecture", False) else small_model
    (server,), _ = replicas(kind, request.getfixturevalue(f"{kind}_python"), model, tmp_path, 1, **changes)
    with pytest.raises(ServerFailed, match=said) as failure:
        await server.start(lambda words: None)
    assert failure.value.tail
    assert server.pid is None


def test_ctrl_c_on_the_command_leaves_nothing_and_it_goes_on(
    vllm_python: Path, small_model: Path, tmp_path: Path
) -> None:
    arguments = [
        *("sample", "--model", str(small_model), "--benchmark", "residue_search_tiny", "--n", "40"),
        *("--budget-max", "300", "--out", "run", "--engine", "vllm", "--engine-python", str(vllm_python)),
        *("--gpus", "0", "--gpu-memory", "0.05", "--concurrency", "16"),
    ]
    command = [sys.executable, "-c", "from extrap_eval.cli import main; main()", *arguments]
    process = subprocess.Popen([*command, "--replicas", "2"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: at_work(tmp_path / "run"))
    members = family(process.pid)
    assert len(members) >= 1 + 2 * 4  # a guardian, a front, an engine core and a worker for each replica
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert not any(map(alive, members))
    assert re.search(r"^0 of 2 servers ready: .+ \(\d+ s\)$", said, re.MULTILINE)
    kept = len(open_run(tmp_path / "run").keys())
    assert 0 < kept < 480

    process = subprocess.Popen([*command, "--replicas", "1"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: process.poll() is not None or len(family(process.pid)) >= 5)
    members = family(process.pid)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert gone(members, seconds=1)
    run = open_run(tmp_path / "run")
    stored = [(c.problem_id, c.sample_index) for c in run.completions(columns=[])]
    assert len(stored) == len(set(stored)) == 480
    assert run.missing() == []
    assert run.copies(at_least=200) < 0.05 * 480  # a few by chance; servers of one seed would repeat all
    engines = [invocation["engine"] for invocation in run.manifest.invocations]
    assert [len(engine["commands"]) for engine in engines] == [2, 1]


def at_work(run: Path) -> bool:
    journal = run / "completions" / "rollout" / "journal.jsonl"
    return journal.exists() and journal.stat().st_size > 0


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 1800
    while not condition():
        if process.poll() is not None:
            raise AssertionError(process.stderr.read() if process.stderr else "")
        assert time.monotonic() < deadline
        time.sleep(0.1)

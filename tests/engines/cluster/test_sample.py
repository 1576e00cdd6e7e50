"""The command on two nodes with real vLLM servers: the same record as without Ray, a node lost, a driver killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from extrap_eval.store import Run, open_run
from tests.cli.conftest import Command
from tests.engine_servers import EngineServer
from tests.engines.cluster.conftest import Cluster
from tests.engines.cluster.ray_nodes import RayNode

START_SECONDS = 600
RUN_SECONDS = 1200  # on a machine that others use too
GONE_SECONDS = 60


def promised(run: Run) -> list[tuple[str, int]]:
    return sorted((problem.id, index) for problem in run.problems() for index in range(run.n))


def stored(run: Run) -> list[tuple[str, int]]:
    return sorted((c.problem_id, c.sample_index) for c in run.completions(columns=[]))


def servers_of(*nodes: RayNode) -> list[psutil.Process]:
    """Guardians, API servers and engines that descend from these nodes."""
    found = []
    for node in nodes:
        for process in node.processes():
            try:
                words = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if "guardian.py" in words or "vllm" in words.lower():
                found.append(process)
    return found


def wait_for(what: str, holds: Callable[[], Any], seconds: float, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, f"the command ended before {what}"
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


@pytest.fixture
def arguments(small_model: Path, cluster: Cluster, engine_python: Path) -> list[str]:
    """All that the command needs to sample on the cluster, but --n and --out."""
    return [
        *("sample", "--model", str(small_model), "--benchmark", "residue_search_tiny", "--budget-max", "512", "--json"),
        *("--engine", "ray:vllm", "--ray-address", cluster.address, "--engine-python", str(engine_python)),
        *("--gpu-memory", "0.05", "--concurrency", "32"),
    ]


@pytest.fixture
def start(tmp_path: Path, arguments: list[str]) -> Callable[..., subprocess.Popen[bytes]]:
    """The command in the background; what it says is in stderr.txt."""

    def begin(*more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", "from extrap_eval.cli import main; main()", *arguments, *more],
            cwd=tmp_path,
            stdout=(tmp_path / "stdout.txt").open("wb"),
            stderr=(tmp_path / "stderr.txt").open("wb"),
        )

    return begin


def test_sample_and_score_make_the_same_record_as_without_ray(
    cluster: Cluster, command: Command, arguments: list[str], vllm_server: EngineServer, tmp_path: Path
) -> None:
    without = ["--engine", "http", "--endpoint", vllm_server.url]
    here = arguments.index("--engine")
    done = command(*arguments[:here], *without, "--n", 4, "--out", "alone")
    assert done.returncode == 0, done.stderr
    vllm_server.kill()  # its core is needed now

    done = command(*arguments, "--n", 4, "--out", "cluster", timeout=START_SECONDS)
    assert done.returncode == 0, done.stderr
    assert servers_of(*cluster.nodes) == []  # with the command, everything of it has ended
    alone, on_ray = open_run(tmp_path / "alone"), open_run(tmp_path / "cluster")
    assert stored(on_ray) == promised(on_ray) == stored(alone) == promised(alone)
    assert on_ray.manifest.distribution == alone.manifest.distribution
    completions = list(on_ray.completions())
    assert {c.token_source for c in completions} == {"engine"}
    assert all(c.n_tokens == 512 or c.finish_reason == "stop" for c in completions)
    assert 1 <= len({c.server for c in completions}) <= 2  # the first may be through before the second is up
    assert on_ray.copies(at_least=64) < 0.1 * len(on_ray.keys())  # and not from the same seed
    (entry,) = on_ray.manifest.invocations
    assert entry["engine"]["kind"] == "vllm"
    assert len(entry["engine"]["commands"]) in (1, 2)
    logs = sorted(path.name for path in (tmp_path / "cluster" / "servers").iterdir())
    assert logs == ["vllm-0.log", "vllm-1.log"]

    for run, more in ((alone, ()), (on_ray, ("--ray", "--ray-address", cluster.address))):
        done = command("score", run.path, *more, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["samples"] == 48
    table = on_ray.token_table()
    assert table is not None
    assert all("mod" in table.decode(c.token_ids) for c in completions)  # it really works on the problem


def test_a_node_lost_in_the_middle_costs_nothing(
    cluster: Cluster, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = start("--n", "48", "--out", "run")
    try:

        def both_work() -> bool:
            journal = tmp_path / "run" / "completions" / "rollout" / "journal.jsonl"
            if not journal.exists():
                return False
            lines = journal.read_text().splitlines()[:-1]
            return len({json.loads(line)["record"]["server"] for line in lines}) == 2

        wait_for("completions of both nodes", both_work, START_SECONDS, process)
        lost = servers_of(cluster.nodes[-1])
        assert lost
        cluster.lose()
        before = len(stored(open_run(tmp_path / "run")))
        psutil.wait_procs(lost, timeout=GONE_SECONDS)
        assert not [p for p in lost if p.is_running()], "servers outlived their node"
        assert process.wait(timeout=RUN_SECONDS) == 0, (tmp_path / "stderr.txt").read_text()
    finally:
        process.kill()
        process.wait()
    run = open_run(tmp_path / "run")
    assert before < len(promised(run))  # it was lost in the middle indeed
    assert stored(run) == promised(run)
    assert any(c.attempts > 1 for c in run.completions(columns=[]))  # what it had was sampled elsewhere
    cluster.grow()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_dies_leaves_nothing_on_the_nodes(
    cluster: Cluster, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, how: signal.Signals
) -> None:
    process = start("--n", "2", "--out", "run")
    try:
        # In the middle of starting, when there is most to leave behind.
        wait_for("servers on both nodes", lambda: all(map(servers_of, cluster.nodes)), START_SECONDS, process)
        os.kill(process.pid, how)
        code = process.wait(timeout=GONE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert code == (-how if how == signal.SIGKILL else 130)
    deadline = time.monotonic() + GONE_SECONDS  # what was just being started may still come, and must go as well
    while servers_of(*cluster.nodes) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert servers_of(*cluster.nodes) == []

"""Forcing and probing with a real vLLM server: they finish, survive kill -9, and keep exactly what was promised."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from extrap_eval.sampling.following import missing_jobs, stored_traces
from extrap_eval.steps.forcing import audit_table, plan_forcing
from extrap_eval.steps.probe_curves import probe_votes
from extrap_eval.steps.probes import plan_probes
from extrap_eval.store import Run, open_run
from tests.cli.conftest import Command
from tests.engine_servers import EngineServer

KILLS = 10
FORCE = ("--extensions", "2", "--extension-tokens", "200", "--answers-after", "0,1,2", "--answer-tokens", "300")
PROBE = ("--group-size", "4", "--answer-tokens", "300")


def sample(command: Command, server: EngineServer, n: int) -> None:
    done = command(
        *("sample", "--model", str(server.model_path), "--benchmark", "residue_search_tiny", "--n", n),
        *("--budget-max", 700, "--endpoint", server.url, "--concurrency", 48, "--out", "run", "--json"),
    )
    assert done.returncode == 0, done.stderr


def follow_arguments(what: str, server: EngineServer, options: tuple[str, ...], replicates: int) -> list[str]:
    return [
        *(what, "run", *options, "--replicates", str(replicates)),
        *("--endpoint", server.url, "--concurrency", "48", "--json"),
    ]


def growth(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "completions").glob("*/journal.jsonl"))


def kill_while_at_work(arguments: list[str], folder: Path, seconds: float) -> bool:
    """Start the command, wait until something new is on disk and a while longer, kill it; whether it was at work."""
    before = growth(folder / "run")
    process = subprocess.Popen(
        [sys.executable, "-c", "from extrap_eval.cli import main; main()", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None and growth(folder / "run") <= before:
        time.sleep(0.02)
    time.sleep(seconds)
    at_work = process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return at_work


def places(run: Run, stages: tuple[str, ...]) -> set[tuple[object, ...]]:
    found = [(stage, *item.place) for stage in stages for item in run.completions(stage, columns=[])]
    assert len(found) == len(set(found))
    return set(found)


def test_forcing_and_probing_finish_and_say_something(
    command: Command, vllm_server: EngineServer, tmp_path: Path
) -> None:
    sample(command, vllm_server, n=4)
    forced = command(*follow_arguments("force", vllm_server, FORCE, replicates=2))
    assert forced.returncode == 0, forced.stderr
    probed = command(*follow_arguments("probe", vllm_server, PROBE, replicates=4))
    assert probed.returncode == 0, probed.stderr
    run = open_run(tmp_path / "run")
    (variant,) = run.variants("force")
    pieces = list(run.completions(variant.name))
    assert {item.step for item in pieces} == {1, 2}
    table = run.token_table()
    assert table is not None
    traces = {(trace.problem_id, trace.sample_index): trace for trace in stored_traces(run)}
    for item in pieces:
        assert item.n_tokens <= 200
        assert item.prompt_tokens == len(traces[item.key].prompt) + (item.prefix_tokens or 0)
    audit = audit_table(run)
    assert audit["traces"].tolist() == [48, 48]
    votes = probe_votes(run).query("p == 1").sort_values("group")
    assert votes["value"].iloc[-1] > votes["value"].iloc[0]  # thinking helps
    # A trace's requests share its prefix: most prompt tokens of the probes came from the server's cache.
    (probes,) = run.variants("probe-episodes")
    items = list(run.completions(probes.name, columns=[]))
    cached = sum(item.cached_tokens or 0 for item in items) / sum(item.prompt_tokens for item in items)
    print(f"\n{len(items)} probes, {cached:.0%} of their prompt tokens from the cache")
    assert cached > 0.5


def test_ten_kills_lose_and_double_nothing(command: Command, vllm_server: EngineServer, tmp_path: Path) -> None:
    sample(command, vllm_server, n=4)
    moments = random.Random(5)
    run = open_run(tmp_path / "run")
    plans = {
        "force": plan_forcing(
            run, extensions=2, extension_tokens=200, answers_after=[0, 1, 2], answer_tokens=300, replicates=8
        ),
        "probe": plan_probes(run, group_size=4, answer_tokens=300, replicates=8),
    }
    options = {"force": FORCE, "probe": PROBE}
    killed_at_work = 0
    for what, plan in plans.items():
        arguments = follow_arguments(what, vllm_server, options[what], replicates=8)
        kept = 0
        for _ in range(KILLS // 2):
            killed_at_work += kill_while_at_work(arguments, tmp_path, moments.uniform(0.0, 1.0))
            now = len(places(open_run(run.path), plan.protocol.stages))
            assert now >= kept  # nothing that was on disk is gone
            kept = now
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
        run = open_run(run.path)
        assert run.variants(plan.kind)[0].name == plan.name
        found = places(run, plan.protocol.stages)
        assert kept + json.loads(done.stdout)["finished"] == len(found)
        assert list(missing_jobs(run, [plan.protocol])) == []
        expected = sum(plan.protocol.most(trace) for trace in stored_traces(run))
        assert len(found) == expected  # no cap on the thought: no chain ends early
        print(f"\n{what}: {kept} of {len(found)} kept over {KILLS // 2} kills")
    assert killed_at_work >= KILLS // 2

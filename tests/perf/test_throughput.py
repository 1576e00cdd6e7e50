"""``sample`` on two replicas beside vLLM's own serving benchmark client: same prompts, lengths and concurrency.

What is compared is the whole of sampling, every completion checked and on disk, with a client that throws its answers
away. The two take turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from extrap_eval.engines.http import HttpEngine
from extrap_eval.engines.servers.layout import this_machine
from extrap_eval.sampling.rollouts import sample_rollouts
from extrap_eval.steps.sample import SamplingPlan, plan_sampling, prepare_run
from tests.engine_servers import REPO, EngineServer, SglangServer, VllmServer, executable_of, python_of

pytestmark = [pytest.mark.perf, pytest.mark.engine, pytest.mark.timeout(3600)]

ROUNDS = 3
PROBLEMS = 12
BUDGET = 256


@dataclass(frozen=True)
class Measured:
    """``cpu``: seconds of processor time of the client; ``most_at_once``: requests."""

    requests: int
    tokens: int
    tokens_per_second: float
    cpu: float
    most_at_once: int = 0


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def replicas(
    request: pytest.FixtureRequest, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[EngineServer]]:
    """Each on a core of its own, where there are two."""
    kind = {"vllm": VllmServer, "sglang": SglangServer}[request.param]
    executable, logs = executable_of(request.param), tmp_path_factory.mktemp(request.param)
    cores = this_machine().cores
    servers: list[EngineServer] = [
        kind(executable, small_model, logs / f"{i}.log", seed=i, core=cores[i % len(cores)]) for i in range(2)
    ]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(EngineServer.start, servers))
        yield servers
    finally:
        for server in servers:
            server.kill()


def plan_of(model: Path, requests: int, budget: int) -> SamplingPlan:
    return plan_sampling(str(model), "residue_search_tiny", n=-(-requests // PROBLEMS), budget_max=budget)


def ours(plan: SamplingPlan, replicas: list[EngineServer], concurrency: int, out: Path) -> Measured:
    run = prepare_run(plan, out)
    running: list[int] = []

    async def go() -> Measured:
        async with HttpEngine([server.url for server in replicas], max_in_flight=concurrency) as engine:
            began = time.process_time()
            report = await sample_rollouts(
                run, engine, concurrency=concurrency, progress=lambda snapshot: running.append(snapshot.running)
            )
            cpu = time.process_time() - began
            retries = sum(work.retries for work in engine.replicas())
        assert (report.missing, retries) == ((), 0)
        return Measured(report.finished, report.tokens, report.tokens / report.seconds, cpu, max(running))

    return asyncio.run(go())


def vllms(plan: SamplingPlan, replicas: list[EngineServer], concurrency: int) -> Measured:
    prompts = [plan.prompts[problem.id].tolist() for _ in range(plan.n) for problem in plan.problems]
    sampling = plan.model.sampling
    asked = [
        {
            "arguments": [
                *("--backend", "vllm", "--base-url", server.url, "--endpoint", "/v1/completions"),
                *("--model", server.model, "--tokenizer", str(server.model_path), "--disable-tqdm"),
                *("--max-concurrency", str(concurrency // len(replicas)), "--request-rate", "inf"),
                *("--temperature", str(sampling.temperature), "--top-p", str(sampling.top_p)),
            ],
            "prompts": prompts[i :: len(replicas)],
            "length": plan.model.max_new_tokens,
        }
        for i, server in enumerate(replicas)
    ]
    command = [str(python_of("vllm")), str(REPO / "tests/perf/bench_serve.py")]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    servers = result["servers"]
    assert sum(server["completed"] for server in servers) == len(prompts)
    return Measured(
        requests=len(prompts),
        tokens=sum(server["tokens"] for server in servers),
        # Each server's own rate: one that finishes its half early is not held against this client.
        tokens_per_second=sum(server["tokens"] / server["seconds"] for server in servers),
        cpu=result["cpu"],
    )


# Requests at once, and how often so many.
LOADS = {"vllm": [(64, 4), (256, 1)], "sglang": [(64, 1)]}


def test_sample_beside_vllms_own_client(replicas: list[EngineServer], tmp_path: Path) -> None:
    kind = "vllm" if isinstance(replicas[0], VllmServer) else "sglang"
    ratios = {}
    for concurrency, waves in LOADS[kind]:
        plan = plan_of(replicas[0].model_path, concurrency * waves, BUDGET)
        rounds = paired(plan, replicas, concurrency, tmp_path)
        ratios[concurrency] = [one.tokens_per_second / other.tokens_per_second for one, other in rounds]
        print(f"\n{rounds[0][0].requests} completions of at most {BUDGET} tokens, {concurrency} at once, 2 x {kind}")
        print(f"  {'':22}{'tokens/s':>10}{'tokens each':>13}{'client CPU per request':>24}")
        for name, measured in zip(("sample", "vllm bench serve"), zip(*rounds, strict=True), strict=True):
            rate = statistics.median(m.tokens_per_second for m in measured)
            each = sum(m.tokens for m in measured) / sum(m.requests for m in measured)
            cpu = statistics.median(m.cpu / m.requests for m in measured) * 1e3
            print(f"  {name:22}{rate:10,.0f}{each:13.1f}{cpu:21.2f} ms")
        shown = " ".join(f"{ratio:.2f}" for ratio in sorted(ratios[concurrency]))
        print(f"  ratio, paired: median {statistics.median(ratios[concurrency]):.3f} of {ROUNDS} rounds ({shown})")
    assert all(statistics.median(found) >= 0.97 for found in ratios.values())


def paired(
    plan: SamplingPlan, replicas: list[EngineServer], concurrency: int, folder: Path
) -> list[tuple[Measured, Measured]]:
    """Ours and vLLM's, in turns; the first round, which warms everything up, is left out."""
    rounds = []
    for number in range(ROUNDS + 1):
        out = folder / f"run{concurrency}-{number}"
        if number % 2:
            one = ours(plan, replicas, concurrency, out)
            other = vllms(plan, replicas, concurrency)
        else:
            other = vllms(plan, replicas, concurrency)
            one = ours(plan, replicas, concurrency, out)
        rounds.append((one, other))
    return rounds[1:]


@pytest.mark.parametrize("replicas", ["vllm"], indirect=True)
def test_a_thousand_requests_at_once(replicas: list[EngineServer], tmp_path: Path) -> None:
    plan = plan_of(replicas[0].model_path, 3000, budget=64)
    done = ours(plan, replicas, 1000, tmp_path / "run")
    print(f"\n{done.requests} completions, {done.most_at_once} requests at once, none sent twice:")
    print(f"  {done.tokens_per_second:,.0f} tokens/s, client CPU {done.cpu / done.requests * 1e3:.2f} ms per request")
    assert done.most_at_once == 1000

"""How many prompt tokens servers compute when traces are probed: in order and with affinity, and without both."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import re
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.engines.base import Generation
from extrap_eval.engines.http import HttpEngine
from extrap_eval.sampling.following import stored_traces
from extrap_eval.sampling.progress import Tally
from extrap_eval.sampling.scheduler import Job, run_graph
from extrap_eval.sampling.traces import price_of
from extrap_eval.steps.following import FollowPlan, follow
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.store import Completion, Run, open_run
from tests.engine_servers import VllmServer, executable_of

pytestmark = [pytest.mark.perf, pytest.mark.engine]

TRACES, THOUGHT_TOKENS = 24, 3000
TOGETHER = 4  # traces whose requests are in flight at once
BLOCK, CACHE_BLOCKS = (
    32,
    800,
)  # tokens in a block, blocks: about eight traces, as little as a server has room for in earnest
AT_MOST = 1.25  # times as many prompt tokens as there are different prefixes
_COMPUTED = re.compile(r'^vllm:prompt_tokens_by_source_total\{[^}]*source="local_compute"[^}]*\} ([0-9.e+]+)$', re.M)


class SmallServer(VllmServer):
    """vLLM with a cache that does not hold everything."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"VLLM_SERVER_DEV_MODE": "1"}  # for reset_prefix_cache

    def command(self) -> list[str]:
        return [*super().command(), "--num-gpu-blocks-override", str(CACHE_BLOCKS)]

    def computed(self) -> float:
        """Prompt tokens that the server computed so far, by its own count."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as response:
            return sum(float(value) for value in _COMPUTED.findall(response.read().decode()))

    def forget(self) -> None:
        request = urllib.request.Request(f"{self.url}/reset_prefix_cache", method="POST")
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200


@pytest.fixture(scope="module")
def replicas(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SmallServer]]:
    executable = executable_of("vllm")
    folder = tmp_path_factory.mktemp("vllm")
    with ExitStack() as running:
        cores = sorted(os.sched_getaffinity(0))
        servers = [
            SmallServer(executable, small_model, folder / f"{i}.log", seed=i, core=cores[i % len(cores)])
            for i in range(2)
        ]
        for server in servers:
            running.callback(server.kill)
            server.start()
        yield servers


def long_traces(path: Path, servers: Sequence[SmallServer]) -> Run:
    """A run whose thoughts are long: those of several completions of one problem, one after the other."""
    urls = [server.url for server in servers]
    plan = plan_sampling(str(servers[0].model_path), "residue_search_tiny", n=16, budget_max=700)
    short = prepare_run(plan, path / "short")
    sample(plan, short, HttpEngine(urls, model=servers[0].model), concurrency=96)
    thoughts: dict[str, list[np.ndarray]] = {}
    close = plan.tokenizer.convert_tokens_to_ids("</think>")
    for completion in short.completions():
        ids = completion.token_ids
        end = int(np.flatnonzero(ids == close)[0]) if close in ids else len(ids)
        thoughts.setdefault(completion.problem_id, []).append(ids[:end])
    n = TRACES // len(thoughts)
    plan = plan_sampling(str(servers[0].model_path), "residue_search_tiny", n=n, budget_max=THOUGHT_TOKENS)
    run = prepare_run(plan, path / "long")
    with run.writer() as writer:
        for problem_id, pieces in thoughts.items():
            for index in range(n):
                # The opening marker stays where the first of them has it.
                order = np.roll(np.arange(len(pieces)), 3 * index).tolist()
                chosen = [pieces[i] if place == 0 else pieces[i][2:] for place, i in enumerate(order)]
                ids = np.concatenate(chosen)[:THOUGHT_TOKENS].astype(np.int32)
                writer.append([Completion(problem_id, index, token_ids=ids, finish_reason="length")])
        writer.seal()
    return open_run(run.path)


def jobs_of(run: Run, plan: FollowPlan) -> dict[str, list[Job]]:
    """The probes of every trace, in order."""
    return {f"{t.problem_id}/{t.sample_index}": list(plan.protocol.jobs(t, ())) for t in stored_traces(run)}


def least_possible(jobs: Sequence[Job]) -> int:
    """Prompt tokens that a server computes at least, since it keeps whole blocks alone and always computes one token:
    the requests of one trace, in order.
    """
    computed = 0
    last = np.empty(0, dtype=np.int32)
    for job in jobs:
        prompt = job.request.prompt_token_ids
        length = min(len(last), len(prompt) - 1)
        different = np.flatnonzero(last[:length] != prompt[:length])
        shared = int(different[0]) if len(different) else length
        computed += len(prompt) - shared // BLOCK * BLOCK
        last = prompt
    return computed


async def without_order(urls: list[str], model: str, jobs: list[Job], concurrency: int) -> None:
    """The same requests in any order, to whichever server has least to do."""
    random.Random(3).shuffle(jobs)
    plain = [dataclasses.replace(job, request=dataclasses.replace(job.request, affinity="")) for job in jobs]

    async def done(job: Job, generation: Generation) -> Iterable[Job]:
        return ()

    async with HttpEngine(urls, model=model) as engine:
        report = await run_graph(plain, engine, done, concurrency=concurrency, watcher=Tally(total=len(plain)))
    assert report.failures == ()


def test_probing_computes_hardly_more_than_the_different_prefixes(replicas: list[SmallServer], tmp_path: Path) -> None:
    run = long_traces(tmp_path, replicas)
    urls, model = [server.url for server in replicas], replicas[0].model
    print(
        f"\n{TRACES} traces of {THOUGHT_TOKENS} tokens, two vLLM replicas with {BLOCK * CACHE_BLOCKS:,} tokens of cache"
    )
    head = ("groups x answers", "requests", "prompt tokens", "different", "in blocks", "in order", "ratio", "any order")
    print("  " + "".join(f"{name:>17}" for name in (*head, "ratio")))
    for groups, replicates in ((4, 4), (4, 8), (10, 8)):
        plan = plan_probes(run, groups=groups, replicates=replicates, answer_tokens=16)
        by_trace = jobs_of(run, plan)
        concurrency = TOGETHER * max(map(len, by_trace.values()))
        price = sum((price_of(jobs) for jobs in list(by_trace.values())[1:]), price_of(next(iter(by_trace.values()))))

        least = sum(map(least_possible, by_trace.values()))
        computed = {}
        for name in ("in order", "any order"):
            for server in replicas:
                server.forget()
            before = [server.computed() for server in replicas]
            if name == "in order":
                report = follow(run, [plan], HttpEngine(urls, model=model), concurrency=concurrency)
                assert report.missing == 0
            else:
                asyncio.run(
                    without_order(urls, model, [job for jobs in by_trace.values() for job in jobs], concurrency)
                )
            computed[name] = sum(server.computed() for server in replicas) - sum(before)
        ratios = {name: tokens / price.distinct_tokens for name, tokens in computed.items()}
        row = (
            f"{groups} x {replicates}",
            f"{price.requests:,}",
            f"{price.prompt_tokens:,}",
            f"{price.distinct_tokens:,}",
            f"{least:,}",
            f"{computed['in order']:,.0f}",
            f"{ratios['in order']:.2f}",
            f"{computed['any order']:,.0f}",
            f"{ratios['any order']:.2f}",
        )
        print("  " + "".join(f"{cell:>17}" for cell in row))
        assert ratios["in order"] < ratios["any order"]
        assert computed["in order"] <= AT_MOST * least
        if replicates == 4:  # with more, the last block of every prompt is a larger part of short traces
            assert ratios["in order"] <= AT_MOST

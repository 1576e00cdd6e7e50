"""The state of real servers while they work, against what they and the completions say themselves."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from extrap_eval.engines.base import Generation, GenerationRequest, ReplicaWork
from extrap_eval.engines.http import HttpEngine, standing
from tests.engine_servers import EngineServer
from tests.faults.proxy import FaultyProxy


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "POLL_SECONDS", 0.5)


async def watched(
    engine: HttpEngine, requests: list[GenerationRequest], look: Callable[[], Awaitable[None]]
) -> list[Generation]:
    """All completions; ``look`` is called many times a second meanwhile: the shortest may take a fifth of one."""
    tasks = [asyncio.create_task(engine.generate(request)) for request in requests]
    while (await asyncio.wait(tasks, timeout=0.02))[1]:
        await look()
    return [task.result() for task in tasks]


def check_speeds(seen: list[ReplicaWork], tokens: float, seconds: float) -> None:
    """The whole is about what was seen of the speed, which is not constant."""
    speeds = [work.tokens_per_second for work in seen if work.tokens_per_second is not None]
    assert 0.4 * tokens < statistics.mean(speeds) * seconds < 2.5 * tokens


def check_totals(work: ReplicaWork, got: list[Generation]) -> None:
    assert work.finished == len(got)
    assert work.tokens == sum(len(generation.token_ids) for generation in got)
    assert work.prompt_tokens == sum(generation.prompt_tokens for generation in got)
    assert work.cached_tokens == sum(generation.cached_tokens or 0 for generation in got)
    assert (work.in_flight, work.retries, work.down) == (0, 0, None)


async def test_a_working_vllm(vllm_server: EngineServer, prompt: np.ndarray) -> None:
    seen: list[ReplicaWork] = []
    generated_before = vllm_server.metric("vllm:generation_tokens_total")
    queries_before = vllm_server.metric("vllm:prefix_cache_queries_total")
    hits_before = vllm_server.metric("vllm:prefix_cache_hits_total")
    async with HttpEngine([vllm_server.url], max_in_flight=200) as engine:

        async def look() -> None:
            seen.extend(engine.replicas())

        # more than the 128 that it runs at once on a CPU
        began = time.monotonic()
        got = await watched(engine, [GenerationRequest(prompt, 400) for _ in range(200)], look)
        seconds = time.monotonic() - began
        (after,) = engine.replicas()
    check_totals(after, got)
    assert {(work.server, work.down) for work in seen} == {(vllm_server.url, None)}
    assert max(work.running or 0 for work in seen) == 128
    assert 0 < max(work.waiting or 0 for work in seen) <= 72
    assert max(work.in_flight for work in seen) == 200
    assert all((work.running or 0) + (work.waiting or 0) <= 200 for work in seen)
    assert 0 < max(work.cache_used or 0 for work in seen) < 1
    generated = vllm_server.metric("vllm:generation_tokens_total") - generated_before
    assert generated == after.tokens
    check_speeds(seen, generated, seconds)
    last = next(work.cache_hit_rate for work in reversed(seen) if work.cache_hit_rate is not None)
    queries = vllm_server.metric("vllm:prefix_cache_queries_total") - queries_before
    assert last == pytest.approx((vllm_server.metric("vllm:prefix_cache_hits_total") - hits_before) / queries, abs=0.05)


async def test_a_working_sglang(sglang_server: EngineServer, prompt: np.ndarray) -> None:
    seen: list[ReplicaWork] = []
    async with HttpEngine([sglang_server.url]) as engine:

        async def look() -> None:
            seen.extend(engine.replicas())

        began = time.monotonic()
        got = await watched(engine, [GenerationRequest(prompt, 300) for _ in range(24)], look)
        seconds = time.monotonic() - began
        (after,) = engine.replicas()
    check_totals(after, got)
    assert max(work.running or 0 for work in seen) == 24
    assert {work.waiting for work in seen} <= set(range(25))
    assert 0 < max(work.cache_used or 0 for work in seen) < 1
    check_speeds(seen, after.tokens, seconds)
    assert all(work.cache_hit_rate is None or 0 <= work.cache_hit_rate < 1 for work in seen)


async def test_requests_that_failed_are_counted_where_they_failed(
    vllm_server: EngineServer, prompt: np.ndarray
) -> None:
    async with FaultyProxy(vllm_server.url) as proxy, HttpEngine([vllm_server.url, proxy.url]) as engine:
        with proxy.doing("429", times=3):
            got = await watched(engine, [GenerationRequest(prompt, 20) for _ in range(20)], lambda: asyncio.sleep(0))
        direct, through = engine.replicas()
    assert (direct.retries, through.retries) == (0, 3)
    assert direct.finished + through.finished == 20
    assert through.finished == sum(generation.server == proxy.url for generation in got) > 0


async def test_a_server_without_counters_shows_what_the_client_knows(
    vllm_server: EngineServer, prompt: np.ndarray, tokenizer: object
) -> None:
    async with HttpEngine([vllm_server.url], kind="openai", tokenizer=tokenizer) as engine:  # type: ignore[arg-type]
        seen: list[ReplicaWork] = []

        async def look() -> None:
            seen.extend(engine.replicas())

        await watched(engine, [GenerationRequest(prompt, 2500) for _ in range(8)], look)
        (after,) = engine.replicas()
    assert max(work.in_flight for work in seen) == 8
    assert {(work.running, work.waiting, work.tokens_per_second, work.cache_used) for work in seen} == {(None,) * 4}
    assert after.finished == 8
    assert after.tokens > 0

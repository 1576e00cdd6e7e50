"""What the HTTP engine costs beside a bare aiohttp loop that does nothing but send, wait and parse."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http import HttpEngine
from tests.engine_servers import REPO, VllmServer

pytestmark = pytest.mark.perf

ANSWER_TOKENS = 20_000  # about 100 kB of JSON with the text
ROUNDS = 3


@pytest.fixture
def far_server() -> Iterator[str]:
    """A loopback server in a process of its own, so that the CPU time measured here is the client's alone."""
    command = [sys.executable, "-m", "tests.engines.loopback", "vllm", str(ANSWER_TOKENS)]
    with subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


async def bare(url: str, model: str, requests: list[GenerationRequest]) -> list[int]:
    """The completion lengths, by the least code that can be had."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:

        async def one(request: GenerationRequest) -> int:
            body = {
                "model": model,
                "prompt": request.prompt_token_ids.tolist(),
                "max_tokens": request.max_tokens,
                "temperature": request.temperature,
                "top_p": request.top_p,
                "return_token_ids": True,
            }
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{url}/v1/completions", data=orjson.dumps(body), headers=headers) as response:
                return len(orjson.loads(await response.read())["choices"][0]["token_ids"])

        return await asyncio.gather(*map(one, requests))


async def through_engine(url: str, model: str, requests: list[GenerationRequest]) -> list[int]:
    async with HttpEngine([url], model=model) as engine:
        return [len(got.token_ids) for got in await asyncio.gather(*map(engine.generate, requests))]


Client = Callable[[str, str, list[GenerationRequest]], Awaitable[list[int]]]
CLIENTS: dict[str, Client] = {"bare aiohttp": bare, "HttpEngine": through_engine}


async def test_cpu_per_request(far_server: str) -> None:
    prompt = np.arange(1000, dtype=np.int32)
    requests = [GenerationRequest(prompt, ANSWER_TOKENS) for _ in range(256)]
    cpu: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(ROUNDS):
        for name, client in CLIENTS.items():
            started = time.process_time()
            lengths = await client(far_server, "tiny", requests)
            cpu[name].append((time.process_time() - started) / len(requests) * 1e3)
            assert set(lengths) == {ANSWER_TOKENS}
    best = {name: min(times) for name, times in cpu.items()}
    print("\nclient CPU per request, 256 concurrent, 1000-id prompts, 100-kB answers (best of 3 rounds)")
    for name, milliseconds in best.items():
        print(f"  {name:14} {milliseconds:6.2f} ms   x{milliseconds / best['bare aiohttp']:.2f}")
    assert best["HttpEngine"] < 5 * best["bare aiohttp"]


@pytest.mark.parametrize("concurrent", [64, 256])
async def test_throughput_against_vllm(vllm_server: VllmServer, concurrent: int) -> None:
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(ROUNDS):
        for name, client in CLIENTS.items():  # interleaved: whatever else the machine does meets both
            prompts = rng.integers(0, 256, size=(concurrent, 40), dtype=np.int32)
            requests: list[Any] = [GenerationRequest(prompt, 200, temperature=1.0, top_p=1.0) for prompt in prompts]
            started = time.perf_counter()
            lengths = await client(vllm_server.url, vllm_server.model, requests)
            rates[name].append(sum(lengths) / (time.perf_counter() - started))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\ntokens per second from one vLLM on one core, {concurrent} concurrent (median of {ROUNDS} rounds)")
    for name, rate in middle.items():
        print(f"  {name:14} {rate:8.0f}   x{rate / middle['bare aiohttp']:.2f}")
    assert middle["HttpEngine"] > 0.5 * middle["bare aiohttp"]

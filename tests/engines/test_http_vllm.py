"""The HTTP engine against a real vLLM server on the CPU."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest

from extrap_eval.engines.base import EngineError, GenerationRequest
from extrap_eval.engines.http import HttpEngine
from extrap_eval.errors import UserError
from tests.engine_servers import VllmServer
from tests.engines.conftest import QUESTION, SOLVABLE


@pytest.fixture(scope="module")
def long(prompt: np.ndarray) -> GenerationRequest:
    """A request that runs for thousands of tokens: greedy, this model searches on and on."""
    return GenerationRequest(prompt, 3500, temperature=0.0)


@pytest.fixture
async def engine(vllm_server: VllmServer) -> AsyncIterator[HttpEngine]:
    async with HttpEngine([vllm_server.url], model=vllm_server.model) as opened:
        yield opened


async def until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_the_server_is_recognised(engine: HttpEngine, vllm_server: VllmServer) -> None:
    info = engine.info
    assert (info.kind, info.model, info.context_length) == ("vllm", vllm_server.model, vllm_server.context_length)
    assert info.exact_token_ids
    assert info.version is not None
    assert info.version[0].isdigit()


async def test_ids_are_those_of_the_text(
    engine: HttpEngine, vllm_server: VllmServer, tokenizer: Any, prompt: np.ndarray
) -> None:
    got = await engine.generate(GenerationRequest(prompt, 60, temperature=0.0))
    body = {"model": vllm_server.model, "prompt": QUESTION, "max_tokens": 60, "temperature": 0.0}
    url = f"{vllm_server.url}/v1/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        said = await response.json()
    assert tokenizer.decode(got.token_ids.tolist()) == said["choices"][0]["text"]
    assert (len(got.token_ids), got.finish_reason, got.prompt_tokens) == (60, "length", len(prompt))
    assert (got.token_source, got.attempts, got.server) == ("engine", 1, vllm_server.url)


async def test_it_also_serves_as_a_text_only_server(
    engine: HttpEngine, vllm_server: VllmServer, tokenizer: Any, prompt: np.ndarray
) -> None:
    request = GenerationRequest(prompt, 60, temperature=0.0)
    exact = await engine.generate(request)
    async with HttpEngine([vllm_server.url], kind="openai", tokenizer=tokenizer) as text_only:
        assert not text_only.info.exact_token_ids
        got = await text_only.generate(request)
    assert got.text == tokenizer.decode(exact.token_ids.tolist())
    assert tokenizer.decode(got.token_ids.tolist()) == got.text
    assert (got.token_source, got.finish_reason, got.prompt_tokens) == ("retokenized", "length", len(prompt))


async def test_greedy_is_deterministic_and_a_stop_token_ends_it(engine: HttpEngine, prompt: np.ndarray) -> None:
    request = GenerationRequest(prompt, 80, temperature=0.0)
    ids = (await engine.generate(request)).token_ids.tolist()
    assert (await engine.generate(request)).token_ids.tolist() == ids
    stop = next(token for i, token in enumerate(ids) if i >= 10 and token not in ids[:i])
    got = await engine.generate(dataclasses.replace(request, stop_token_ids=(stop,)))
    assert got.token_ids.tolist() == ids[: ids.index(stop) + 1]
    assert (got.finish_reason, got.stop_token_id) == ("stop", stop)


async def test_a_stop_string_ends_it_without_a_stop_token(
    engine: HttpEngine, tokenizer: Any, prompt: np.ndarray
) -> None:
    got = await engine.generate(GenerationRequest(prompt, 200, temperature=0.0, stop_strings=("mod 7",)))
    assert tokenizer.decode(got.token_ids.tolist()).endswith("mod 7")
    assert (got.finish_reason, got.stop_token_id) == ("stop", None)


async def test_the_end_token_is_kept(engine: HttpEngine, tokenizer: Any) -> None:
    solvable = np.array(tokenizer.encode(SOLVABLE, add_special_tokens=False), dtype=np.int32)
    requests = [GenerationRequest(solvable, 2500) for _ in range(12)]
    answers = await asyncio.gather(*map(engine.generate, requests))
    finished = [got for got in answers if got.finish_reason == "stop"]
    assert finished  # about 85 % do
    for got in finished:
        assert got.stop_token_id == got.token_ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in got.token_ids[:-1]
    for got in answers:
        assert got.finish_reason == "stop" or len(got.token_ids) == 2500
    assert len({got.token_ids.tobytes() for got in answers}) == 12


async def test_a_prefix_met_before_is_read_from_the_cache(engine: HttpEngine, prompt: np.ndarray) -> None:
    fresh = np.concatenate([prompt, np.arange(20, 120, dtype=np.int32)])
    first = await engine.generate(GenerationRequest(fresh[::-1].copy(), 2))
    again = await engine.generate(GenerationRequest(fresh[::-1].copy(), 2))
    assert first.cached_tokens == 0
    assert again.cached_tokens is not None
    assert 32 <= again.cached_tokens < len(fresh)


async def test_what_does_not_fit_is_refused_and_a_silent_clamp_is_detected(
    engine: HttpEngine, vllm_server: VllmServer, prompt: np.ndarray
) -> None:
    long = np.resize(prompt, vllm_server.context_length - 6)
    request = GenerationRequest(long, 100, temperature=0.0)
    with pytest.raises(UserError, match=r"4090 prompt \+ 100 completion tokens .* context of 4096"):
        await engine.generate(request)
    # As if the server had not told its context length: it answers 6 tokens and calls that "length".
    engine._info = dataclasses.replace(engine.info, context_length=None)
    with pytest.raises(UserError, match="clamps: it cut the completion at 6 of 100 tokens"):
        await engine.generate(request)


async def test_the_words_of_a_refusal_are_passed_on(engine: HttpEngine, prompt: np.ndarray) -> None:
    with pytest.raises(UserError, match="HTTP 400: temperature must be non-negative"):
        await engine.generate(GenerationRequest(prompt, 5, temperature=-1.0))


async def test_another_model_is_refused(vllm_server: VllmServer) -> None:
    with pytest.raises(UserError, match=f"serves {vllm_server.model}, not gpt-2"):
        async with HttpEngine([vllm_server.url], model="gpt-2"):
            pass


async def test_cancelling_aborts_on_the_server(
    engine: HttpEngine, vllm_server: VllmServer, long: GenerationRequest
) -> None:
    tasks = [asyncio.create_task(engine.generate(long)) for _ in range(8)]
    await until(lambda: vllm_server.metric("vllm:num_requests_running") == 8)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: vllm_server.metric("vllm:num_requests_running") == 0, seconds=5)
    assert vllm_server.metric("vllm:num_requests_waiting") == 0


async def test_the_counters_move_while_a_completion_is_still_being_made(
    engine: HttpEngine, long: GenerationRequest
) -> None:
    (endpoint,) = engine._pool.endpoints
    tasks = [asyncio.create_task(engine.generate(long)) for _ in range(8)]
    seen = set()
    while len(seen) < 4:
        assert not any(task.done() and task.result().finish_reason == "length" for task in tasks)
        seen.add(await endpoint.served.dialect.progress(endpoint.connection))
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_frozen_engine_is_lost_and_trusted_again_when_it_makes_tokens(
    vllm_server: VllmServer, prompt: np.ndarray, long: GenerationRequest
) -> None:
    async with HttpEngine([vllm_server.url], patience_seconds=6, retry_total_seconds=2) as engine:
        vllm_server.freeze()
        try:
            assert vllm_server.healthy()  # which says nothing
            with pytest.raises(EngineError, match=r"no progress for 6 s|no token within"):
                await engine.generate(long)
        finally:
            vllm_server.thaw()
        await _answers_again(engine, GenerationRequest(prompt, 20))
        await until(lambda: vllm_server.metric("vllm:num_requests_running") == 0)


async def test_a_killed_server_is_an_error_for_the_hasty_and_a_wait_for_the_patient(
    vllm_server: VllmServer, prompt: np.ndarray, long: GenerationRequest
) -> None:
    async with (
        HttpEngine([vllm_server.url], retry_total_seconds=1) as hasty,
        HttpEngine([vllm_server.url], retry_total_seconds=600) as patient,
    ):
        failing = [asyncio.create_task(hasty.generate(long)) for _ in range(4)]
        waiting = [asyncio.create_task(patient.generate(long)) for _ in range(4)]
        await until(lambda: vllm_server.metric("vllm:num_requests_running") == 8)
        await asyncio.to_thread(vllm_server.kill)
        for outcome in await asyncio.gather(*failing, return_exceptions=True):
            assert isinstance(outcome, EngineError)
            assert f"{vllm_server.url}: connection" in str(outcome)
        await asyncio.to_thread(vllm_server.start)
        survived = await asyncio.gather(*waiting)
        assert {got.attempts for got in survived} == {2}
        assert all(len(got.token_ids) > 0 for got in survived)
        await _answers_again(hasty, GenerationRequest(prompt, 20))


async def _answers_again(engine: HttpEngine, request: GenerationRequest) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            assert len((await engine.generate(request)).token_ids) > 0
            return
        except EngineError:
            assert time.monotonic() < deadline

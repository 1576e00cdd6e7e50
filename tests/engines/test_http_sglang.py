"""The HTTP engine against a real SGLang server on the CPU."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http import HttpEngine
from extrap_eval.errors import UserError
from tests.engine_servers import EngineServer


@pytest.fixture
async def engine(sglang_server: EngineServer) -> AsyncIterator[HttpEngine]:
    async with HttpEngine([sglang_server.url], model=sglang_server.model) as opened:
        yield opened


async def test_the_server_is_recognised(engine: HttpEngine, sglang_server: EngineServer) -> None:
    info = engine.info
    assert (info.kind, info.model, info.exact_token_ids) == ("sglang", sglang_server.model, True)
    assert info.context_length == sglang_server.context_length
    assert info.version


async def test_ids_in_ids_out(engine: HttpEngine, prompt: np.ndarray, tokenizer: Any) -> None:
    requests = [GenerationRequest(prompt, 60 + i, affinity=str(i)) for i in range(8)]
    made = await asyncio.gather(*map(engine.generate, requests))
    for request, generation in zip(requests, made, strict=True):
        assert 0 < len(generation.token_ids) <= request.max_tokens
        if generation.finish_reason == "length":
            assert len(generation.token_ids) == request.max_tokens
        assert generation.token_source == "engine"
        assert generation.prompt_tokens == len(prompt)
        assert "mod" in tokenizer.decode(generation.token_ids)


async def test_a_stop_token_ends_and_is_named(engine: HttpEngine, prompt: np.ndarray, tokenizer: Any) -> None:
    (paragraph,) = tokenizer.encode("\n\n", add_special_tokens=False)
    request = GenerationRequest(prompt, 200, stop_token_ids=(paragraph,))
    generation = await engine.generate(request)
    assert generation.finish_reason == "stop"
    assert generation.stop_token_id == paragraph
    assert generation.token_ids[-1] == paragraph
    assert paragraph not in generation.token_ids[:-1]


async def test_a_shared_prefix_is_found_in_the_cache(engine: HttpEngine, prompt: np.ndarray) -> None:
    request = GenerationRequest(prompt, 20, affinity="trace")
    await engine.generate(request)
    again = await engine.generate(request)
    assert again.cached_tokens is not None
    assert again.cached_tokens >= len(prompt) - 1


async def test_a_budget_beyond_the_context_is_refused_before_it_is_sent(engine: HttpEngine, prompt: np.ndarray) -> None:
    with pytest.raises(UserError, match="4096"):
        await engine.generate(GenerationRequest(prompt, 4096))

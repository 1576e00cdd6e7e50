"""Log-probabilities over HTTP: every shape that servers give them in, and those that are not the model's own."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest

from extrap_eval.engines.base import EngineError, Generation, GenerationRequest
from extrap_eval.engines.http import HttpEngine, standing
from extrap_eval.engines.http.logprobs import of_given_vllm, of_sampled_vllm
from extrap_eval.errors import UserError
from extrap_eval.scoring.distributions import condense
from tests.engines.loopback import Kind, Loopback, known

TOP = 5
PROMPT = np.array([1, 2, 3, 4], dtype=np.int32)
REQUEST = GenerationRequest(PROMPT, max_tokens=12, temperature=0.6, top_logprobs=TOP)
GIVEN = np.array([103, 104, 199, 101, 103], dtype=np.int32)  # 199 is the last of the vocabulary


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(standing, "BACKOFF_MOST", 0.5)


async def ask(server: Loopback, request: GenerationRequest) -> Generation:
    async with HttpEngine([server.url]) as engine:
        return await engine.generate(request)


def check(generation: Generation, n: int = TOP) -> None:
    lp, ids = np.log(known()), generation.token_ids
    found = generation.logprobs
    assert found is not None
    order = np.argsort(-lp)[:n]
    np.testing.assert_allclose(found.chosen, lp[ids], rtol=1e-6)
    assert (found.top_ids == order).all()
    np.testing.assert_allclose(found.top, np.tile(lp[order], (len(ids), 1)), rtol=1e-6)
    assert (found.chosen.dtype, found.top_ids.dtype, found.top.dtype) == (np.float32, np.int32, np.float32)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_of_generated_tokens(kind: Kind, flat: bool) -> None:
    async with Loopback(kind=kind, flat=flat) as server:
        got = await ask(server, REQUEST)
    check(got)
    assert len(got.token_ids) == 12
    assert len(server.asked) == 3  # two of them to see whether they are the model's own


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_of_a_completion_that_is_given(kind: Kind, flat: bool) -> None:
    request = GenerationRequest(PROMPT, len(GIVEN), top_logprobs=TOP, given_token_ids=GIVEN)
    async with Loopback(kind=kind, flat=flat) as server:
        got = await ask(server, request)
    check(got)
    assert got.token_ids.tolist() == GIVEN.tolist()
    assert (got.finish_reason, got.prompt_tokens, len(server.asked)) == ("length", 4, 1)
    sent = server.asked[0]["prompt" if kind == "vllm" else "input_ids"]
    assert sent == [*PROMPT.tolist(), *GIVEN.tolist()]


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_each_server_is_looked_at_once(kind: Kind) -> None:
    async with Loopback(kind=kind) as server, HttpEngine([server.url]) as engine:
        await asyncio.gather(*(engine.generate(REQUEST) for _ in range(10)))
    assert len(server.asked) == 12


@pytest.mark.parametrize(("kind", "how"), [("vllm", "--logprobs-mode"), ("sglang", "SGLANG_RETURN_ORIGINAL_LOGPROB=1")])
async def test_those_after_the_temperature_are_refused(kind: Kind, how: str) -> None:
    async with Loopback(kind=kind, processed=True) as server, HttpEngine([server.url]) as engine:
        with pytest.raises(UserError, match=f"after temperature or top-p.*{how}.*extrap-eval logprobs") as refused:
            await engine.generate(REQUEST)
        assert "\n" not in str(refused.value)
        given = GenerationRequest(PROMPT, len(GIVEN), top_logprobs=TOP, given_token_ids=GIVEN)
        check(await engine.generate(given))  # a prompt's have no temperature
        plain = await engine.generate(dataclasses.replace(REQUEST, top_logprobs=0))
    assert plain.logprobs is None


async def test_a_server_that_fails_while_it_is_looked_at_is_looked_at_again() -> None:
    async with Loopback(faults=["500", "ok"]) as server:
        check(await ask(server, REQUEST))


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_those_of_other_tokens_are_not_believed(kind: Kind, flat: bool) -> None:
    async with Loopback(kind=kind, flat=flat, shifted_logprobs=True) as server:
        with pytest.raises(EngineError, match="not those of the completion"):
            await ask(server, REQUEST)


async def test_a_server_without_ids_is_refused() -> None:
    class Letters:
        bos_token = None

        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            return [ord(c) for c in text]

        def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
            return "".join(map(chr, token_ids))

    async with Loopback(kind="openai") as server, HttpEngine([server.url], tokenizer=Letters()) as engine:
        with pytest.raises(UserError, match=r"top_logprobs: 5: .* no token ids.*vLLM or SGLang"):
            await engine.generate(REQUEST)
    assert server.asked == []


async def test_more_than_a_server_tells_of_is_said_with_the_mend() -> None:
    async with Loopback(faults=["logprobs 400"]) as server:
        with pytest.raises(UserError, match=r"HTTP 400: .*max allowed: 3: lower --logprobs, .* --max-logprobs 5"):
            await ask(server, REQUEST)


async def test_a_given_completion_needs_room_for_one_token_more() -> None:
    request = GenerationRequest(PROMPT, len(GIVEN), top_logprobs=TOP, given_token_ids=GIVEN)
    async with Loopback(context=10) as server:
        check(await ask(server, request))
    async with Loopback(context=9) as server:
        with pytest.raises(UserError, match="do not fit the context of 9"):
            await ask(server, request)


def long_body(tokens: int, n: int, *, given: bool) -> tuple[bytes, np.ndarray]:
    """What vLLM answers for a completion of so many tokens, over a vocabulary of 150,000."""
    rng = np.random.default_rng(0)
    top_ids = 7_500 * np.arange(n) + rng.integers(0, 7_500, (tokens, n))  # all different
    top = np.log(np.maximum(-np.sort(-rng.dirichlet(np.full(n, 0.3), tokens)), 1e-30))
    rows = [dict(zip(ids, lps, strict=True)) for ids, lps in zip(top_ids.tolist(), top.tolist(), strict=True)]
    ids = top_ids[:, 0].astype(np.int32)
    if given:
        said: Any = [
            {str(i): {"logprob": value, "rank": 1, "decoded_token": " a"} for i, value in row.items()} for row in rows
        ]
        return orjson.dumps({"choices": [{"prompt_logprobs": [None, *said]}]}), ids
    said = {
        "tokens": [f"token_id:{i}" for i in ids.tolist()],
        "token_logprobs": top[:, 0].tolist(),
        "top_logprobs": [{f"token_id:{i}": value for i, value in row.items()} for row in rows],
    }
    return orjson.dumps({"choices": [{"logprobs": said}]}), ids


@pytest.mark.perf
@pytest.mark.parametrize("given", [False, True])
def test_a_long_answer_becomes_small_arrays(given: bool) -> None:
    """A 32k-token completion with its 20 most probable tokens: bytes received, bytes kept, time and peak of memory."""
    body, ids = long_body(32_768, 20, given=given)
    read = of_given_vllm if given else of_sampled_vllm
    began = time.perf_counter()
    found = read(orjson.loads(body)["choices"][0]["prompt_logprobs" if given else "logprobs"], ids, 20)
    seconds = time.perf_counter() - began
    kept = condense(found.chosen, found.top)
    condensed = time.perf_counter() - began - seconds
    tracemalloc.start()
    read(orjson.loads(body)["choices"][0]["prompt_logprobs" if given else "logprobs"], ids, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    arrays = found.chosen.nbytes + found.top.nbytes + found.top_ids.nbytes
    print(
        f"\n{'second pass' if given else 'with the sample'}: {len(body) / 1e6:.0f} MB of JSON, {arrays / 1e6:.1f} MB "
        f"as arrays, {8 * len(kept) / 1e6:.2f} MB kept; read in {seconds:.2f} s, condensed in "
        f"{condensed:.2f} s; {peak / 1e6:.0f} MB at the peak of reading"
    )
    assert len(kept) == 32_768
    assert 20 * 8 * len(kept) < len(body)

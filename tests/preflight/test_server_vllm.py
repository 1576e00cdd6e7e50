"""The checks of a running server against a real vLLM, right and provoked to be wrong."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from extrap_eval.preflight import exchange
from tests.engine_servers import EngineServer
from tests.preflight.asking import NAMES, ask, statuses, swapped
from tests.preflight.gateway import gateway


@pytest.fixture(scope="module")
def tokenizer(small_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


async def test_all_is_well(vllm_server: EngineServer, tokenizer: Any) -> None:
    checks = await ask([vllm_server.url], tokenizer, weights=vllm_server.model_path)
    assert statuses(checks) == dict.fromkeys(NAMES, "ok"), checks
    assert f"all {len(tokenizer):,} tokens" in checks["same tokenizer"].found
    assert "<|im_end|> (" in checks["end of a completion"].found
    # 1 GiB at 2,048 bytes per token
    assert "524,288 tokens" in checks["server's cache"].found
    assert checks["server"].where == (vllm_server.url,)


async def test_a_tokenizer_in_which_two_tokens_are_exchanged(
    vllm_server: EngineServer, small_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    # Tokens that the test text does not use: only the comparison of all tokens shows them.
    other = AutoTokenizer.from_pretrained(swapped(small_model, tmp_path / "t", "Q", "Z"))
    check = (await ask([vllm_server.url], other))["same tokenizer"]
    assert check.status == "failed"
    first = min(other.convert_tokens_to_ids(["Q", "Z"]))
    assert f"token {first} is" in check.found


async def test_another_tokenizer_altogether(vllm_server: EngineServer) -> None:
    from transformers import AutoTokenizer

    from extrap_eval.reference_models import located

    other = AutoTokenizer.from_pretrained(located("package:markov"))
    checks = await ask([vllm_server.url], other)
    assert checks["same tokenizer"].status == "failed"
    assert "other token ids" in checks["same tokenizer"].found
    assert checks["token ids"].status == "failed"


async def test_a_context_that_is_too_short(vllm_server: EngineServer, tokenizer: Any) -> None:
    checks = await ask([vllm_server.url], tokenizer, budget=4096)
    assert checks["context"].status == "failed"
    assert "4,096" in checks["context"].found
    assert "--max-model-len" in str(checks["context"].mend)
    budget = int(str(checks["context"].mend).rpartition("--budget-max ")[2])
    assert (await ask([vllm_server.url], tokenizer, budget=budget))["context"].status == "ok"
    assert (await ask([vllm_server.url], tokenizer, budget=budget + 1))["context"].status == "failed"


async def test_end_tokens_that_the_model_does_not_use(vllm_server: EngineServer, tokenizer: Any) -> None:
    check = (await ask([vllm_server.url], tokenizer, end_tokens=["<|endoftext|>"]))["end of a completion"]
    assert check.status == "failed"
    assert "ended at <|im_end|> (" in check.found
    assert "<|im_end|>" in str(check.mend)


async def test_an_end_token_after_which_the_model_goes_on(
    vllm_server: EngineServer, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its last words put into its mouth the model thinks, and that is full of equations.
    monkeypatch.setattr(exchange, "_closing_words", lambda asked: np.array([], dtype=np.int32))
    (equals,) = tokenizer.encode(" =", add_special_tokens=False)
    end_tokens = ["<|im_end|>", tokenizer.convert_ids_to_tokens(equals)]
    check = (await ask([vllm_server.url], tokenizer, end_tokens=end_tokens))["end of a completion"]
    assert check.status == "failed"
    assert f"goes on after {end_tokens[1]} ({equals})" in check.found


async def test_a_server_of_another_model(vllm_server: EngineServer, tokenizer: Any) -> None:
    check = (await ask([vllm_server.url], tokenizer, weights="org/other-7B"))["served model"]
    assert check.status == "warning"
    assert "org/other-7B" in check.found
    assert str(vllm_server.model_path) in check.found


async def test_a_cache_that_is_too_small_for_what_is_wanted(vllm_server: EngineServer, tokenizer: Any) -> None:
    check = (await ask([vllm_server.url], tokenizer, concurrency=5000))["server's cache"]
    assert check.status == "warning"
    assert "5,000 are wanted" in check.found


async def test_a_server_that_is_not_there(tokenizer: Any) -> None:
    checks = await ask(["http://127.0.0.1:9"], tokenizer)
    assert checks["server"].status == "failed"
    assert "connection refused" in checks["server"].found
    assert {check.status for name, check in checks.items() if name != "server"} == {"not checked"}


def without_ids(path: str, body: Any) -> Any:
    for choice in body.get("choices", []) if isinstance(body, dict) else []:
        choice.pop("token_ids", None)
    return body


async def test_a_gateway_that_drops_token_ids(vllm_server: EngineServer, tokenizer: Any) -> None:
    async with gateway(vllm_server.url, answered=without_ids) as url:
        check = (await ask([url], tokenizer))["token ids"]
    assert check.status == "failed"
    assert "no token ids" in check.found
    assert "gateway" in str(check.mend)


async def test_a_gateway_that_refuses_prompts_of_ids(vllm_server: EngineServer, tokenizer: Any) -> None:
    def only_text(path: str, body: Any) -> Any:
        refuse = path == "/v1/completions" and not isinstance(body.get("prompt"), str)
        return web.json_response({"error": {"message": "prompt must be a string"}}, status=422) if refuse else body

    async with gateway(vllm_server.url, asked=only_text) as url:
        checks = await ask([url], tokenizer)
    assert checks["token ids"].status == "failed"
    assert "prompt must be a string" in checks["token ids"].found
    assert checks["same tokenizer"].status == "ok"
    assert {checks[name].status for name in ("end of a completion", "prefix cache")} == {"not checked"}


async def test_a_gateway_that_offers_completions_only(vllm_server: EngineServer, tokenizer: Any) -> None:
    def completions(path: str, body: Any) -> Any:
        return body if path == "/v1/completions" else web.json_response({"detail": "Not Found"}, status=404)

    async with gateway(vllm_server.url, asked=completions) as url:
        checks = await ask([url], tokenizer)
    assert checks["same tokenizer"].status == "not checked"
    assert checks["token ids"].status == "ok"


async def test_a_text_only_server_is_named_as_one(vllm_server: EngineServer, tokenizer: Any) -> None:
    checks = await ask([vllm_server.url], tokenizer, kind="openai")
    assert checks["token ids"].status == "warning"
    assert checks["end of a completion"].status == "not checked"


async def test_a_prefix_that_is_never_found_again(vllm_server: EngineServer, tokenizer: Any) -> None:
    def salted(path: str, body: Any) -> Any:
        return body | {"cache_salt": secrets.token_hex()} if path == "/v1/completions" else body

    async with gateway(vllm_server.url, asked=salted) as url:
        check = (await ask([url], tokenizer))["prefix cache"]
    assert check.status == "warning"
    assert "not found again" in check.found


async def test_a_server_that_does_not_report_cached_tokens(vllm_server: EngineServer, tokenizer: Any) -> None:
    def silent(path: str, body: Any) -> Any:
        if isinstance(body, dict) and body.get("usage"):
            body["usage"].pop("prompt_tokens_details", None)
        return body

    async with gateway(vllm_server.url, answered=silent) as url:
        check = (await ask([url], tokenizer))["prefix cache"]
    assert check.status == "warning"
    assert "--enable-prompt-tokens-details" in str(check.mend)


async def test_a_server_that_has_frozen(
    vllm_server: EngineServer, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SECONDS", 3.0)
    vllm_server.freeze()
    try:
        checks = await asyncio.wait_for(ask([vllm_server.url], tokenizer), 120)
    finally:
        vllm_server.thaw()
    assert checks["token ids"].status == "failed"
    assert "no answer" in checks["token ids"].found

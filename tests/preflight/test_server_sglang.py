"""The same checks against a real SGLang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine_servers import EngineServer
from tests.preflight.asking import NAMES, ask, statuses, swapped
from tests.preflight.gateway import gateway


@pytest.fixture(scope="module")
def tokenizer(small_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


async def test_all_is_well(sglang_server: EngineServer, tokenizer: Any) -> None:
    checks = await ask([sglang_server.url], tokenizer, weights=sglang_server.model_path)
    assert statuses(checks) == dict.fromkeys(NAMES, "ok"), checks
    assert "65,536 tokens" in checks["server's cache"].found
    assert f"all {len(tokenizer):,} tokens" in checks["same tokenizer"].found


async def test_what_is_wrong_is_found(
    sglang_server: EngineServer, tokenizer: Any, small_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(swapped(small_model, tmp_path / "t", "Q", "Z"))
    assert (await ask([sglang_server.url], other))["same tokenizer"].status == "failed"
    checks = await ask(
        [sglang_server.url], tokenizer, budget=4096, end_tokens=["<|endoftext|>"], weights="org/other-7B"
    )
    assert checks["context"].status == "failed"
    assert "--context-length" in str(checks["context"].mend)
    assert checks["end of a completion"].status == "failed"
    assert checks["served model"].status == "warning"


async def test_a_gateway_that_drops_token_ids(sglang_server: EngineServer, tokenizer: Any) -> None:
    def without_ids(path: str, body: Any) -> Any:
        return {k: v for k, v in body.items() if k != "output_ids"} if isinstance(body, dict) else body

    async with gateway(sglang_server.url, answered=without_ids) as url:
        check = (await ask([url], tokenizer))["token ids"]
    assert check.status == "failed"
    assert "no token ids" in check.found


async def test_two_addresses_of_one_seed(sglang_server: EngineServer, tokenizer: Any) -> None:
    async with gateway(sglang_server.url) as other:
        check = (await ask([sglang_server.url, other], tokenizer))["seeds"]
    assert check.status == "warning"
    assert "seed 0" in check.found
    assert "--random-seed" in str(check.mend)

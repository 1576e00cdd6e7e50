"""Two real vLLM servers that were started with one seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http import HttpEngine
from tests.engine_servers import VllmServer, executable_of
from tests.preflight.asking import ask

pytestmark = [pytest.mark.engine]


@pytest.fixture(scope="module")
def twins(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[VllmServer]]:
    folder = tmp_path_factory.mktemp("twins")
    executable = executable_of("vllm")
    servers = [VllmServer(executable, small_model, folder / f"{i}.log", seed=5, core=i % 2) for i in range(2)]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


async def test_equal_seeds_show_as_long_as_the_servers_were_asked_alike(
    twins: list[VllmServer], small_model: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_model)
    urls = [server.url for server in twins]
    checks = await ask(urls, tokenizer)
    assert checks["seeds"].status == "warning"
    assert "sample the same" in checks["seeds"].found
    assert "--seed" in str(checks["seeds"].mend)
    # One of them is asked for more: from now on they differ, and that is no fault.
    prompt = np.array(tokenizer.encode("Find the integer", add_special_tokens=False), dtype=np.int32)
    async with HttpEngine(urls[:1]) as engine:
        await engine.generate(GenerationRequest(prompt, 5, temperature=1.0))
    assert (await ask(urls, tokenizer))["seeds"].status == "ok"


async def test_servers_of_different_models_are_not_compared(twins: list[VllmServer], small_model: Path) -> None:
    from transformers import AutoTokenizer

    from tests.preflight.gateway import gateway

    def renamed(path: str, body: Any) -> Any:
        for entry in body["data"] if path == "/v1/models" else []:
            entry["id"] = "another"
        return body

    tokenizer = AutoTokenizer.from_pretrained(small_model)
    async with gateway(twins[1].url, answered=renamed) as url:
        check = (await ask([twins[0].url, url], tokenizer))["served model"]
    assert check.status == "failed"
    assert "another" in check.found

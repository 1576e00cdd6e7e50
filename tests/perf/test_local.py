"""The local engine beside transformers' own batched ``generate`` and beside vLLM: one model, one core each, one run."""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.base import Engine, GenerationRequest
from extrap_eval.engines.http import HttpEngine
from extrap_eval.engines.local import LocalEngine
from extrap_eval.problems.residue_search import residue_search
from tests.engine_servers import EngineServer

pytest.importorskip("torch")
pytestmark = [pytest.mark.perf, pytest.mark.engine, pytest.mark.timeout(3600)]

ROWS = 64
ROUNDS = 3
EQUAL = np.full(2 * ROWS, 300)
# From 60 to 600 tokens, as many in each octave, in an order that nobody knows beforehand.
TENFOLD = np.random.default_rng(0).permutation(np.geomspace(60, 600, 4 * ROWS).astype(int))
LENGTHS = {"equal lengths": EQUAL, "lengths that differ tenfold": TENFOLD}


@pytest.fixture(scope="module")
def endless_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model without an end token, so that a completion is as long as it is asked to be."""
    folder = tmp_path_factory.mktemp("endless") / "model"
    shutil.copytree(small_model, folder, copy_function=shutil.copyfile)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | {"eos_token_id": None}))
    words = json.loads((folder / "tokenizer_config.json").read_text())  # vLLM ends at the tokenizer's end token as well
    (folder / "tokenizer_config.json").write_text(json.dumps(words | {"eos_token": None}))
    return folder


@pytest.fixture(scope="module")
def vllm_process(endless_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """This file's server serves the model without an end token."""
    from tests.engine_servers import VllmServer, _serve, executable_of

    log = tmp_path_factory.mktemp("vllm") / "server.log"
    yield from _serve(VllmServer, executable_of("vllm"), endless_model, log)


@pytest.fixture(scope="module")
def tokenizer(small_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


def requests(tokenizer: Any, lengths: np.ndarray) -> list[GenerationRequest]:
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.text}], tokenize=False, add_generation_prompt=True
        )
        for problem in residue_search("test240")[: len(lengths)]
    ]
    ids = [np.array(tokenizer.encode(text, add_special_tokens=False), np.int32) for text in texts]
    return [GenerationRequest(ids[i % len(ids)], int(length)) for i, length in enumerate(lengths)]


def plain_generate(model: Any, asked: list[GenerationRequest]) -> int:
    """Batch after batch, left-padded, each until its longest is done; the tokens that were asked for."""
    import torch

    for first in range(0, len(asked), ROWS):
        batch = asked[first : first + ROWS]
        width = max(len(request.prompt_token_ids) for request in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(batch):
            ids[row, width - len(request.prompt_token_ids) :] = torch.tensor(request.prompt_token_ids.astype(np.int64))
            mask[row, width - len(request.prompt_token_ids) :] = 1
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=0.6,
            top_p=0.95,
            top_k=0,
            max_new_tokens=max(request.max_tokens for request in batch),
            pad_token_id=0,
        )
    return sum(request.max_tokens for request in asked)


def through(engine: Engine, loop: asyncio.AbstractEventLoop) -> Callable[[list[GenerationRequest]], int]:
    def run(asked: list[GenerationRequest]) -> int:
        async def go() -> int:
            return sum(len(g.token_ids) for g in await asyncio.gather(*map(engine.generate, asked)))

        return loop.run_until_complete(go())

    return run


def test_tokens_per_second(endless_model: Path, tokenizer: Any, vllm_process: EngineServer) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(endless_model, dtype=torch.bfloat16).eval()
    loop = asyncio.new_event_loop()
    local = loop.run_until_complete(LocalEngine(endless_model, dtype="bfloat16", batch_size=ROWS).__aenter__())
    http = HttpEngine([vllm_process.url], max_in_flight=ROWS)
    vllm = loop.run_until_complete(http.__aenter__())
    ways = {"generate": lambda asked: plain_generate(model, asked), "local": through(local, loop)}
    ways["vLLM"] = through(vllm, loop)
    rates: dict[tuple[str, str], list[float]] = {}
    try:
        for _ in range(ROUNDS):
            for kind, lengths in LENGTHS.items():
                for name, way in ways.items():  # interleaved: whatever else the machine does meets all
                    asked = requests(tokenizer, lengths)
                    started = time.perf_counter()
                    tokens = way(asked)
                    rates.setdefault((kind, name), []).append(tokens / (time.perf_counter() - started))
                    assert tokens == lengths.sum()
    finally:
        loop.run_until_complete(local.__aexit__(None, None, None))
        loop.run_until_complete(http.__aexit__(None, None, None))
        loop.close()
    print(f"\ntokens per second, bfloat16, {ROWS} rows, one core, median of {ROUNDS} interleaved rounds")
    ratio = {}
    for kind in LENGTHS:
        middle = {name: statistics.median(rates[kind, name]) for name in ways}
        ratio[kind] = middle["local"] / middle["generate"]
        shown = "  ".join(f"{name} {rate:6.0f}" for name, rate in middle.items())
        to_vllm = middle["local"] / middle["vLLM"]
        print(f"  {kind:28} {shown}   local/generate x{ratio[kind]:.2f}  local/vLLM x{to_vllm:.2f}")
    assert ratio["equal lengths"] >= 1.0
    assert ratio["lengths that differ tenfold"] >= 1.5

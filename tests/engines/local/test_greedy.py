"""Greedy completions are those of transformers' own ``generate``, row by row, whatever runs beside a row."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from extrap_eval.engines.base import Generation, GenerationRequest
from extrap_eval.engines.local import LocalEngine
from tests.engines.local.conftest import Folder, Reference, prompts, request
from tests.engines.local.models import BY_ROWS, END, IN_PLAIN_BATCHES

pytestmark = pytest.mark.slow


async def answers(path: Path, requests: list[GenerationRequest], **options: Any) -> list[Generation]:
    async with LocalEngine(path, dtype="float32", **options) as engine:
        return await asyncio.gather(*map(engine.generate, requests))


def one_by_one(model: Any, requests: list[GenerationRequest], ends: list[int]) -> list[list[int]]:
    found = []
    for asked in requests:
        ids = torch.tensor(asked.prompt_token_ids[None].astype(np.int64))
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=asked.max_tokens,
            eos_token_id=ends,
            pad_token_id=0,
        )
        found.append(out[0, ids.shape[1] :].tolist())
    return found


def mixed_requests(count: int) -> list[GenerationRequest]:
    """Prompts and budgets of very different lengths, some prompts more than once."""
    rng = np.random.default_rng(1)
    asked = prompts(count) + prompts(4)
    return [request(prompt, int(rng.choice([1, 2, 7, 40, 90])), temperature=0.0) for prompt in asked]


@pytest.mark.parametrize("kind", [*BY_ROWS, *IN_PLAIN_BATCHES])
async def test_equal_to_generate(folder: Folder, reference: Reference, kind: str) -> None:
    path, asked = folder(kind), mixed_requests(24)
    expected = one_by_one(reference(path), asked, [END])
    assert len({tuple(ids) for ids in expected}) > 15  # the model does say different things
    for batch_size in (5, 64):  # many more requests than rows, and all at once
        found = await answers(path, asked, batch_size=batch_size)
        assert [generation.token_ids.tolist() for generation in found] == expected
        for generation, ids, asked_for in zip(found, expected, asked, strict=True):
            stopped = ids[-1] == END
            assert generation.finish_reason == ("stop" if stopped else "length")
            assert generation.stop_token_id == (END if stopped else None)
            assert stopped or len(ids) == asked_for.max_tokens
            assert generation.prompt_tokens == len(asked_for.prompt_token_ids)


@pytest.mark.parametrize("kind", ["llama", "mamba"])
async def test_each_request_has_its_own_stop_tokens(folder: Folder, reference: Reference, kind: str) -> None:
    path = folder(kind)
    asked = [request(p, 40, temperature=0.0, stop_token_ids=(2 + i, 20 + i)) for i, p in enumerate(prompts(12))]
    expected = [one_by_one(reference(path), [one], [END, *one.stop_token_ids])[0] for one in asked]
    found = await answers(path, asked, batch_size=5)
    assert [generation.token_ids.tolist() for generation in found] == expected
    assert sum(generation.stop_token_id in one.stop_token_ids for generation, one in zip(found, asked, strict=True)) > 2


async def test_a_real_model_that_thinks_for_a_while(
    small_model: Path, prompt: np.ndarray, reference: Reference
) -> None:
    """Groups of rows grow, merge and lose rows many times here."""
    asked = [request(prompt[: len(prompt) - cut], 150 + 40 * cut, temperature=0.0) for cut in range(0, 12, 2)]
    model = reference(small_model)
    expected = one_by_one(model, asked, [model.generation_config.eos_token_id])
    found = await answers(small_model, asked, batch_size=4)
    assert [generation.token_ids.tolist() for generation in found] == expected

"""What is drawn follows the model's own probabilities, cut by top-k and top-p."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.local import given
from tests.engines.local.conftest import Folder, Reference, prompts, request
from tests.engines.local.test_greedy import answers

pytestmark = pytest.mark.slow

DRAWS = 3000


def kept(probabilities: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """The distribution that is left, by the definition."""
    order = np.argsort(-probabilities, kind="stable")
    order = order[: len(order) if top_k == -1 else top_k]
    mass = probabilities[order] / probabilities[order].sum()
    last = int(np.searchsorted(np.cumsum(mass), top_p)) + 1
    left = np.zeros_like(probabilities)
    left[order[:last]] = probabilities[order[:last]]
    return left / left.sum()


def chi_square_bound(freedom: int) -> float:
    """Exceeded with a probability of about one in a million (Wilson and Hilferty 1931)."""
    z = 4.753
    return freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, -1, 1.0), (2.0, -1, 0.9), (3.0, 40, 1.0), (2.0, 20, 0.8), (0.6, -1, 0.95)],
)
async def test_first_tokens_are_as_frequent_as_the_model_says(
    llama: Path, reference: Reference, temperature: float, top_k: int, top_p: float
) -> None:
    (prompt,) = prompts(1, seed=4)
    with torch.no_grad():
        logits = reference(llama)(torch.tensor(prompt[None].astype(np.int64))).logits[0, -1].double()
    expected = kept(torch.softmax(logits / temperature, -1).numpy(), top_k, top_p)
    asked = [request(prompt, 1, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed) for seed in range(DRAWS)]
    found = await answers(llama, asked, batch_size=500)
    counts = np.bincount([int(generation.token_ids[0]) for generation in found], minlength=len(expected))
    assert not counts[expected == 0].any()  # what is cut is never drawn
    rare = expected * DRAWS < 5
    cells = [(counts[i], expected[i]) for i in np.flatnonzero(~rare)] + [(counts[rare].sum(), expected[rare].sum())]
    statistic = sum((count - DRAWS * p) ** 2 / (DRAWS * p) for count, p in cells if p > 0)
    assert len(cells) > 2
    assert statistic < chi_square_bound(sum(p > 0 for _, p in cells) - 1)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mamba"])
async def test_log_probabilities_are_those_of_a_teacher_forced_pass(
    folder: Folder, reference: Reference, kind: str
) -> None:
    path = folder(kind)
    asked = [request(p, 25, temperature=0.8, top_p=0.9, seed=i, top_logprobs=i % 4) for i, p in enumerate(prompts(12))]
    for one, generation in zip(asked, await answers(path, asked, batch_size=5), strict=True):
        if not one.top_logprobs:
            assert generation.logprobs is None
            continue
        check_logprobs(reference(path), one.prompt_token_ids, one.top_logprobs, generation)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mamba", "mistral, window 8", "gemma2, softcap", "gpt-oss, sinks"])
async def test_a_completion_that_is_given_is_read_in_pieces_beside_running_rows(
    folder: Folder, reference: Reference, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "PIECE", 7)
    path = folder(kind)
    drawn = [request(p, 25, temperature=0.8, seed=i) for i, p in enumerate(prompts(6))]
    rng = np.random.default_rng(2)
    asked = [
        GenerationRequest(p, size, top_logprobs=3, given_token_ids=rng.integers(0, 60, size).astype(np.int32))
        for p, size in zip(prompts(6, seed=1), (1, 6, 7, 8, 40, 3), strict=True)
    ]
    both = await answers(path, [one for pair in zip(drawn, asked, strict=True) for one in pair], batch_size=5)
    for one, generation in zip(asked, both[1::2], strict=True):
        assert one.given_token_ids is not None
        assert generation.token_ids.tolist() == one.given_token_ids.tolist()
        assert (generation.finish_reason, generation.prompt_tokens) == ("length", len(one.prompt_token_ids))
        check_logprobs(reference(path), one.prompt_token_ids, 3, generation)
    alone = await answers(path, drawn, batch_size=5)
    assert [each.token_ids.tolist() for each in both[::2]] == [each.token_ids.tolist() for each in alone]


def check_logprobs(model: Any, prompt: np.ndarray, k: int, generation: Any) -> None:
    ids = np.concatenate([prompt, generation.token_ids]).astype(np.int64)
    with torch.no_grad():
        known = torch.log_softmax(model(torch.tensor(ids[None])).logits[0, len(prompt) - 1 : -1], -1)
    tokens = len(generation.token_ids)
    logprobs = generation.logprobs
    assert (logprobs.chosen.shape, logprobs.top_ids.shape, logprobs.top.shape) == ((tokens,), (tokens, k), (tokens, k))
    assert (logprobs.chosen.dtype, logprobs.top_ids.dtype, logprobs.top.dtype) == (np.float32, np.int32, np.float32)
    chosen = known[torch.arange(tokens), torch.tensor(generation.token_ids.astype(np.int64))]
    np.testing.assert_allclose(logprobs.chosen, chosen.numpy(), atol=2e-4)
    np.testing.assert_allclose(logprobs.top, known.topk(k).values.numpy(), atol=2e-4)
    np.testing.assert_allclose(
        logprobs.top, known.gather(-1, torch.tensor(logprobs.top_ids.astype(np.int64))), atol=2e-4
    )

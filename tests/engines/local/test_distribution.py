"""What is drawn follows the model's own probabilities, cut by top-k and top-p."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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

"""A seed fixes a completion; without one every completion is a fresh draw."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.local.conftest import Folder, prompts, request
from tests.engines.local.test_greedy import answers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["llama", "mamba"])
async def test_a_seed_gives_the_same_whatever_runs_beside_it(folder: Folder, kind: str) -> None:
    path = folder(kind)
    asked = [request(prompt, 30, seed=i % 7) for i, prompt in enumerate(prompts(30))]
    alone = [(await answers(path, [one]))[0].token_ids.tolist() for one in asked[:6]]
    for batch_size, others in ((3, asked), (64, asked), (64, asked[:6][::-1])):
        found = await answers(path, others, batch_size=batch_size)
        by_request = {id(one): generation.token_ids.tolist() for one, generation in zip(others, found, strict=True)}
        assert [by_request[id(one)] for one in asked[:6]] == alone


async def test_other_seeds_and_other_prompts_draw_other_numbers(llama: Path) -> None:
    (prompt,) = prompts(1)
    found = await answers(llama, [request(prompt, 12, seed=seed) for seed in range(20)])
    assert len({tuple(generation.token_ids) for generation in found}) == 20
    # One seed for all prompts: if it alone decided, every first draw would be the same number.
    found = await answers(llama, [request(prompt, 1, temperature=50.0, seed=5) for prompt in prompts(40)])
    assert len({tuple(generation.token_ids) for generation in found}) > 20


async def test_without_a_seed_no_two_are_alike(llama: Path) -> None:
    (prompt,) = prompts(1)
    found = await answers(llama, [request(prompt, 12) for _ in range(20)])
    found += await answers(llama, [request(prompt, 12) for _ in range(20)])
    assert len({tuple(generation.token_ids) for generation in found}) == 40

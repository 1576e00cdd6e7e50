"""One model through the local engine, vLLM and SGLang: the same accuracy against budget, and the same first tokens.

Engines round differently, so sampled completions differ token by token and only their distribution can be compared.
Each of the two comparisons raises a false alarm with a probability of one in a thousand and would see a difference of
eight points at one budget in about nine of ten cases (vLLM) and four of five (SGLang, which is slow here and
samples less); ``test_curve_difference`` checks the test itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.engines.base import Engine, GenerationRequest
from extrap_eval.engines.http import HttpEngine
from extrap_eval.engines.local import LocalEngine
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.sample import SamplingPlan, plan_sampling, prepare_run, sample
from extrap_eval.steps.score import ensure_scored
from tests.engine_servers import EngineServer
from tests.engines.curve_difference import CurveDifference, compare

pytest.importorskip("torch")
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]

BUDGETS = [128, 256, 512]
SAMPLES, SAMPLES_SGLANG = 24, 16  # of each of 60 problems
FALSE_ALARM = 1e-3


def plan(model: Path, n: int) -> SamplingPlan:
    return plan_sampling(
        str(model),
        "residue_search",
        n=n,
        budget_max=BUDGETS[-1],
        sampling={"temperature": 0.6, "top_p": 0.95},
    )


def correct(model: Path, engine: Engine, n: int, path: Path) -> np.ndarray:
    """bool (60, n, budgets): through sampling, store and scoring, as a user's run goes."""
    asked = plan(model, n)
    run = prepare_run(asked, path)
    report = sample(asked, run, engine, concurrency=128)
    assert report.missing == ()
    ensure_scored(path)
    return outcomes(path, BUDGETS).correct


@pytest.fixture(scope="module")
def local_correct(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("local") / "run"
    return correct(small_model, LocalEngine(small_model), SAMPLES, path)


@pytest.fixture
def shut_down_after(request: pytest.FixtureRequest) -> Iterator[None]:
    """A server that idles keeps a core busy which the next one needs."""
    yield
    for name in ("vllm_process", "sglang_process"):
        if name in request.fixturenames:
            request.getfixturevalue(name).kill()


def judge(name: str, local: np.ndarray, other: np.ndarray) -> None:
    found: CurveDifference = compare(local, other)
    print(
        f"\nlocal {local.shape[1]}, {name} {other.shape[1]} samples of each of {len(local)} problems: "
        f"p = {found.p_value:.3f}"
    )
    for i, budget in enumerate(BUDGETS):
        print(
            f"  {budget:5} tokens: {100 * local[..., i].mean():5.1f} and {100 * other[..., i].mean():5.1f}, "
            f"difference {found.points[i]:+5.1f} (standard error {found.standard_errors[i]:.1f})"
        )
    assert local[..., -1].mean() > 0.1  # a model that solves nothing could not tell engines apart
    assert found.p_value > FALSE_ALARM


def test_local_and_vllm(
    small_model: Path, local_correct: np.ndarray, shut_down_after: None, vllm_server: EngineServer, tmp_path: Path
) -> None:
    engine = HttpEngine([vllm_server.url])
    judge("vLLM", local_correct, correct(small_model, engine, SAMPLES, tmp_path / "run"))


def test_local_and_sglang(
    small_model: Path, local_correct: np.ndarray, shut_down_after: None, sglang_server: EngineServer, tmp_path: Path
) -> None:
    engine = HttpEngine([sglang_server.url])
    judge("SGLang", local_correct, correct(small_model, engine, SAMPLES_SGLANG, tmp_path / "run"))


async def greedy(engine: Engine, prompts: list[np.ndarray], tokens: int) -> list[list[int]]:
    asked = [GenerationRequest(prompt, tokens, temperature=0.0, top_p=1.0) for prompt in prompts]
    async with engine as ready:
        return [g.token_ids.tolist() for g in await asyncio.gather(*map(ready.generate, asked))]


def agreement(ours: list[int], theirs: list[int]) -> int:
    """How many tokens are equal from the beginning on."""
    same = [a == b for a, b in zip(ours, theirs, strict=False)]
    return same.index(False) if False in same else len(same)


@pytest.mark.parametrize("name", ["vllm_server", "sglang_server"])
async def test_greedy_completions_begin_alike(
    small_model: Path, request: pytest.FixtureRequest, shut_down_after: None, name: str
) -> None:
    """They part where two tokens are equally probable but for rounding, after tens of tokens; the median says so."""
    prompts = list(plan(small_model, 1).prompts.values())[:24]
    ours = await greedy(LocalEngine(small_model), prompts, 64)
    theirs = await greedy(HttpEngine([request.getfixturevalue(name).url]), prompts, 64)
    equal = sorted(agreement(a, b) for a, b in zip(ours, theirs, strict=True))
    print(f"\ngreedy tokens in common with {name}, of 64, over {len(equal)} prompts: {equal}")
    assert float(np.median(equal)) >= 16
    assert equal[len(equal) // 10] >= 1

"""The engine as the rest of the package uses it: many requests, cancelled ones, impossible ones, a model that fails."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from extrap_eval.engines.base import EngineError, GenerationRequest
from extrap_eval.engines.local import LocalEngine
from extrap_eval.engines.local import engine as engine_module
from extrap_eval.engines.local.decoder import RowDecoder
from extrap_eval.errors import UserError
from tests.engines.local.conftest import Folder, prompts, request
from tests.engines.local.models import CONTEXT, VOCABULARY

pytestmark = pytest.mark.slow


async def test_what_is_known_of_it(llama: Path, folder: Folder) -> None:
    async with LocalEngine(llama) as engine:
        info = engine.info
    assert (info.kind, info.exact_token_ids, info.context_length) == ("local", True, CONTEXT)
    assert info.version == f"transformers {version('transformers')}"
    assert info.model == llama.name  # no path of this machine
    async with LocalEngine(folder("mamba")) as engine:
        assert engine.info.context_length in (None, CONTEXT)


@pytest.mark.parametrize("kind", ["llama", "mamba"])
async def test_many_more_requests_than_rows(folder: Folder, kind: str) -> None:
    rng = np.random.default_rng(0)
    asked = [request(p, int(rng.integers(1, 40)), temperature=1.5) for p in prompts(200, longest=6)]
    async with LocalEngine(folder(kind), batch_size=8) as engine:
        found = await asyncio.gather(*map(engine.generate, asked))
        for one, generation in zip(asked, found, strict=True):
            assert 1 <= len(generation.token_ids) <= one.max_tokens
            assert generation.token_ids.dtype == np.int32
            assert generation.seconds > 0
        late = await engine.generate(asked[0])  # after a pause in which nothing ran
        assert len(late.token_ids)


@pytest.mark.parametrize("kind", ["llama", "mamba"])
async def test_cancelling_frees_the_row(folder: Folder, kind: str) -> None:
    short, long_ = (request(prompts(1)[0], n, temperature=0.0) for n in (3, CONTEXT - 40))
    async with LocalEngine(folder(kind), batch_size=1, dtype="float32") as engine:
        expected = await engine.generate(short)
        endless = [asyncio.create_task(engine.generate(replace(long_, stop_token_ids=()))) for _ in range(30)]
        await asyncio.sleep(0.05)
        for task in endless:  # one of them runs, most others wait
            task.cancel()
        after = await engine.generate(short)
        assert after.token_ids.tolist() == expected.token_ids.tolist()
        results = await asyncio.gather(*endless, return_exceptions=True)
        cancelled = sum(isinstance(result, asyncio.CancelledError) for result in results)
        assert cancelled >= 15  # a model that ends early by itself may have finished a few
        assert not engine._outstanding
        assert not engine._desk._waiting


async def test_cancelled_among_others_changes_nothing_for_them(llama: Path) -> None:
    asked = [request(prompt, 60, temperature=0.0) for prompt in prompts(40)]
    async with LocalEngine(llama, dtype="float32", batch_size=16) as engine:
        expected = [g.token_ids.tolist() for g in await asyncio.gather(*map(engine.generate, asked))]
        tasks = [asyncio.create_task(engine.generate(one)) for one in asked]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                task.cancel()
            await asyncio.sleep(0.002)
        found = await asyncio.gather(*tasks, return_exceptions=True)
    kept = [i for i, result in enumerate(found) if not isinstance(result, BaseException)]
    assert len(kept) >= 26
    assert [found[i].token_ids.tolist() for i in kept] == [expected[i] for i in kept]


async def test_the_loop_goes_on_while_the_model_works(llama: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with LocalEngine(llama) as engine:
        counter = asyncio.create_task(count())
        await asyncio.gather(*(engine.generate(request(prompt, 150)) for prompt in prompts(20)))
        counter.cancel()
    assert turns > 50


def model_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "local model"]


async def test_leaving_ends_what_runs(llama: Path) -> None:
    engine = LocalEngine(llama)
    async with engine:
        task = asyncio.create_task(engine.generate(request(prompts(1)[0], CONTEXT - 30)))
        await asyncio.sleep(0.01)
        task.cancel()
    assert not model_threads()
    with pytest.raises(RuntimeError, match="not open"):
        await engine.generate(request(prompts(1)[0]))


@pytest.mark.parametrize(("threads", "used"), [(None, 1), (2, 2)], ids=["a small model", "as told"])
async def test_threads_of_torch(llama: Path, monkeypatch: pytest.MonkeyPatch, threads: int | None, used: int) -> None:
    step, seen = RowDecoder.step, set()

    def observed(self: RowDecoder, begin: Any) -> Any:
        seen.add(torch.get_num_threads())
        return step(self, begin)

    monkeypatch.setattr(RowDecoder, "step", observed)
    before = torch.get_num_threads()
    async with LocalEngine(llama, threads=threads) as engine:
        await engine.generate(request(prompts(1)[0]))
    assert seen == {used}
    assert torch.get_num_threads() == before


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": CONTEXT - 3}, f"4 prompt \\+ {CONTEXT - 3} completion tokens.*--budget-max {CONTEXT - 4}"),
    ({"max_tokens": 0}, "max_tokens: 0"),
    ({"stop_strings": ("x",)}, "stop_strings"),
    ({"temperature": -1.0}, "temperature -1"),
    ({"top_p": 0.0}, "top_p 0"),
    ({"top_k": 0}, "top_k 0"),
    ({"top_logprobs": VOCABULARY + 1}, "top_logprobs: 65"),
    ({"given_token_ids": np.array([5, VOCABULARY], np.int32), "top_logprobs": 1}, "tokenizer"),
    ({"given_token_ids": np.full(CONTEXT, 5, np.int32), "top_logprobs": 1}, f"{CONTEXT + 4} prompt"),
    ({"prompt_token_ids": np.array([], np.int32)}, "prompt_token_ids"),
    ({"prompt_token_ids": np.array([5, VOCABULARY], np.int32)}, "tokenizer"),
]


@pytest.mark.parametrize(("fields", "said"), IMPOSSIBLE, ids=[said for _, said in IMPOSSIBLE])
async def test_impossible_requests(llama: Path, fields: dict[str, Any], said: str) -> None:
    fields = {"prompt_token_ids": np.array([5, 6, 7, 8], np.int32), "max_tokens": 4} | fields
    async with LocalEngine(llama) as engine:
        with pytest.raises(UserError, match=said) as caught:
            await engine.generate(GenerationRequest(**fields))
        assert "\n" not in str(caught.value)
        assert len((await engine.generate(request(prompts(1)[0], 4))).token_ids)  # it still works


async def test_the_whole_context_can_be_used(llama: Path) -> None:
    async with LocalEngine(llama) as engine:
        asked = [request(np.full(length, 7, np.int32), CONTEXT - length, temperature=3.0) for length in (1, 100, 255)]
        for one, generation in zip(asked, await asyncio.gather(*map(engine.generate, asked)), strict=True):
            assert generation.finish_reason == "stop" or len(generation.token_ids) == one.max_tokens


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "nowhere"}, "device nowhere"),
        ({"dtype": "int8"}, "dtype int8"),
        ({"dtype": "float33"}, "dtype float33"),
    ],
)
async def test_options_that_do_not_exist(llama: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        async with LocalEngine(llama, **options):  # type: ignore[arg-type]
            pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", ["no folder", "no config", "no weights", "cut weights", "unknown kind"])
async def test_a_model_that_cannot_be_loaded(
    llama: Path, tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read at import
    for file in llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = str(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if broken == "no folder":
        model = "nobody/no-such-model"
    elif broken == "no config":
        config.unlink()
    elif broken == "no weights":
        weights.unlink()
    elif broken == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        config.write_text(config.read_text().replace('"llama"', '"newer than this"'))
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        async with LocalEngine(model):
            pass
    assert "\n" not in str(caught.value)
    assert not model_threads()


def test_without_torch(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'extrap-eval\[local\]'"):
        LocalEngine(llama)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            UserError,
            "--concurrency 4",
        ),
        (MemoryError(), UserError, "--concurrency 4"),
        (ValueError("a bug\nwith a long tale"), EngineError, "ValueError: a bug$"),
    ],
    ids=["torch has no memory", "Python has no memory", "a bug"],
)
async def test_a_model_that_fails_fails_every_request(
    llama: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], said: str
) -> None:
    forward, passes = RowDecoder.forward, 0

    def fail_at_last(self: RowDecoder, begin: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes > 10:
            raise error
        return forward(self, begin)

    async with LocalEngine(llama, batch_size=16) as engine:
        monkeypatch.setattr(RowDecoder, "forward", fail_at_last)
        asked = [engine.generate(request(prompt, 100, temperature=0.0)) for prompt in prompts(20)]
        failed = [r for r in await asyncio.gather(*asked, return_exceptions=True) if isinstance(r, Exception)]
        assert len(failed) > 3
        for result in failed:
            assert isinstance(result, kind)
        with pytest.raises(kind, match=said):
            await engine.generate(request(prompts(1)[0]))

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from extrap_eval.errors import UserError
from extrap_eval.sampling.commit import GroupCommit
from extrap_eval.store import Completion, Run, StageWriter
from tests.store.making import completion, make_run

KEYS = [(f"p{i % 3}", i // 3) for i in range(60)]


class SlowWriter(StageWriter):
    """A writer on a slow disk that counts its appends."""

    def __init__(self, run: Run):
        inner = run.writer()
        super().__init__(inner._directory, inner._stage, inner._lock)
        self.groups: list[int] = []

    def append(self, completions: Sequence[Completion]) -> None:
        time.sleep(0.02)
        super().append(completions)
        self.groups.append(len(completions))


async def test_what_arrives_during_a_commit_shares_the_next(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=20)
    with SlowWriter(run) as writer:
        async with GroupCommit(writer) as commit:

            async def put(position: int) -> None:
                await asyncio.sleep(position * 0.001)
                await commit.put(completion(*KEYS[position]))
                stored = run.keys()
                assert KEYS[position] in stored  # on disk when it returns

            await asyncio.gather(*map(put, range(len(KEYS))))
        assert sum(writer.groups) == len(KEYS)
        assert len(writer.groups) < len(KEYS) / 3
    assert [item.key for item in run.completions()] == KEYS


async def test_the_event_loop_goes_on_during_a_commit(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=20)
    turns = 0

    async def spin() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    with SlowWriter(run) as writer:
        async with GroupCommit(writer) as commit:
            spinning = asyncio.create_task(spin())
            await commit.put(completion(*KEYS[0]))
            spinning.cancel()
    assert turns > 20


async def test_what_was_put_is_kept_though_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=20)
    with SlowWriter(run) as writer:
        async with GroupCommit(writer) as commit:
            waiting = [asyncio.create_task(commit.put(completion(*key))) for key in KEYS[:5]]
            await asyncio.sleep(0.005)  # these are being written
            waiting += [asyncio.create_task(commit.put(completion(*key))) for key in KEYS[5:10]]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    assert run.keys() == set(KEYS[:10])


async def test_it_flushes_when_it_is_left_by_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=20)
    with SlowWriter(run) as writer:
        waiting = []

        async def put_and_stop() -> None:
            async with GroupCommit(writer) as commit:
                waiting.extend(asyncio.create_task(commit.put(completion(*key))) for key in KEYS[:5])
                await asyncio.sleep(0)
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            await put_and_stop()
        await asyncio.gather(*waiting)
    assert run.keys() == set(KEYS[:5])


async def test_a_refusal_of_the_disk_reaches_everyone_who_waits(tmp_path: Path) -> None:
    class FullDisk(StageWriter):
        full = True

        def append(self, completions: Sequence[Completion]) -> None:
            if self.full:
                raise UserError("no space")
            super().append(completions)

    run = make_run(tmp_path / "run", n=20)
    inner = run.writer()
    with FullDisk(inner._directory, inner._stage, inner._lock) as writer:
        async with GroupCommit(writer) as commit:
            puts = [commit.put(completion(*key)) for key in KEYS[:4]]
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert [str(result) for result in results] == ["no space"] * 4
            writer.full = False
            await commit.put(completion(*KEYS[5]))
            await commit.seal()
    assert run.keys() == {KEYS[5]}

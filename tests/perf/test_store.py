"""How fast completions go to disk and come back, and how little memory that takes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from extrap_eval.store import Completion, Run, open_run
from tests.store.making import make_run

pytestmark = pytest.mark.perf

COUNT, TOKENS = 10_000, 2_000
GROUP = 64


def completions(count: int, tokens: int, first: int = 0) -> list[Completion]:
    """Ids that compress about as far as those of real reasoning do: one byte per token."""
    rng = np.random.default_rng(first)
    vocabulary = np.minimum(rng.zipf(1.35, size=(count, tokens)), 150_000).astype(np.int32)
    return [
        Completion(f"p{(first + i) % 30}", (first + i) // 30, token_ids=vocabulary[i], finish_reason="length")
        for i in range(count)
    ]


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def size_of(run: Run) -> int:
    return sum(path.stat().st_size for path in (run.path / "completions").rglob("*") if path.is_file())


def test_ten_thousand_completions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=30, n=COUNT // 30 + 1)
    items = completions(COUNT, TOKENS)
    raw = 4 * COUNT * TOKENS / 1e6
    print(f"\n{COUNT} completions x {TOKENS} tokens, {raw:.0f} MB of ids, {GROUP} in one commit")
    print(f"  {'':34}{'seconds':>8}{'per second':>12}{'MB/s of ids':>13}{'MB on disk':>12}")

    def report(name: str, took: float, disk: float | None = None) -> float:
        on_disk = "" if disk is None else f"{disk / 1e6:12.1f}"
        print(f"  {name:34}{took:8.2f}{COUNT / took:12.0f}{raw / took:13.0f}{on_disk}")
        return COUNT / took

    with run.writer() as writer:
        groups = [items[start : start + GROUP] for start in range(0, COUNT, GROUP)]
        rate = report("append, fsync per group", seconds(lambda: [writer.append(g) for g in groups]), size_of(run))
        few = [[item] for item in completions(200, TOKENS, COUNT)]
        one = seconds(lambda: [writer.append(group) for group in few]) * COUNT / len(few)
        report("append, fsync per completion", one)
        report("read the journal", seconds(lambda: sum(1 for _ in open_run(run.path).completions())))
        report("keys of the journal", seconds(lambda: open_run(run.path).keys()))
        report("seal", seconds(writer.seal), size_of(run))
    full = report("read the parts", seconds(lambda: sum(1 for _ in open_run(run.path).completions())))
    report("read the parts, no ids", seconds(lambda: sum(1 for _ in open_run(run.path).completions(columns=[]))))
    keys = report("keys of the parts", seconds(lambda: open_run(run.path).keys()))
    report("digest", seconds(lambda: open_run(run.path).digest()))
    assert rate > COUNT / one  # group commit is what it is for
    assert keys > 2 * full  # ids stay on disk


def test_memory_stays_flat_however_long_the_run(tmp_path: Path) -> None:
    """Peak memory of sealing and reading in a process of its own, for a run and for one four times as long."""
    print(f"\n  {'MB of ids':>10}{'seal: MB more':>15}{'read: MB more':>15}")
    grown = []
    for times in (1, 4):
        run = make_run(tmp_path / "run", count=30, n=1000)
        with run.writer() as writer:
            for block in range(5 * times):
                writer.append(completions(400, 8_000, first=400 * block))
        more = [in_a_process(run.path, action) for action in (seal, read)]
        print(f"  {5 * times * 400 * 8_000 * 4 / 1e6:10.0f}{more[0]:15.0f}{more[1]:15.0f}")
        grown.append(more)
        shutil.rmtree(run.path)
    for short, long in zip(*grown, strict=True):
        assert long < 1.5 * short + 20


def seal(run: Run) -> None:
    with run.writer() as writer:
        writer.seal()


def read(run: Run) -> None:
    for _ in run.completions():
        pass


def in_a_process(path: Path, action: Callable[[Run], None]) -> float:
    """Megabytes by which the peak of a fresh process grew."""
    from multiprocessing import Pipe

    from tests.store.writing import start

    ours, theirs = Pipe(duplex=False)
    child = start(_grow, path, action, theirs)
    grown: float = ours.recv()
    child.join()
    return grown


def _grow(path: Path, action: Callable[[Run], None], answer: object) -> None:
    import resource
    from multiprocessing.connection import Connection

    import pyarrow as pa

    assert isinstance(answer, Connection)
    pa.array([np.zeros(3, dtype=np.int32)])  # what is loaded once does not count
    before = psutil.Process(os.getpid()).memory_info().rss
    action(open_run(path))
    answer.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6)

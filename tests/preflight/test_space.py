from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.preflight.space import bytes_needed, disk_space
from extrap_eval.store import Completion
from tests.store.making import SETTINGS, make_run

Usage = namedtuple("Usage", "total used free")


def test_real_reasoning_takes_no_more_than_is_counted(fixtures_dir: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = fixtures_dir / "saturn_lighteval" / "r1_distill_qwen_1.5b_aime24.parquet"
    rows = pq.read_table(path, columns=["cont_tokens"]).to_pylist()
    completions = [
        Completion(
            f"p{i}", 0, "rollout", token_ids=np.array(row["cont_tokens"][0][0], dtype=np.int32), finish_reason="stop",
            stop_token_id=None, text=None, token_source="engine", prompt_tokens=100, cached_tokens=None, seconds=1.0,
            attempts=1, server="x",
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip
    tokens = sum(len(completion.token_ids) for completion in completions)
    run = make_run(tmp_path / "run", count=len(rows), n=1, settings=SETTINGS | {"max_tokens": 16384})
    folder = run.path / "completions" / "rollout"
    with run.writer("rollout") as writer:
        writer.append(completions)
        journal = (folder / "journal.jsonl").stat().st_size
        writer.seal()
    sealed = sum(part.stat().st_size for part in folder.glob("part-*.parquet"))
    counted = bytes_needed(1, tokens)
    assert 0.6 * counted < sealed + journal < counted
    print(f"\n{sealed / tokens:.2f} bytes per token sealed, {journal / tokens:.2f} in the journal")


@pytest.mark.parametrize(("free", "status"), [(10**12, "ok"), (30 * 10**6, "warning"), (10**6, "failed")])
def test_the_disk_is_compared_with_the_most_that_a_run_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    asked: list[Any] = []

    def usage(path: Any) -> Usage:
        asked.append(Path(path))
        return Usage(10**12, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check = disk_space(tmp_path / "not" / "there" / "yet", 480, 32_768)
    assert check.status == status
    assert asked == [tmp_path]


def test_the_journal_is_bounded_and_text_costs_more() -> None:
    assert bytes_needed(1_000_000, 32_768) < 1.02 * 1_000_000 * 32_768 + (512 << 20)
    assert bytes_needed(100, 32_768, with_text=True) > 4 * bytes_needed(100, 32_768)

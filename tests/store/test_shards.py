"""Pieces of the stored completions: put together they are the stream that one reader sees."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.errors import UserError
from extrap_eval.store import Completion, Run
from extrap_eval.store import parquet as parquet_module
from extrap_eval.store.record import Key
from extrap_eval.store.shards import list_shards
from tests.store.making import completion, content, make_run

KEYS = [(f"p{p}", i) for i in range(8) for p in range(3)]


def fill(run: Run, keys: list[Key], *, seal: bool) -> None:
    with run.writer() as writer:
        writer.append([completion(*key) for key in keys])
        if seal:
            writer.seal()


def together(run: Run) -> list[Completion]:
    """The pieces one after another, the first of equal keys."""
    found: dict[Key, Completion] = {}
    for shard in run.shards():
        for item in run.shard(shard):
            found.setdefault((item.problem_id, item.sample_index), item)
    return list(found.values())


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, len(KEYS)), max_size=3).map(sorted), group_rows=st.integers(1, 5), data=st.data())
def test_pieces_are_the_whole_in_the_same_order(
    cuts: list[int], group_rows: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_module, "ROW_GROUP_ROWS", group_rows)
        run = make_run(tmp_path_factory.mktemp("runs") / "run", n=8)
        bounds = [0, *cuts, len(KEYS)]
        for first, last in pairwise(bounds):
            fill(run, KEYS[max(0, first - 1) : last], seal=data.draw(st.booleans()))  # with a row that is there already
    assert [content(c) for c in together(run)] == [content(c) for c in run.completions(columns=["token_ids"])]


def test_a_piece_is_so_many_row_groups_of_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_module, "ROW_GROUP_ROWS", 2)
    run = make_run(tmp_path / "run", n=8)
    fill(run, KEYS[:14], seal=True)
    fill(run, KEYS[14:], seal=True)
    shards = list_shards(run.path / "completions" / "rollout", groups_per_shard=3)
    assert [(shard.file, shard.groups) for shard in shards] == [
        ("part-00000.parquet", (0, 1, 2)),
        ("part-00000.parquet", (3, 4, 5)),
        ("part-00000.parquet", (6,)),
        ("part-00001.parquet", (0, 1, 2)),
        ("part-00001.parquet", (3, 4)),
        ("journal.jsonl", ()),
    ]


def test_a_run_without_completions_has_nothing_in_its_pieces(tmp_path: Path) -> None:
    assert together(make_run(tmp_path / "run")) == []


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=8)
    fill(run, KEYS, seal=True)
    (part,) = (run.path / "completions" / "rollout").glob("part-*")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"part-00000.parquet: damaged .*run the sampling command again"):
        run.shards()

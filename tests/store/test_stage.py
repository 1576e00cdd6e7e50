from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extrap_eval.errors import UserError
from extrap_eval.store import Completion, Run
from extrap_eval.store import parquet as parquet_module
from extrap_eval.store import stage as stage_module
from extrap_eval.store.stage import part_paths
from tests.store.making import completion, content, make_run

KEYS = [(f"p{p}", i) for i in range(4) for p in range(3)]


def fill(run: Run, keys: list[tuple[str, int]], *, seal: bool = False) -> None:
    with run.writer() as writer:
        writer.append([completion(*key) for key in keys])
        if seal:
            writer.seal()


def stored(run: Run) -> list[tuple[object, ...]]:
    return [content(item) for item in run.completions()]


def expected(keys: list[tuple[str, int]]) -> list[tuple[object, ...]]:
    return [content(completion(*key)) for key in keys]


def directory(run: Run) -> Path:
    return run.path / "completions" / "rollout"


def test_sealed_and_unsealed_are_one_stream(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=4)
    assert stored(run) == []
    fill(run, KEYS[:5])
    assert stored(run) == expected(KEYS[:5])
    fill(run, KEYS[5:7], seal=True)
    assert stored(run) == expected(KEYS[:7])
    fill(run, KEYS[7:9])
    assert stored(run) == expected(KEYS[:9])
    fill(run, KEYS[9:], seal=True)
    assert stored(run) == expected(KEYS)
    assert run.keys() == set(KEYS)
    assert [path.name for path in part_paths(directory(run))] == ["part-00000.parquet", "part-00001.parquet"]
    assert (directory(run) / "journal.jsonl").stat().st_size == 0


def test_missing_is_sample_major(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=3)
    fill(run, [("p1", 0), ("p0", 2)], seal=True)
    fill(run, [("p2", 1)])
    assert run.missing() == [("p0", 0), ("p2", 0), ("p0", 1), ("p1", 1), ("p1", 2), ("p2", 2)]


def test_stages_are_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer("rollout") as rollouts, run.writer("probe") as probes:
        rollouts.append([completion("p0", 0)])
        probes.append([completion("p0", 1, "probe")])
        with pytest.raises(ValueError, match="'probe' given to the writer of 'rollout'"):
            rollouts.append([completion("p0", 1, "probe")])
        with pytest.raises(RuntimeError, match="has a writer already"), run.writer("probe"):
            pass
    assert run.stages() == ["probe", "rollout"]
    assert run.keys("rollout") == {("p0", 0)}
    assert [item.stage for item in run.completions("probe")] == ["probe"]
    assert run.keys("never") == set()


def test_a_crash_between_sealing_and_emptying_the_journal_doubles_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=4)
    fill(run, KEYS[:6])
    shutil.copy(directory(run) / "journal.jsonl", tmp_path / "before")
    fill(run, [], seal=True)
    shutil.copy(tmp_path / "before", directory(run) / "journal.jsonl")
    assert stored(run) == expected(KEYS[:6])
    fill(run, [], seal=True)  # nothing new: no further part
    assert len(part_paths(directory(run))) == 1
    shutil.copy(tmp_path / "before", directory(run) / "journal.jsonl")
    fill(run, KEYS[6:8], seal=True)
    assert len(part_paths(directory(run))) == 2
    assert stored(run) == expected(KEYS[:8])


def test_a_crash_while_sealing_leaves_a_temporary_file_that_nobody_reads(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=4)
    fill(run, KEYS[:6])
    (directory(run) / ".part-00000.parquet.tmp").write_bytes(b"PAR1 half a file")
    assert stored(run) == expected(KEYS[:6])
    fill(run, [], seal=True)
    assert stored(run) == expected(KEYS[:6])
    assert sorted(path.name for path in directory(run).iterdir()) == ["journal.jsonl", "part-00000.parquet"]


def test_a_reader_under_way_misses_nothing_when_the_journal_is_sealed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=4)
    fill(run, KEYS[:3], seal=True)
    fill(run, KEYS[3:8])
    reading = run.completions()
    first = next(reading)
    fill(run, [], seal=True)
    assert [content(first), *map(content, reading)] == expected(KEYS[:8])


def test_a_damaged_journal_line_is_skipped_with_a_warning_and_counts_as_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path / "run", n=4)
    fill(run, KEYS[:6])
    path = directory(run) / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"problem_id", b"problem-id")
    path.write_bytes(b"".join(lines))
    with caplog.at_level(logging.WARNING):
        assert stored(run) == expected(KEYS[:2] + KEYS[3:6])
    assert f"{path}:3: damaged line skipped" in caplog.text
    assert KEYS[2] in run.missing()
    fill(run, [KEYS[2]], seal=True)  # the top-up, and then the damaged line is gone with the journal
    assert stored(run) == expected(KEYS[:2] + KEYS[3:6] + [KEYS[2]])


def test_a_long_journal_is_sealed_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "SEAL_BYTES", 3000)
    run = make_run(tmp_path / "run", n=4)
    for key in KEYS:
        fill(run, [key])
    assert len(part_paths(directory(run))) > 1
    assert (directory(run) / "journal.jsonl").stat().st_size < 3000
    assert stored(run) == expected(KEYS)


def test_row_groups_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_module, "ROW_GROUP_BYTES", 1 << 16)
    run = make_run(tmp_path / "run")
    ids = np.arange(1 << 13, dtype=np.int32)
    with run.writer() as writer:
        writer.append([Completion("p0", i, token_ids=ids, finish_reason="stop") for i in range(8)])
        writer.append(
            [Completion("p1", i, token_ids=ids[:1], finish_reason="stop", text="x" * 24_000) for i in range(8)]
        )
        writer.seal()
    file = pq.ParquetFile(part_paths(directory(run))[0])
    sizes = [file.read_row_group(group).nbytes for group in range(file.num_row_groups)]
    assert max(sizes) < 1.5 * (1 << 16)
    assert len(sizes) == 4 + 3
    assert len(stored(run)) == 16


def test_columns_decide_what_is_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=4)
    item = Completion("p0", 0, token_ids=np.arange(9), finish_reason="stop", text="nine")
    with run.writer() as writer:
        writer.append([item])
        writer.seal()
        writer.append([Completion("p1", 0, token_ids=np.arange(9), finish_reason="stop", text="nine")])
    for columns, ids, text in [
        (None, 9, "nine"),
        (["token_ids"], 9, None),
        (["text"], 0, "nine"),
        ([], 0, None),
        (["seconds", "n_tokens"], 0, None),
    ]:
        for got in run.completions(columns=columns):
            assert (len(got.token_ids), got.text, got.n_tokens) == (ids, text, 9)
            assert got.token_ids.dtype == np.int32
    with pytest.raises(ValueError, match="no such column: tokens"):
        run.completions(columns=["tokens"])


def test_a_completion_that_is_kept_does_not_keep_its_row_group(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=4)
    fill(run, KEYS, seal=True)
    for got in run.completions():
        assert got.token_ids.base is None


def test_digest_follows_the_content_and_not_the_order(tmp_path: Path) -> None:
    one, two, three = (make_run(tmp_path / name, n=4) for name in ("one", "two", "three"))
    fill(one, KEYS, seal=True)
    fill(two, KEYS[6:], seal=True)
    fill(two, KEYS[:6])
    assert one.digest() == two.digest()
    with three.writer() as writer:
        items = [completion(*key) for key in KEYS]
        changed = items[4].token_ids.copy()
        changed[0] += 1
        items[4] = Completion(*KEYS[4], token_ids=changed, finish_reason="stop")
        writer.append(items)
    assert three.digest() != one.digest()
    assert make_run(tmp_path / "four").digest() not in (one.digest(), three.digest())


@pytest.mark.parametrize("where", [0.1, 0.2, 0.3])  # what follows is mostly the footer
def test_a_damaged_part_is_one_line_and_replaced_after_it_is_moved_away(tmp_path: Path, where: float) -> None:
    run = make_run(tmp_path / "run", n=4)
    fill(run, KEYS[:6], seal=True)
    fill(run, KEYS[6:], seal=True)
    (path, _) = part_paths(directory(run))
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"part-00000\.parquet: damaged .*: move it out of the run directory and"):
        stored(run)
    path.rename(tmp_path / "away")
    assert run.missing() == KEYS[:6]
    fill(run, run.missing(), seal=True)
    assert sorted(stored(run)) == sorted(expected(KEYS))  # type: ignore[type-var]


def test_ids_that_fail_their_checksum_are_damage(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    fill(run, KEYS[:3], seal=True)
    (path,) = part_paths(directory(run))
    table = pq.read_table(path)
    wrong = table.set_column(
        3, table.schema.field("crc32"), pa.array([x ^ 1 for x in table.column("crc32").to_pylist()], pa.uint32())
    )
    pq.write_table(wrong, path)
    with pytest.raises(UserError, match="token ids of row 0 fail their CRC32"):
        stored(run)
    assert len(list(run.completions(columns=[]))) == 3


def test_a_writer_outside_its_context_is_refused(tmp_path: Path) -> None:
    writer = make_run(tmp_path / "run").writer()
    with pytest.raises(RuntimeError, match="not open"):
        writer.append([])

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extrap_eval.errors import UserError
from extrap_eval.store import parquet
from extrap_eval.store.parquet import RowFile, read_batches, write_rows

SCHEMA = pa.schema([pa.field("name", pa.string()), pa.field("ids", pa.list_(pa.int32()))])


def rows(count: int, length: int) -> Iterator[tuple[dict[str, Any], int]]:
    for index in range(count):
        ids = np.full(length, index, dtype=np.int32)
        yield {"name": f"row {index}", "ids": ids}, 4 * length


def read(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    return [row for batch in read_batches(path, SCHEMA, columns=columns, mend="mend it") for row in batch.to_pylist()]


def test_rows_come_back_in_order_and_in_small_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1 << 16)
    path = tmp_path / "rows.parquet"
    assert write_rows(path, SCHEMA, rows(40, 1 << 12)) == 40
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 10
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        assert table.nbytes <= 1.05 * (1 << 16)
    assert [row["name"] for row in read(path, ["name"])] == [f"row {i}" for i in range(40)]


def test_only_named_columns_are_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", SCHEMA, rows(3, 5))
    assert read(tmp_path / "rows.parquet", ["name"]) == [{"name": f"row {i}"} for i in range(3)]


def test_an_empty_file_reads_as_no_rows(tmp_path: Path) -> None:
    assert write_rows(tmp_path / "rows.parquet", SCHEMA, iter(())) == 0
    assert read(tmp_path / "rows.parquet", ["name", "ids"]) == []


def test_what_is_discarded_was_never_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    file = RowFile(path, SCHEMA)
    for row, size in rows(3, 5):
        file.add(row, size)
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_error_among_the_rows_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, SCHEMA, rows(3, 5))
    before = path.read_bytes()

    def broken() -> Iterator[tuple[dict[str, Any], int]]:
        yield from rows(2, 5)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_rows(path, SCHEMA, broken())
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.parquet"]


def test_commit_then_discard_keeps_the_file(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.parquet", SCHEMA)
    assert file.commit() == 0
    file.discard()
    assert (tmp_path / "rows.parquet").exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "damaged"),
        (lambda data: data[:-20], "damaged"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: b"PAR1" + data[4:40] + bytes(8) + data[48:], "damaged"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_name_and_the_mend(tmp_path: Path, damage: Any, reason: str) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, SCHEMA, rows(3, 50))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"rows.parquet: {reason}.*: mend it") as error:
        read(path, ["name", "ids"])
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_file_of_another_shape_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.parquet: damaged .*: mend it"):
        read(tmp_path / "nowhere.parquet", ["name"])
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet: damaged: its columns are not those"):
        read(tmp_path / "other.parquet", ["name"])


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, SCHEMA, rows(4, 60))
    good, expected = path.read_bytes(), read(path, ["name", "ids"])
    noticed = 0
    for offset in range(len(good)):
        damaged = bytearray(good)
        damaged[offset] ^= 1 << (offset % 8)
        path.write_bytes(bytes(damaged))
        try:
            assert read(path, ["name", "ids"]) == expected, offset
        except UserError:
            noticed += 1
    assert noticed > len(good) / 4  # the rest is footer text that reading does not need

from __future__ import annotations

import errno
import io
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.errors import UserError
from extrap_eval.store.journal import Journal, read_journal
from extrap_eval.store.record import encode_lines
from tests.store.making import completion

RECORDS = [completion(f"p{i % 7}", i // 7, longest=12) for i in range(24)]
LINES = encode_lines(RECORDS)
DATA = b"".join(LINES)
KEYS = [item.key for item in RECORDS]


def keys_in(data: bytes) -> tuple[list[tuple[str, int]], list[str]]:
    """Keys that a reader finds in a journal with these bytes, and its warnings."""
    file = io.BytesIO(data)
    file.name = "journal.jsonl"  # type: ignore[misc]
    warnings: list[str] = []
    rows = list(read_journal(file, warn=warnings.append))
    return [(row["problem_id"], row["sample_index"]) for row in rows], warnings


@given(st.integers(0, len(DATA)))
def test_truncated_anywhere_it_holds_the_whole_records_before(cut: int) -> None:
    whole = DATA[:cut].count(b"\n")
    keys, warnings = keys_in(DATA[:cut])
    assert keys == KEYS[:whole]
    assert warnings == []


@given(st.integers(0, len(DATA)))
def test_the_next_writer_cuts_a_torn_tail_off_and_appends_whole_records(cut: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.jsonl"
        path.write_bytes(DATA[:cut])
        whole = DATA[:cut].count(b"\n")
        journal = Journal(path)
        journal.append(RECORDS[whole:])
        journal.close()
        assert path.read_bytes() == DATA


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_one_damaged_byte_loses_at_most_the_records_it_touches(offset: int, flip: int) -> None:
    data = bytearray(DATA)
    data[offset] ^= flip
    touched = DATA[:offset].count(b"\n")  # index of the record that the byte belongs to
    lost = {KEYS[touched]}
    if DATA[offset : offset + 1] == b"\n" and touched + 1 < len(KEYS):
        lost.add(KEYS[touched + 1])  # two lines became one
    keys, warnings = keys_in(bytes(data))
    assert keys == [key for key in KEYS if key not in lost]
    torn = offset == len(DATA) - 1
    assert torn == (not warnings)
    assert all(f"journal.jsonl:{touched + 1}" in warning for warning in warnings[:1])


def test_lines_longer_than_a_block_are_found_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    long = encode_lines([completion("p", 0, longest=200_000)])[0]
    assert len(long) > 1 << 17
    path.write_bytes(long + long[:-1])
    journal = Journal(path)
    journal.close()
    assert path.read_bytes() == long


def test_size_follows_what_is_on_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.size == 0
    journal.append(RECORDS[:3])
    assert journal.size == journal.path.stat().st_size == sum(map(len, LINES[:3]))
    journal.close()
    again = Journal(journal.path)
    assert again.size == journal.size
    again.close()


def test_a_reader_under_way_still_reads_what_a_restart_removes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(RECORDS)
    with journal.path.open("rb") as file:
        journal.restart()
        journal.append(RECORDS[:2])
        assert [(row["problem_id"], row["sample_index"]) for row in read_journal(file)] == KEYS
    assert journal.path.read_bytes() == b"".join(LINES[:2])
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


@contextmanager
def small_files() -> Iterator[int]:
    """The kernel refuses to make a file larger than this many bytes (EFBIG)."""
    limit = len(DATA) // 2
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_refused_append_keeps_the_whole_records_that_fitted(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(RECORDS[:3])
    with small_files() as limit, pytest.raises(UserError) as error:
        journal.append(RECORDS[3:])  # written in part, up to the limit
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "File too large" in message
    assert "run the same command" in message
    fitting = max(count for count in range(len(LINES)) if len(b"".join(LINES[:count])) <= limit)
    assert fitting > 3
    assert path.read_bytes() == b"".join(LINES[:fitting])
    with small_files(), pytest.raises(UserError):
        journal.append(RECORDS[fitting:])
    assert path.read_bytes() == b"".join(LINES[:fitting])  # what comes after a torn line is not glued to it
    journal.close()


def test_a_journal_in_the_place_of_a_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(UserError, match=r"journal\.jsonl: cannot write: Is a directory"):
        Journal(tmp_path / "journal.jsonl")


def test_a_group_is_one_fsync_after_all_its_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    sizes: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    journal.append(RECORDS[:10])
    journal.append(RECORDS[10:])
    assert sizes == [sum(map(len, LINES[:10])), len(DATA)]
    journal.close()


def test_a_failing_fsync_acknowledges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(RECORDS[:2])

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(UserError, match="Input/output error"):
            journal.append(RECORDS[2:])
    assert journal.path.read_bytes() == b"".join(LINES[:2])
    journal.close()

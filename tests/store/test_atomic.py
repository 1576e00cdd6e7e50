from __future__ import annotations

import os
from pathlib import Path

import pytest

from extrap_eval.errors import UserError
from extrap_eval.store import atomic
from extrap_eval.store.atomic import make_directory, publish, write_bytes


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"one")

    def broken(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(path, broken)
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_refusal_of_the_system_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write: File exists: make the path writable, then run the same"):
        write_bytes(tmp_path / "file" / "below", b"")


def test_the_content_is_durable_before_the_name_and_new_directories_are_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    fsync, replace = atomic.fsync_path, os.replace

    def noted_fsync(path: Path) -> None:
        done.append(("fsync", path.name))
        fsync(path)

    def noted_replace(source: Path, target: Path) -> None:
        done.append(("rename", target.name))
        replace(source, target)

    monkeypatch.setattr(atomic, "fsync_path", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_bytes(tmp_path / "a" / "b" / "file", b"one")
    assert done == [
        ("fsync", tmp_path.name),
        ("fsync", "a"),
        ("fsync", ".file.tmp"),
        ("rename", "file"),
        ("fsync", "b"),
    ]
    done.clear()
    make_directory(tmp_path / "a" / "b")
    assert done == []

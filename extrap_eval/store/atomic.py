"""Files that appear whole or not at all, and disk errors as one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from extrap_eval.errors import UserError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_error(path: Path, error: OSError, mend: str | None = None) -> UserError:
    """What the kernel said about a file that could not be written, as one line."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if mend is None:
        first = "free some space" if error.errno in _NO_SPACE else "make the path writable"
        mend = f"{first}, then run the same command again: everything finished before is kept"
    return UserError(f"{path}: cannot write: {reason}: {mend}")


def fsync_path(path: Path) -> None:
    """Make a file's content, or the renames, creations and removals in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """A directory and those above it, all of them durable. May raise OSError."""
    absent = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for directory in reversed(absent):
        fsync_path(directory.parent)


def temporary_for(path: Path) -> Path:
    """Where a file is prepared; readers of the directory do not look there."""
    return path.with_name(f".{path.name}.tmp")


def put_in_place(path: Path) -> None:
    """Rename ``temporary_for(path)`` to ``path``; the content and then the name are durable. May raise
    OSError.
    """
    fsync_path(temporary_for(path))
    os.replace(temporary_for(path), path)
    fsync_path(path.parent)


def publish(path: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write a temporary file, then make it durable under its name.

    Raises UserError when the disk refuses; the file that was there before then still is.
    """
    try:
        make_directory(path.parent)
        try:
            fill(temporary_for(path))
            put_in_place(path)
        finally:
            temporary_for(path).unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(path, error) from error


def write_bytes(path: Path, data: bytes) -> None:
    """``publish`` for bytes at hand."""

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    publish(path, fill)

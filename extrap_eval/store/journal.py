"""The append-only journal of a stage: acknowledged means on disk.

A line counts once its newline is there. What follows the last newline is a torn write: readers ignore it, the
next writer cuts it off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from extrap_eval.store.atomic import disk_error, fsync_path, make_directory, put_in_place, temporary_for
from extrap_eval.store.record import HEAVY, Completion, DamagedRecordError, decode_line, encode_lines

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Journal:
    """The one writer of a journal file. Not safe for two threads at once."""

    def __init__(self, path: Path):
        """Opens or creates the file and cuts a torn tail off. Raises UserError when the disk refuses."""
        self.path = path
        try:
            make_directory(path.parent)
            self._descriptor = os.open(path, _FLAGS, 0o644)
            try:
                self.size = _whole_lines_end(self._descriptor)
                os.ftruncate(self._descriptor, self.size)
                os.fsync(self._descriptor)
                fsync_path(path.parent)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise disk_error(path, error) from error

    def append(self, completions: Sequence[Completion]) -> None:
        """Write all, one fsync, return: they are on disk.

        Raises UserError when the disk refuses. Where it is full, what fitted whole stays and is read like the rest.
        """
        data = memoryview(b"".join(encode_lines(completions)))
        full: OSError | None = None
        try:
            end = self.size + len(data)
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                full, end = error, _whole_lines_end(self._descriptor)
                # Without the cut, the next append would be glued to a torn line and lost with it.
                os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise disk_error(self.path, error) from error
        self.size = end
        if full is not None:
            raise disk_error(self.path, full) from full

    def restart(self) -> None:
        """Empty the journal: its content is sealed. Readers that opened it before keep what it held."""
        try:
            # A new file, not a truncated one, so that a reader under way does not lose lines it has yet to
            # read.
            empty = os.open(temporary_for(self.path), _FLAGS | os.O_TRUNC, 0o644)
            try:
                put_in_place(self.path)
            except BaseException:
                os.close(empty)
                raise
        except OSError as error:
            raise disk_error(self.path, error) from error
        os.close(self._descriptor)
        self._descriptor, self.size = empty, 0

    def close(self) -> None:
        os.close(self._descriptor)


def _whole_lines_end(descriptor: int) -> int:
    """Offset just after the last newline of a file."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def open_journal(path: Path) -> IO[bytes] | None:
    """The file for ``read_journal``, None when there is none. It stays readable when a seal removes it
    meanwhile.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def read_journal(
    file: IO[bytes], *, heavy: frozenset[str] = HEAVY, warn: Callable[[str], None] = logger.warning
) -> Iterator[dict[str, Any]]:
    """Rows of a journal in order of writing; damaged lines are skipped, each with a warning that names it."""
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            return
        try:
            row = decode_line(line, heavy=heavy)
        except DamagedRecordError as error:
            warn(f"{file.name}:{number}: damaged line skipped: {error}; its sample counts as missing")
            continue
        yield row

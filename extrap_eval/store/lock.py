"""One writer per run directory."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from extrap_eval.errors import UserError
from extrap_eval.store.atomic import disk_error


class WriterLock:
    """A kernel lock on ``.lock``; ``lock.json`` says who holds it. It goes with the process, however that
    ends.

    May be acquired several times by the same object, from any thread, and is released as often.
    """

    def __init__(self, directory: Path):
        from filelock import FileLock

        self._lock = FileLock(directory / ".lock", timeout=0, thread_local=False)
        self._directory = directory
        self._owner = directory / "lock.json"
        self.stages: set[str] = set()  # what is being written under this lock

    def acquire(self) -> None:
        """Raises UserError, naming the holder, when another process or object holds the lock."""
        from filelock import Timeout

        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(
                f"{self._directory}: another process is writing here ({self._holder()}): wait until it ends, or stop it"
            ) from None
        except OSError as error:
            raise disk_error(
                self._directory, error, "the directory must be writable, with a file system that locks"
            ) from error
        if self._lock.lock_counter == 1:
            owner = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            with suppress(OSError):  # on a full disk the lock still holds; only the message is poorer
                self._owner.write_text(json.dumps(owner) + "\n")

    def release(self) -> None:
        if self._lock.lock_counter == 1:
            self._owner.unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        try:
            owner = json.loads(self._owner.read_text())
            return f"pid {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return f"see {self._owner}"

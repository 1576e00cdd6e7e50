"""Who is there, and who is gone."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil


def alive(pid: int) -> bool:
    """A zombie is dead, whoever has still to hear of it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids: Iterable[int], seconds: float) -> bool:
    """Whether all are gone within so many seconds."""
    left = list(pids)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(alive, left)):
            return True
        time.sleep(0.05)
    return False


def family(pid: int | None) -> list[int]:
    """A process and all that descend from it."""
    assert pid is not None
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]

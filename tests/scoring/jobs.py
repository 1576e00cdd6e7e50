"""Functions for the worker tests; run inside worker processes."""

from __future__ import annotations

import os
import signal
import time


def prepare() -> None:
    pass


def double(number: int) -> int:
    return 2 * number


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def ignore_signals_and_spin() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def hold_memory(mb: int, seconds: float) -> int:
    held = [b"x" * (10 << 20) for _ in range(mb // 10)]
    time.sleep(seconds)
    return len(held)


def eat_memory_at_once(mb: int) -> int:
    return len(b"x" * (mb << 20))


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    os._exit(0)


def fail() -> None:
    raise RuntimeError("no")


def own_pid() -> int:
    return os.getpid()


def parent_pid() -> int:
    return os.getppid()

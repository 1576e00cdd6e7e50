"""What a fault is done to: two real servers, each behind a proxy, and the account of their processes and ports."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from extrap_eval.engines.base import Engine
from tests.faults.proxy import FaultyProxy


@dataclass(eq=False)
class Target:
    """One server: the proxy before it, and its first process (None while it has none)."""

    proxy: FaultyProxy
    pid: Callable[[], int | None]

    def first(self) -> list[psutil.Process]:
        """The process that was started, which answers HTTP."""
        pid = self.pid()
        return [psutil.Process(pid)] if pid is not None and psutil.pid_exists(pid) else []

    def engine(self) -> list[psutil.Process]:
        """What the first process has started, where tokens are made."""
        return [child for first in self.first() for child in first.children(recursive=True)]


def send(processes: list[psutil.Process], what: signal.Signals) -> int:
    """How many it has reached."""
    reached = 0
    for process in processes:
        try:
            process.send_signal(what)
            reached += 1
        except psutil.Error:
            pass
    return reached


class Stage(Protocol):
    """Servers that live over many runs. ``engine`` is open, and meets them through their proxies."""

    targets: list[Target]

    @property
    def engine(self) -> Engine: ...

    async def settled(self) -> None:
        """Return when every server serves."""
        ...


@dataclass
class Census:
    """Every process that descends from this one, and every port on which one of them was seen to listen.

    They are known by their working directory, which they inherit from this process and keep when their parent dies.
    (Their environment would not do: vLLM's engines write their title over it.)
    """

    directory: Path
    ports: set[int] = field(default_factory=set)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and Path(process.cwd()).is_relative_to(self.directory):
                    found.append(process)
            except psutil.Error:
                pass
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def orphans(self) -> list[psutil.Process]:
        """Those that no longer descend from this process."""
        ours = {child.pid for child in psutil.Process().children(recursive=True)}
        return [process for process in self.processes() if process.pid not in ours]

    def note_ports(self) -> None:
        for process in self.processes():
            with suppress(psutil.Error):
                self.ports |= {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}

    def open_ports(self) -> set[int]:
        listening = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        return self.ports & listening


@asynccontextmanager
async def proxies(number: int) -> AsyncIterator[list[FaultyProxy]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FaultyProxy()) for _ in range(number)]

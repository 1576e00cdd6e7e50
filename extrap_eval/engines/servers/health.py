"""Waiting until a server answers, for as long as it is getting somewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import psutil

from extrap_eval.engines.http.connection import Connection, Fault, new_session, parse_address
from extrap_eval.engines.servers.guardian import in_session
from extrap_eval.engines.servers.log import ServerLog
from extrap_eval.engines.servers.process import GuardedProcess
from extrap_eval.errors import UserError

POLL_SECONDS = 0.5
LOOK_SECONDS = 5.0
# A start that neither writes to its log nor uses its processors for so long will not come to anything.
PATIENCE_SECONDS = 900.0
_IDLE = 0.01  # of one processor


class StartStuck(Exception):
    """The server lives, does nothing, and does not answer."""


async def until_ready(
    url: str,
    api_key: str,
    process: GuardedProcess,
    log: ServerLog,
    show: Callable[[], None],
    *,
    patience: float | None = None,
) -> None:
    """Return when the server answers with health, or its process has ended (look which).

    There is no limit to how long a server may take, as loading a large model may take an hour, but it must be
    seen to work. ``show`` is called every few seconds. Raises StartStuck when nothing has happened for
    ``patience`` seconds (None: 900).
    """
    async with new_session() as session:
        connection = Connection(session, parse_address(url, api_key))
        signs = _SignsOfLife(process, log, PATIENCE_SECONDS if patience is None else patience)
        shown = 0.0
        while process.running:
            if await _healthy(connection):
                show()
                return
            signs.look()
            if time.monotonic() - shown >= LOOK_SECONDS:
                shown = time.monotonic()
                show()
            await asyncio.sleep(POLL_SECONDS)


async def _healthy(connection: Connection) -> bool:
    """Whether it says so, and takes the key, which a server of somebody else would not."""
    try:
        return await connection.get("/health") is not None and await connection.get("/v1/models") is not None
    except (Fault, UserError):
        return False


class _SignsOfLife:
    def __init__(self, process: GuardedProcess, log: ServerLog, patience: float) -> None:
        self._process = process
        self._log = log
        self._patience = patience
        self._seen = self._looked = time.monotonic()
        self._size = 0
        self._busy = 0.0

    def look(self) -> None:
        """Raises StartStuck when there has been no sign of life for too long."""
        now = time.monotonic()
        if now - self._looked < min(LOOK_SECONDS, self._patience / 4):
            return
        size, busy = self._log.size(), processor_seconds(self._process.pid)
        if size != self._size or abs(busy - self._busy) > _IDLE * (now - self._looked):
            self._seen = now
        self._size, self._busy, self._looked = size, busy, now
        if now - self._seen > self._patience:
            raise StartStuck(f"it does not answer, and has done nothing for {self._patience:.0f} s")


def processor_seconds(session: int) -> float:
    """What the living processes of a session have used."""
    total = 0.0
    for process in in_session(session):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total

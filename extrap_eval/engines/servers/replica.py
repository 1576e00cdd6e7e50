"""One server of a fleet: started until it answers, waited for until it dies, ended."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from extrap_eval.engines.servers.diagnosis import describe_end, diagnose, disqualified, is_port_taken
from extrap_eval.engines.servers.guardian import Task
from extrap_eval.engines.servers.health import StartStuck, until_ready
from extrap_eval.engines.servers.launch import LOOPBACK, ServerSpec, server_command
from extrap_eval.engines.servers.layout import Share
from extrap_eval.engines.servers.log import ServerLog, last_words, tail
from extrap_eval.engines.servers.places import Places
from extrap_eval.engines.servers.process import GuardedProcess
from extrap_eval.errors import UserError

GRACE_SECONDS = 3.0  # nothing of a server is worth waiting for longer
PORT_ATTEMPTS = 4

Say = Callable[[str], None]


class ServerFailed(Exception):
    """A server did not start, or went. ``reason`` is one line, with the mend where it is known; ``tail``: the
    last lines of its log.
    """

    def __init__(self, reason: str, tail: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tail = tail


class PortTaken(ServerFailed):
    """It would start on another port."""


class Replica(Protocol):
    """A server that can be started again and again. ``command``: that of the last start as one line without
    the key, "" before.
    """

    @property
    def name(self) -> str: ...

    @property
    def command(self) -> str: ...

    async def start(self, say: Say) -> str:
        """Return the URL once it answers; that of another start may be another. ``say`` hears what it is
        doing. Raises ServerFailed, and leaves nothing running, when it does not come up.
        """
        ...

    async def died(self) -> str:
        """Return why when the server is gone."""
        ...

    async def stop(self, *, at_once: bool = False) -> None:
        """End it and all that belongs to it; does nothing when there is nothing."""
        ...


@runtime_checkable
class Lent(Protocol):
    """What a Replica may be beside: one on a place that the replicas of another fleet may wait for."""

    def wanted(self) -> bool: ...

    def release(self) -> None:
        """Leave the place, once it is stopped; another start takes it again. Does nothing when it has none."""
        ...


class LocalReplica:
    """A server process on this machine. ``number`` names it among its fleet; ``log`` is appended to. ``places``: where
    it takes its share before it starts (None: nobody else uses it).
    """

    def __init__(
        self,
        spec: ServerSpec,
        share: Share,
        *,
        number: int,
        log: Path,
        api_key: str,
        host: str = LOOPBACK,
        places: Places | None = None,
    ) -> None:
        self.name = f"{spec.kind} {number} ({share})"
        self.command = ""
        self._spec = spec
        self._share = share
        self._log = ServerLog(log)
        self._api_key = api_key
        self._host = host
        self._port = 0
        self._launching: asyncio.Task[GuardedProcess] | None = None
        self._places = places
        self._placed = False

    @property
    def log(self) -> Path:
        return self._log.path

    @property
    def pid(self) -> int | None:
        """The first process of the server, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.running else None

    async def start(self, say: Say) -> str:
        if self._places is not None and not self._placed:
            say(f"waiting for {self._share}, where servers of another model run")
            await self._places.take(self._share, self._spec.memory_fraction)
            self._placed = True
        for _ in range(PORT_ATTEMPTS - 1):
            try:
                return await self._start_once(say)
            except PortTaken:
                self._port = 0
        return await self._start_once(say)

    async def died(self) -> str:
        assert self._process is not None
        status = await self._process.ended()
        return describe_end(status, self._log.text())

    async def stop(self, *, at_once: bool = False) -> None:
        if self._launching is None:
            return
        process = await self._launching
        await (process.kill() if at_once else process.stop())

    def wanted(self) -> bool:
        return self._places is not None and self._placed and self._places.wanted(self._share)

    def release(self) -> None:
        if self._places is not None and self._placed:
            self._placed = False
            self._places.free(self._share, self._spec.memory_fraction)

    @property
    def _process(self) -> GuardedProcess | None:
        return self._launching.result() if self._launching is not None and self._launching.done() else None

    async def _start_once(self, say: Say) -> str:
        # The port of before where it is free: requests of one trace then find the same server again.
        with reserved_port(self._host, self._port) as self._port:
            seed = secrets.randbelow(2**31)
            plan = server_command(self._spec, self._share, port=self._port, seed=seed, host=self._host)
            self.command = str(plan)
            self._begin_log()
            task = Task(list(plan.argv), plan.env, str(self.log), self._api_key, list(plan.cores), GRACE_SECONDS)
            self._launching = asyncio.create_task(GuardedProcess.launch(task))
            process = await asyncio.shield(self._launching)
            url = f"http://{self._host}:{self._port}"
            try:
                await until_ready(url, self._api_key, process, self._log, lambda: say(last_words(self._log.text())))
            except StartStuck as stuck:
                raise await self._failure(process, str(stuck)) from None
            except BaseException:
                await process.kill()
                raise
        if not process.running or disqualified(self._log.text(), self._spec):
            raise await self._failure(process, None)
        return url

    async def _failure(self, process: GuardedProcess, known: str | None) -> ServerFailed:
        status = await process.kill()
        text = self._log.text()
        reason = known or diagnose(text, self._spec) or describe_end(status, text)
        kind = PortTaken if is_port_taken(text) else ServerFailed
        return kind(f"{reason} (log: {self.log})", tail(text))

    def _begin_log(self) -> None:
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a") as file:
                file.write(f"--- start at {datetime.now().isoformat(' ', 'seconds')}: {self.command}\n")
        except OSError as error:
            raise UserError(f"{self.log}: cannot write the server's log: {error.strerror}") from None
        self._log = ServerLog(self.log)


@contextmanager
def reserved_port(host: str = LOOPBACK, wanted: int = 0) -> Iterator[int]:
    """A port for a server to listen on: ``wanted`` if nobody listens there, else a free one.

    It is held, without listening, until the block ends: the system gives it to nobody who asks for any port,
    and a server that names it (with SO_REUSEADDR, as servers do) gets it all the same.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, wanted))
        except OSError:
            held.bind((host, 0))
        port: int = held.getsockname()[1]
        yield port

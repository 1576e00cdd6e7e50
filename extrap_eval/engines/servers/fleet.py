"""Several servers of one model as one engine: started together, watched, restarted, and ended together."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from extrap_eval.engines.base import EngineInfo, Generation, GenerationRequest, ReplicaWork
from extrap_eval.engines.http.client import HttpEngine
from extrap_eval.engines.http.sizing import MOST_PER_ENDPOINT
from extrap_eval.engines.servers.launch import EngineKind
from extrap_eval.engines.servers.replica import Lent, Replica, Say, ServerFailed
from extrap_eval.errors import UserError

logger = logging.getLogger(__name__)

RESTARTS = 5  # of one replica, without a completion of its own between them
BACKOFF_SECONDS = 60.0  # the longest wait before a restart; the first is 2 s, and each is twice the last
LOOK_SECONDS = 2.0
# A server whose process lives but which the client has had to set aside for so long is restarted. (One that
# has stuck, by the client's watchdog, is restarted at once.)
ASIDE_SECONDS = 120.0
SPARE_LOOKS = 3  # in a row at which a server whose place is wanted had nothing to do

Phase = Literal["starting", "serving", "waiting", "given up", "released"]


@dataclass(frozen=True)
class ReplicaState:
    """One replica now. ``note``: what it is doing while it starts, or why it does not serve. ``url`` is None
    until its first start is through. ``restarts``: all of them so far.
    """

    name: str
    url: str | None
    phase: Phase
    note: str
    restarts: int


@dataclass(eq=False)
class _Member:
    replica: Replica
    url: str | None = None
    phase: Phase = "starting"
    note: str = ""
    restarts: int = 0
    in_a_row: int = 0
    idle_looks: int = 0
    keeper: asyncio.Task[None] | None = None


class ServerFleet:
    """An engine whose servers live as long as it is open; an asynchronous context manager.

    ``replicas`` serve the same model under ``served_name``, with ``api_key``. ``max_in_flight``: requests sent
    at once (None: as many as keep them full). ``patience_seconds``: see HttpEngine. ``restarts``: how often in a row a
    replica is started again, without one completion between, before it is given up. ``say`` hears what
    replicas do while they start; what goes wrong later is logged as a warning.

    Entering returns when the first replica serves; the others join when they are ready. It raises UserError,
    with the end of a log said before, when all of them fail at their first start. A replica that is given up
    leaves the rest at work; when the last one is, ``generate`` raises EngineError with all reasons. One that has
    nothing to do while another fleet waits for its place (``Lent``) is ended, as long as another one serves. Leaving
    ends every server.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        kind: EngineKind,
        served_name: str,
        api_key: str,
        max_in_flight: int | None = None,
        patience_seconds: float | None = None,
        restarts: int = RESTARTS,
        say: Say = lambda line: None,
    ) -> None:
        self._most_in_flight = max_in_flight or MOST_PER_ENDPOINT * len(replicas)
        self.engine = HttpEngine(
            [],
            model=served_name,
            kind=kind,
            api_key=api_key,
            max_in_flight=max_in_flight,
            patience_seconds=patience_seconds,
            supervised=True,
        )
        self._members = [_Member(replica) for replica in replicas]
        self._restarts = restarts
        self._say = say
        self._failures: list[tuple[str, ServerFailed]] = []  # first starts that failed, with the replica's name
        self._left: list[tuple[str, str]] = []  # servers to be retired, once another one serves, and why
        self._news = asyncio.Event()
        self._narrator: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.engine.__aenter__()
        try:
            for member in self._members:
                member.keeper = asyncio.create_task(self._keep(member))
            self._narrator = asyncio.create_task(self._narrate())
            await self._first_server()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def info(self) -> EngineInfo:
        commands = tuple(member.replica.command for member in self._members if member.replica.command)
        return dataclasses.replace(self.engine.info, commands=commands)

    def replicas(self) -> tuple[ReplicaWork, ...]:
        """Every replica, whatever it is at, and the addresses that some have left."""
        works = {work.server: work for work in self.engine.replicas()}
        own = []
        for member in self._members:
            work = works.pop(member.url or "", None) or ReplicaWork(member.url or member.replica.name)
            aside = ": ".join(filter(None, (member.phase, member.note)))
            down = work.down if member.phase == "serving" else aside
            own.append(dataclasses.replace(work, name=member.replica.name, down=down))
        return (*own, *works.values())

    def states(self) -> tuple[ReplicaState, ...]:
        return tuple(ReplicaState(m.replica.name, m.url, m.phase, m.note, m.restarts) for m in self._members)

    def in_flight_limit(self) -> int:
        return self.engine.in_flight_limit()

    def in_flight_most(self) -> int:
        return self._most_in_flight

    async def generate(self, request: GenerationRequest) -> Generation:
        generation = await self.engine.generate(request)
        for member in self._members:
            if member.url == generation.server:
                member.in_a_row = 0
        return generation

    async def _first_server(self) -> None:
        while not any(member.phase == "serving" for member in self._members):
            if self._none_starts():
                name, failure = self._failures[0]
                for line in failure.tail:
                    self._say(f"  | {line}")
                raise UserError(f"{name}: {failure.reason}")
            await self._news.wait()
            self._news.clear()

    def _none_starts(self) -> bool:
        return len(self._failures) == len(self._members) and all(member.url is None for member in self._members)

    async def _keep(self, member: _Member) -> None:
        """Have one replica serve, again and again, until it is given up."""
        replica = member.replica
        while True:
            try:
                await self._serve(member)
                lost = await self._lost(member)
                if lost is None:
                    await self._let_go(member)
                    return
                reason = lost
            except Exception as error:  # whatever it is, the other replicas go on
                failure = error if isinstance(error, ServerFailed) else ServerFailed(str(error) or repr(error))
                reason = failure.reason
                if member.restarts == 0 and member.url is None:
                    self._failures.append((replica.name, failure))
            self._turn(member, "waiting", reason)
            if member.url is not None:
                self.engine.suspect(member.url, f"{replica.name}: {reason}")
            await replica.stop(at_once=True)
            if self._none_starts():
                self._turn(member, "given up", reason)
                _release(replica)
                return
            if member.in_a_row >= self._restarts:
                self._give_up(member, reason)
                _release(replica)
                return
            pause = min(BACKOFF_SECONDS, 2.0 ** (member.in_a_row + 1))
            member.in_a_row += 1
            member.restarts += 1
            again = f"restart {member.in_a_row} of {self._restarts} in {pause:.0f} s"
            self._turn(member, "waiting", f"{reason}; {again}")
            logger.warning("%s: %s; %s", replica.name, reason, again)
            await asyncio.sleep(pause)

    async def _serve(self, member: _Member) -> None:
        """Start it and give it to the client."""

        def say(words: str) -> None:
            member.note = words

        self._turn(member, "starting", "")
        url = await member.replica.start(say)
        await self.engine.add(url)
        if member.url is not None and member.url != url:
            self._left.append((member.url, f"{member.replica.name}: it moved to {url}"))
        member.url = url
        self._retire_those_left()
        self._turn(member, "serving", "")

    async def _narrate(self) -> None:
        """Say how far the first starts are, whenever that has changed."""
        began = asyncio.get_running_loop().time()
        said = ""
        while any(member.phase == "starting" for member in self._members):
            await asyncio.sleep(LOOK_SECONDS)
            starting = [member for member in self._members if member.phase == "starting"]
            ready = sum(member.phase == "serving" for member in self._members)
            notes = Counter(member.note for member in starting if member.note)
            doing = f": {notes.most_common(1)[0][0]}" if notes else ""
            line = f"{ready} of {len(self._members)} servers ready{doing}"
            if line != said:
                self._say(f"{line} ({asyncio.get_running_loop().time() - began:.0f} s)")
                said = line

    async def _lost(self, member: _Member) -> str | None:
        """Return why when it has died, or lives and does not work; None when it is to make room."""
        died = asyncio.create_task(member.replica.died())
        try:
            while not (await asyncio.wait({died}, timeout=LOOK_SECONDS))[0]:
                if useless := self._useless(member.url):
                    return useless
                if self._is_spare(member):
                    return None
            return died.result()
        finally:
            died.cancel()

    def _useless(self, url: str | None) -> str | None:
        for server in self.engine.servers():
            if server.url == url and server.down is not None and server.down_since is not None:
                aside = asyncio.get_running_loop().time() - server.down_since
                if server.stuck or aside > ASIDE_SECONDS:
                    return server.down
        return None

    def _is_spare(self, member: _Member) -> bool:
        """Whether it has had nothing to do for some looks, another fleet waits for its place, and others serve."""
        wanted = isinstance(member.replica, Lent) and member.replica.wanted()
        idle = wanted and any(w.server == member.url and w.in_flight == 0 for w in self.engine.replicas())
        member.idle_looks = member.idle_looks + 1 if idle else 0
        others = any(other is not member and other.phase == "serving" for other in self._members)
        return others and member.idle_looks >= SPARE_LOOKS

    async def _let_go(self, member: _Member) -> None:
        reason = "ended: nothing was left for it to do, and the next model's server waited for its place"
        self._turn(member, "released", reason)
        self.engine.retire(member.url or "", f"{member.replica.name}: {reason}")
        await member.replica.stop()
        _release(member.replica)

    def _give_up(self, member: _Member, reason: str) -> None:
        name = member.replica.name
        final = f"{reason}; given up after {member.in_a_row} restarts without a completion between them"
        self._turn(member, "given up", final)
        logger.warning("%s: %s", name, final)
        left = [m for m in self._members if m.phase not in ("given up", "released")]
        if member.url is not None:
            self._left.append((member.url, f"{name}: {final}"))
        # The client fails everything once its last server is retired: not while another one is on its way.
        if not left or any(m.phase == "serving" for m in left):
            self._retire_those_left()

    def _retire_those_left(self) -> None:
        for url, why in self._left:
            self.engine.retire(url, why)
        self._left.clear()

    def _turn(self, member: _Member, phase: Phase, note: str) -> None:
        member.phase, member.note = phase, note
        self._news.set()

    async def _end(self) -> None:
        tasks = [task for task in (self._narrator, *(m.keeper for m in self._members)) if task is not None]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.engine.__aexit__(None, None, None)
        finally:
            await asyncio.gather(*(member.replica.stop() for member in self._members))
            for member in self._members:
                _release(member.replica)


def _release(replica: Replica) -> None:
    if isinstance(replica, Lent):
        replica.release()

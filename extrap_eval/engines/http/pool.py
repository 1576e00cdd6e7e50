"""The servers of one engine: which are in use, and waiting until one of them may have a request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from extrap_eval.engines.base import EngineError
from extrap_eval.engines.http.connection import Fault
from extrap_eval.engines.http.routing import Endpoint, Waiting, choose
from extrap_eval.engines.http.sizing import IN_FLIGHT_PER_ENDPOINT

HOMES = 100_000  # traces whose server is remembered


@dataclass
class Trail:
    """What has happened to one request so far. ``waited``: seconds without any server to send it to."""

    sent: int = 0
    failed: set[Endpoint] = field(default_factory=set)
    disbelieved: int = 0
    waited: float = 0.0


class Pool:
    """``supervised``: servers come and go by ``add`` and ``retire``; there may be none yet."""

    def __init__(self, *, supervised: bool) -> None:
        self.endpoints: list[Endpoint] = []
        self._supervised = supervised
        self.retired: list[Endpoint] = []
        self._homes: OrderedDict[str, Endpoint] = OrderedDict()
        self._changed = asyncio.Event()

    def room(self) -> int:
        """How many requests keep the servers full that are in use or on their way."""
        bounds = [e.bound for e in self.endpoints if e.down is None or e.expected]
        return sum(bounds) or IN_FLIGHT_PER_ENDPOINT

    def add(self, endpoint: Endpoint) -> None:
        self.endpoints.append(endpoint)
        self._wake()

    def retire(self, endpoint: Endpoint, reason: str) -> None:
        """Take it out for good."""
        self.endpoints.remove(endpoint)
        self.retired.append(endpoint)
        endpoint.down = reason
        _end_outstanding(endpoint, reason)
        self._wake()

    def set_aside(self, endpoint: Endpoint, reason: str, *, stuck: bool = False) -> None:
        """No request goes there until ``back``; those that are there may still be answered."""
        endpoint.down = reason
        endpoint.down_since = asyncio.get_running_loop().time()
        endpoint.stuck = stuck
        endpoint.strikes += 1

    def expect(self, endpoint: Endpoint, reason: str) -> None:
        """It has died and is being brought back: what it owed moves now."""
        self.set_aside(endpoint, reason)
        endpoint.expected = True
        _end_outstanding(endpoint, reason)
        self._wake()

    def back(self, endpoint: Endpoint) -> None:
        endpoint.down = endpoint.down_since = None
        endpoint.expected = endpoint.stuck = False
        self._wake()

    def remember(self, affinity: str, endpoint: Endpoint) -> None:
        """Its cache holds, or soon will, what the next request of this trace begins with."""
        if affinity:
            self._homes[affinity] = endpoint
            self._homes.move_to_end(affinity)
            if len(self._homes) > HOMES:
                self._homes.popitem(last=False)

    def _settle(self, affinity: str, endpoint: Endpoint) -> None:
        """Where the first request of a trace goes those go that are sent before it is answered; otherwise the many
        that begin alike and are sent together would each go to the server that has least to do.
        """
        home = self._homes.get(affinity)
        if home is None or home.down is not None or home not in self.endpoints:
            self.remember(affinity, endpoint)

    def has_fresh(self, trail: Trail) -> bool:
        """Whether a server is in use that has not yet failed this request."""
        return any(endpoint.down is None and endpoint not in trail.failed for endpoint in self.endpoints)

    async def take(self, affinity: str, trail: Trail, seconds: float) -> Endpoint:
        """The server for a request, waited for if there is none now.

        ``seconds`` limits all waits of one request together, not counting those in which a server is known to
        be on its way. Raises Fault when they are over, EngineError when no server will ever come.
        """
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            ready = [endpoint for endpoint in self.endpoints if endpoint.closed_until <= now]
            endpoint = choose(ready, affinity, trail.failed, self._homes.get(affinity))
            if endpoint is not None:
                self._settle(affinity, endpoint)
                return endpoint
            if not self.endpoints and self.retired:
                raise EngineError(f"no server is left: {'; '.join(dict.fromkeys(f'{e.down}' for e in self.retired))}")
            promised = any(e.expected for e in self.endpoints) or (self._supervised and not self.endpoints)
            if not promised and trail.waited >= seconds:
                raise Fault(self._why_not())
            opens = [e.closed_until - now for e in self.endpoints if e.down is None]
            await self._change(min([*opens, *([] if promised else [seconds - trail.waited])], default=None))
            if not promised:
                trail.waited += loop.time() - now

    def _why_not(self) -> str:
        return "; ".join(e.down or f"{e.base}: it asked to wait" for e in self.endpoints)

    async def _change(self, seconds: float | None) -> None:
        changed = self._changed
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), seconds)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def end(waiting: Waiting, reason: str, *, stuck: bool) -> None:
    """Make the request fail with ``reason`` now."""
    if not waiting.limit.expired():
        waiting.ended = Fault(reason, suspect=stuck, stuck=stuck)
        waiting.limit.reschedule(asyncio.get_running_loop().time())


def _end_outstanding(endpoint: Endpoint, reason: str) -> None:
    for waiting in endpoint.outstanding:
        end(waiting, reason, stuck=False)

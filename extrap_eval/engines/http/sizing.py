"""How many requests a server should have, and holding back those beyond that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from extrap_eval.engines.http.answers import Load

IN_FLIGHT_PER_ENDPOINT = 256  # at first: about what servers with default settings run at once
MOST_PER_ENDPOINT = 1024
FEWEST_PER_ENDPOINT = 8
FULL_CACHE = 0.9  # beyond which more requests only drive others out


def resized(bound: int, outstanding: int, before: Load | None, now: Load) -> int:
    """How many requests a server should have from now on, from two looks at it in a row.

    What it cannot run waits there: a little of that keeps it full between two looks, more only ties requests
    to a server that others could answer sooner. A server without any that wait, which has all that it may
    have, can take more.
    """
    if now.running is None or now.waiting is None:
        return bound
    if before is not None and _crowded(now) and _crowded(before):
        return max(FEWEST_PER_ENDPOINT, now.running + _spare(now.running))
    room_for_more = now.cache_used is None or now.cache_used < FULL_CACHE
    if now.waiting == 0 and outstanding >= bound and room_for_more:
        return min(MOST_PER_ENDPOINT, max(bound, now.running) * 5 // 4 + 1)
    return bound


def _spare(running: int) -> int:
    return max(FEWEST_PER_ENDPOINT, running // 4)


def _crowded(load: Load) -> bool:
    return load.running is not None and load.waiting is not None and load.waiting > _spare(load.running)


class Gate:
    """Lets in so many at once as ``limit`` says at the moment, in order of arrival; an asynchronous context
    manager. Nobody is sent out when the limit falls.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._inside = 0
        self._before: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self._before and self._inside < self._limit():
            self._inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._before.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in and cancelled at once
                self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def look(self) -> None:
        """The limit may have changed."""
        while self._before and self._inside < self._limit():
            turn = self._before.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)

    def _leave(self) -> None:
        self._inside -= 1
        self.look()

"""The life of a request: routed, waited for while its server makes progress, retried elsewhere, never
silently cut.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import aiohttp

from extrap_eval.engines.base import EngineError, EngineInfo, Generation, GenerationRequest, ReplicaWork
from extrap_eval.engines.http import standing
from extrap_eval.engines.http.agreement import agree, refuse_impossible
from extrap_eval.engines.http.answers import TextTokenizer, believe
from extrap_eval.engines.http.connection import (
    Address,
    Connection,
    Disbelieved,
    Fault,
    NotThere,
    allow_open_files,
    new_session,
    parse_address,
)
from extrap_eval.engines.http.pool import Pool, Trail
from extrap_eval.engines.http.probe import Served, ServerKind, identify
from extrap_eval.engines.http.raw import refuse_processed
from extrap_eval.engines.http.routing import Endpoint, ServerState, Waiting
from extrap_eval.engines.http.sizing import MOST_PER_ENDPOINT, Gate
from extrap_eval.errors import UserError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0  # without any progress, on a server that shows it
PATIENCE_BLIND_SECONDS = 3 * 3600.0  # for one request, on a server that does not: 32k tokens can take an hour
RETRY_TOTAL_SECONDS = 900.0
DISBELIEVED_LIMIT = 3  # answers to one request that contradict themselves


class HttpEngine:
    """Completions from one or several servers of the same model; an asynchronous context manager.

    ``endpoints``: URLs, with or without ``/v1`` and ``user:password@``. ``model``: the served name or path
    (None: the one model that the servers serve). ``tokenizer``: needed for text-only servers.
    ``max_in_flight``: requests sent at once, over all servers (None: 256 per server at first, then as many as
    keep it full by its own counters, see ``sizing``). ``patience_seconds``:
    a server counts as lost when its token counters stand still that long (None: 600); for servers without
    counters it limits each request (None: 3 hours). ``retry_total_seconds``: how long one request may wait
    between attempts, all waits together; the time in which a server worked on it does not count.
    ``api_key``: sent to every server; None takes the environment variable ``api_key_env``.

    ``supervised``: someone starts the servers and says so with ``add``, ``suspect`` and ``retire``; there may
    be none at first, and requests wait for as long as one is on its way.

    Entering raises UserError when a server does not answer or they do not serve the same model.
    ``generate`` raises UserError for a request that no retry can mend and EngineError when its retries are
    used up; cancelling it closes its connection, which aborts it on the server.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        model: str | None = None,
        kind: ServerKind = "auto",
        tokenizer: TextTokenizer | None = None,
        max_in_flight: int | None = None,
        patience_seconds: float | None = None,
        retry_total_seconds: float = RETRY_TOTAL_SECONDS,
        api_key_env: str = "EXTRAP_EVAL_API_KEY",
        api_key: str | None = None,
        supervised: bool = False,
    ) -> None:
        if not endpoints and not supervised:
            raise UserError("no endpoint given: name at least one URL of a running server")
        key = api_key or os.environ.get(api_key_env) or None
        self._address: Callable[[str], Address] = lambda url: parse_address(url, key)
        self._addresses = list({address.base: address for address in map(self._address, endpoints)}.values())
        self._model = model
        self._kind: ServerKind = kind
        self._tokenizer = tokenizer
        self._patience = patience_seconds
        self._retry_total = retry_total_seconds
        self._max_in_flight = max_in_flight
        self._gate = Gate(self.in_flight_limit)
        self._pool = Pool(supervised=supervised)
        self._session: aiohttp.ClientSession | None = None
        self._info: EngineInfo | None = None
        self._proven: GenerationRequest | None = None  # a request that a server has completed

    async def __aenter__(self) -> Self:
        allow_open_files()
        self._session = new_session()
        try:
            connections = [Connection(self._session, address) for address in self._addresses]
            for endpoint in await asyncio.gather(*(self._meet(connection) for connection in connections)):
                self._use(endpoint)
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        of_servers = (task for e in self._pool.endpoints for task in (e.watching, e.reviving, e.raw_logprobs))
        tasks = [task for task in of_servers if task is not None]
        _cancel(*tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    @property
    def info(self) -> EngineInfo:
        if self._info is None:
            raise RuntimeError("no server is known yet: use the engine as a context manager, and add one")
        return self._info

    def in_flight_limit(self) -> int:
        """How many requests keep the servers full now."""
        return self._max_in_flight or self._pool.room()

    def in_flight_most(self) -> int:
        """More than that many will never be asked for of the servers known so far."""
        known = len(self._pool.endpoints) or len(self._addresses)
        return self._max_in_flight or MOST_PER_ENDPOINT * max(1, known)

    def servers(self) -> tuple[ServerState, ...]:
        """Those in use, set aside or not."""
        return tuple(endpoint.state() for endpoint in self._pool.endpoints)

    def replicas(self) -> tuple[ReplicaWork, ...]:
        """Servers in use first, then those that were retired."""
        return tuple(endpoint.work() for endpoint in (*self._pool.endpoints, *self._pool.retired))

    async def add(self, url: str) -> None:
        """Use a server that is up: a further one, or one that was lost and is back.

        Raises UserError when it does not answer, or serves something else than the others.
        """
        assert self._session is not None
        endpoint = await self._meet(Connection(self._session, self._address(url)))
        known = self._known(url)
        if known is None:
            self._use(endpoint)
            return
        agree(self._info, self._pool.endpoints, endpoint)
        known.served = endpoint.served
        self._welcome_back(known)

    def suspect(self, url: str, reason: str) -> None:
        """The server has died and is being brought back: its requests move now, and wait for it if there is
        no other.
        """
        endpoint = self._known(url)
        if endpoint is not None and not endpoint.expected:
            self._pool.expect(endpoint, reason)
            self._revive(endpoint)

    def retire(self, url: str, reason: str) -> None:
        """The server is gone for good. When the last one is, ``generate`` raises EngineError with all reasons."""
        endpoint = self._known(url)
        if endpoint is not None:
            _cancel(endpoint.watching, endpoint.reviving)
            self._pool.retire(endpoint, reason)

    async def generate(self, request: GenerationRequest) -> Generation:
        trail = Trail()
        async with self._gate:
            while True:
                try:
                    return await self._attempt(request, trail)
                except Fault as fault:
                    await self._pause(trail, fault)

    async def _pause(self, trail: Trail, fault: Fault) -> None:
        """Before the next attempt; none where another server can take over."""
        seconds = 0.0 if self._pool.has_fresh(trail) else standing.backoff(trail.sent)
        if trail.waited + seconds > self._retry_total:
            tried = f"no completion after {trail.sent} requests and {trail.waited:.0f} s of waiting"
            raise EngineError(f"{tried}; last: {fault}") from None
        trail.waited += seconds
        await asyncio.sleep(seconds)

    async def _attempt(self, request: GenerationRequest, trail: Trail) -> Generation:
        endpoint = await self._pool.take(request.affinity, trail, self._retry_total)
        refuse_impossible(request, self.info)
        trail.sent += 1
        started = time.monotonic()
        try:
            if request.top_logprobs and request.given_token_ids is None:
                await refuse_processed(endpoint, request)
            generation = await self._ask(endpoint, request)
        except Fault as fault:
            self._note(fault, endpoint, request, trail)
            raise
        endpoint.strikes = 0
        endpoint.ledger.completed(generation)
        self._proven = request
        self._pool.remember(request.affinity, endpoint)
        return dataclasses.replace(generation, attempts=trail.sent, seconds=time.monotonic() - started)

    async def _ask(self, endpoint: Endpoint, request: GenerationRequest) -> Generation:
        served, patience, loop = endpoint.served, self._patience_with(endpoint), asyncio.get_running_loop()
        waiting = Waiting(asyncio.timeout(patience), loop.time())

        def arrived() -> None:
            waiting.seen = loop.time()
            if not waiting.limit.expired():
                waiting.limit.reschedule(waiting.seen + patience)

        try:
            async with waiting.limit:
                endpoint.outstanding.add(waiting)
                payload = served.dialect.payload(request, served.model)
                body = await endpoint.connection.post(served.dialect.path, payload, arrived)
        except TimeoutError:
            raise waiting.ended or Fault(f"{endpoint.base}: no progress for {patience:g} s", stuck=True) from None
        finally:
            endpoint.outstanding.discard(waiting)
        return believe(served.dialect, body, request, endpoint.base, served.names)

    def _note(self, fault: Fault, endpoint: Endpoint, request: GenerationRequest, trail: Trail) -> None:
        """What a failed attempt means for the request and for the server."""
        trail.failed.add(endpoint)
        endpoint.ledger.retries += 1
        if not self._pool.has_fresh(trail):
            trail.failed = {endpoint}
        if isinstance(fault, Disbelieved):
            trail.disbelieved += 1
            if trail.disbelieved >= DISBELIEVED_LIMIT:
                raise EngineError(f"{trail.disbelieved} answers cannot be believed; the last: {fault}") from None
        if isinstance(fault, NotThere) and self._proven is None:
            raise UserError(str(fault)) from None
        if fault.retry_after:
            endpoint.closed_until = max(endpoint.closed_until, asyncio.get_running_loop().time() + fault.retry_after)
        if fault.suspect and endpoint.down is None:
            logger.warning("server set aside: %s", fault)
            self._pool.set_aside(endpoint, str(fault), stuck=fault.stuck)
            self._revive(endpoint, request)

    async def _meet(self, connection: Connection) -> Endpoint:
        try:
            endpoint = Endpoint(connection, await self._identify(connection))
        except Fault as fault:
            raise UserError(f"{fault}; start the server, wait until it is ready, or correct the URL") from None
        if endpoint.served.load is not None:
            endpoint.ledger.looked(endpoint.served.load, asyncio.get_running_loop().time())
        return endpoint

    async def _identify(self, connection: Connection) -> Served:
        return await identify(connection, kind=self._kind, model=self._model, tokenizer=self._tokenizer)

    def _use(self, endpoint: Endpoint) -> None:
        self._info = agree(self._info, self._pool.endpoints, endpoint)
        self._pool.add(endpoint)
        self._gate.look()
        if endpoint.served.shows_progress:
            endpoint.watching = asyncio.create_task(standing.watch(endpoint, self._patience_with(endpoint)))

    def _revive(self, endpoint: Endpoint, request: GenerationRequest | None = None) -> None:
        # A request that has succeeded is the better question: this one may be what the server cannot bear.
        trial = self._proven or request

        async def until_back() -> None:
            await standing.revive(endpoint, lambda: self._identify(endpoint.connection), trial)
            endpoint.reviving = None
            self._welcome_back(endpoint)

        _cancel(endpoint.reviving)
        endpoint.reviving = asyncio.create_task(until_back())

    def _welcome_back(self, endpoint: Endpoint) -> None:
        _cancel(endpoint.reviving)
        endpoint.reviving = None
        if endpoint.down is not None:
            self._pool.back(endpoint)
            self._gate.look()
            logger.warning("server answers again: %s", endpoint.base)

    def _known(self, url: str) -> Endpoint | None:
        base = self._address(url).base
        return next((endpoint for endpoint in self._pool.endpoints if endpoint.base == base), None)

    def _patience_with(self, endpoint: Endpoint) -> float:
        if self._patience is not None:
            return self._patience
        return PATIENCE_SECONDS if endpoint.served.shows_progress else PATIENCE_BLIND_SECONDS


def _cancel(*tasks: asyncio.Task[None] | asyncio.Task[bool] | None) -> None:
    for task in tasks:
        if task is not None:
            task.cancel()

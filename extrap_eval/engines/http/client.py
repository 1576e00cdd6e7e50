"""The life of a request: routed, waited for while its server makes progress, retried elsewhere, never
silently cut.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from extrap_eval.engines.base import EngineError, EngineInfo, Generation, GenerationRequest
from extrap_eval.engines.http.answers import PROGRESS_UNKNOWN, TextTokenizer, believe
from extrap_eval.engines.http.connection import Connection, Fault, new_session, parse_address
from extrap_eval.engines.http.probe import ServerKind, identify
from extrap_eval.engines.http.routing import Endpoint, choose
from extrap_eval.errors import UserError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0  # without any progress, on a server that shows it
PATIENCE_BLIND_SECONDS = 3 * 3600.0  # for one request, on a server that does not: 32k tokens can take an hour
RETRY_TOTAL_SECONDS = 900.0
IN_FLIGHT_PER_ENDPOINT = 256
POLL_SECONDS = 10.0
REVIVAL_SECONDS = 60.0  # for the single token that a server which had stuck must make before it is trusted again
BACKOFF = wait_random_exponential(multiplier=0.5, max=30)


@dataclass
class _Trail:
    """What has happened to one request so far."""

    sent: int = 0
    failed: set[Endpoint] = field(default_factory=set)


class HttpEngine:
    """Completions from one or several servers of the same model; an asynchronous context manager.

    ``endpoints``: URLs, with or without ``/v1`` and ``user:password@``. ``model``: the served name or path
    (None: the one model that the servers serve). ``tokenizer``: needed for text-only servers.
    ``max_in_flight``: requests sent at once, over all servers (None: 256 per server). ``patience_seconds``:
    a server counts as lost when its token counters stand still that long (None: 600); for servers without
    counters it limits each request (None: 3 hours). ``retry_total_seconds``: how long one request may wait
    between attempts, all waits together; the time in which a server worked on it does not count.
    ``api_key_env``: the environment variable that holds the API key.

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
    ) -> None:
        if not endpoints:
            raise UserError("no endpoint given: name at least one URL of a running server")
        api_key = os.environ.get(api_key_env) or None
        addresses = {address.base: address for address in (parse_address(text, api_key) for text in endpoints)}
        self._addresses = list(addresses.values())
        self._model = model
        self._kind: ServerKind = kind
        self._tokenizer = tokenizer
        self._patience = patience_seconds
        self._retry_total = retry_total_seconds
        self._slots = asyncio.Semaphore(max_in_flight or IN_FLIGHT_PER_ENDPOINT * len(self._addresses))
        self._endpoints: list[Endpoint] = []
        self._session: aiohttp.ClientSession | None = None
        self._info: EngineInfo | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._session = new_session()
        try:
            connections = [Connection(self._session, address) for address in self._addresses]
            self._endpoints = await asyncio.gather(*(self._meet(connection) for connection in connections))
            self._info = _describe(self._endpoints)
        except BaseException:
            await self._session.close()
            raise
        for endpoint in self._endpoints:
            if endpoint.served.shows_progress:
                self._in_background(self._watch(endpoint))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    @property
    def info(self) -> EngineInfo:
        if self._info is None:
            raise RuntimeError("the engine is not open: use it as an asynchronous context manager")
        return self._info

    async def generate(self, request: GenerationRequest) -> Generation:
        self._refuse_impossible(request)
        trail = _Trail()
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Fault),
            wait=_pause,
            stop=lambda state: state.idle_for + state.upcoming_sleep > self._retry_total,
            retry_error_callback=lambda state: _give_up(state, trail),
        )
        async with self._slots:
            return await retrying(self._attempt, request, trail)

    async def _meet(self, connection: Connection) -> Endpoint:
        try:
            served = await identify(connection, kind=self._kind, model=self._model, tokenizer=self._tokenizer)
        except Fault as fault:
            raise UserError(f"{fault}; start the server, wait until it is ready, or correct the URL") from None
        return Endpoint(connection, served)

    def _refuse_impossible(self, request: GenerationRequest) -> None:
        if request.top_logprobs:
            raise UserError("top_logprobs: log-probabilities are not read from HTTP servers")
        prompt, limit = len(request.prompt_token_ids), self.info.context_length
        if limit is not None and prompt + request.max_tokens > limit:
            shorter = f"use --budget-max {limit - prompt} or " if limit > prompt else ""
            raise UserError(
                f"{prompt} prompt + {request.max_tokens} completion tokens do not fit the context of {limit} "
                f"tokens of {self.info.model}: {shorter}restart the server with a context of at least "
                f"{prompt + request.max_tokens}"
            )

    async def _attempt(self, request: GenerationRequest, trail: _Trail) -> Generation:
        endpoint = choose(self._endpoints, request.affinity, trail.failed)
        if endpoint is None:
            raise Fault("; ".join(f"{e.down}" for e in self._endpoints))
        trail.sent += 1
        started = time.monotonic()
        try:
            generation = await self._ask(endpoint, request)
        except Fault as fault:
            trail.failed.add(endpoint)
            if fault.suspect:
                self._set_aside(endpoint, fault, request)
            raise
        return dataclasses.replace(generation, attempts=trail.sent, seconds=time.monotonic() - started)

    async def _ask(self, endpoint: Endpoint, request: GenerationRequest) -> Generation:
        served, patience = endpoint.served, self._patience_with(endpoint)
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                endpoint.outstanding.add(limit)
                body = await endpoint.connection.post(
                    served.dialect.path, served.dialect.payload(request, served.model)
                )
        except TimeoutError:
            raise Fault(f"{endpoint.base}: no progress for {patience:g} s", stuck=True) from None
        finally:
            endpoint.outstanding.discard(limit)
        return believe(served.dialect, body, request, endpoint.base)

    def _patience_with(self, endpoint: Endpoint) -> float:
        if self._patience is not None:
            return self._patience
        return PATIENCE_SECONDS if endpoint.served.shows_progress else PATIENCE_BLIND_SECONDS

    async def _watch(self, endpoint: Endpoint) -> None:
        """Give every outstanding request its full patience again whenever the counters have moved."""
        patience = self._patience_with(endpoint)
        last: tuple[float, ...] | None = None
        while True:
            await asyncio.sleep(min(POLL_SECONDS, patience / 5))
            if not endpoint.outstanding:
                continue
            try:
                counters = await endpoint.served.dialect.progress(endpoint.connection)
            except PROGRESS_UNKNOWN:
                continue
            if counters is not None and counters != last:
                deadline = asyncio.get_running_loop().time() + patience
                for limit in endpoint.outstanding:
                    if not limit.expired():
                        limit.reschedule(deadline)
            last = counters

    def _set_aside(self, endpoint: Endpoint, fault: Fault, request: GenerationRequest) -> None:
        if endpoint.down is None:
            endpoint.down = str(fault)
            logger.warning("server set aside: %s", fault)
            self._in_background(self._revive(endpoint, request if fault.stuck else None))

    async def _revive(self, endpoint: Endpoint, request: GenerationRequest | None) -> None:
        """Ask a server that failed until it answers as it did at first."""

        def note(state: RetryCallState) -> None:
            if state.outcome is not None:
                endpoint.down = str(state.outcome.exception())

        # Whatever goes wrong here is the reason why the server stays aside; it shows in the errors of requests.
        again = AsyncRetrying(retry=retry_if_exception_type(Exception), wait=BACKOFF, before_sleep=note)
        await again(self._check_alive, endpoint, request)
        endpoint.down = None
        logger.warning("server answers again: %s", endpoint.base)

    async def _check_alive(self, endpoint: Endpoint, request: GenerationRequest | None) -> None:
        """Raise Fault or UserError unless the server is the one that was met at first.

        With ``request`` it must also make one token of it: a frozen engine behind a living front still
        answers every question about itself.
        """
        served = await identify(endpoint.connection, kind=self._kind, model=self._model, tokenizer=self._tokenizer)
        if (served.dialect.kind, served.model) != (endpoint.served.dialect.kind, endpoint.served.model):
            raise UserError(f"{endpoint.base} came back with {served.model} ({served.dialect.kind})")
        if request is None:
            return
        payload = served.dialect.payload(dataclasses.replace(request, max_tokens=1), served.model)
        try:
            async with asyncio.timeout(REVIVAL_SECONDS):
                await endpoint.connection.post(served.dialect.path, payload)
        except TimeoutError:
            raise Fault(f"{endpoint.base}: no token within {REVIVAL_SECONDS:g} s") from None

    def _in_background(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _describe(endpoints: Sequence[Endpoint]) -> EngineInfo:
    """What all servers have in common; UserError unless it is one model on one kind of server."""
    first = endpoints[0]
    for other in endpoints[1:]:
        for what, ours, theirs in (
            ("model", first.served.model, other.served.model),
            ("kind of server", first.served.dialect.kind, other.served.dialect.kind),
        ):
            if ours != theirs:
                raise UserError(
                    f"{first.base} and {other.base} differ in the {what} ({ours}, {theirs}): "
                    "all endpoints must serve the same"
                )
    lengths = [e.served.context_length for e in endpoints if e.served.context_length is not None]
    versions = sorted({e.served.version for e in endpoints if e.served.version is not None})
    return EngineInfo(
        kind=first.served.dialect.kind,
        version=", ".join(versions) or None,
        model=first.served.model,
        context_length=min(lengths, default=None),
        exact_token_ids=first.served.dialect.tokenizer is None,
    )


def _pause(state: RetryCallState) -> float:
    """Seconds before the next attempt: exponential with full jitter, at least what the server asked for."""
    fault = state.outcome.exception() if state.outcome is not None else None
    return max(BACKOFF(state), fault.retry_after if isinstance(fault, Fault) else 0.0)


def _give_up(state: RetryCallState, trail: _Trail) -> Generation:
    fault = state.outcome.exception() if state.outcome is not None else None
    raise EngineError(f"no completion after {trail.sent} requests and {state.idle_for:.0f} s of waiting; last: {fault}")

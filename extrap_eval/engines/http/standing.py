"""Whether a server still works on what it was given, and whether one that failed may be trusted again."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http.answers import PROGRESS_UNKNOWN, Load
from extrap_eval.engines.http.connection import Fault
from extrap_eval.engines.http.pool import end
from extrap_eval.engines.http.probe import Served
from extrap_eval.engines.http.routing import Endpoint
from extrap_eval.engines.http.sizing import resized
from extrap_eval.errors import UserError

POLL_SECONDS = 5.0
IDLE_SECONDS = 60.0  # after which an answer is lost that is owed by a server without any work
REVIVAL_SECONDS = 60.0  # for a sign of life of a server that had stuck
PENALTY_SECONDS = 30.0  # the longest that a server is left alone which fails again and again
BACKOFF_SECONDS = 0.5  # the first pause at most; each may be twice the last
BACKOFF_MOST = 30.0


def backoff(attempts: int) -> float:
    """Seconds until the next one: exponential with full jitter, so that many do not come back together."""
    return random.uniform(0.0, min(BACKOFF_MOST, BACKOFF_SECONDS * 2.0 ** min(attempts - 1, 30)))


async def watch(endpoint: Endpoint, patience: float) -> None:
    """Look at the server's counters for as long as it owes answers; never returns.

    Whenever they have moved, every outstanding request gets its full ``patience`` (seconds) again. A request
    that the server has no work for (something before the server took it, and never passed it on) is ended.
    """
    loop = asyncio.get_running_loop()
    last: Load | None = None
    idle_since: float | None = None
    while True:
        await asyncio.sleep(min(POLL_SECONDS, patience / 5))
        load = await _look(endpoint) if endpoint.outstanding else None
        if load is None:
            idle_since = None
            continue
        endpoint.load = load
        endpoint.ledger.looked(load, loop.time())
        now = loop.time()
        if last is None or load.moved != last.moved:
            for waiting in endpoint.outstanding:
                if not waiting.limit.expired():
                    waiting.limit.reschedule(now + patience)
        endpoint.bound = resized(endpoint.bound, len(endpoint.outstanding), last, load)
        last = load
        if load.running != 0 or load.waiting != 0:
            idle_since = None
        elif idle_since is None:
            idle_since = now
        elif now - idle_since >= min(IDLE_SECONDS, patience):
            for waiting in [w for w in endpoint.outstanding if w.seen < idle_since]:
                end(
                    waiting,
                    f"{endpoint.base}: it has no work, and no answer for {now - waiting.seen:.0f} s",
                    stuck=True,
                )


async def revive(endpoint: Endpoint, meet: Callable[[], Awaitable[Served]], trial: GenerationRequest | None) -> None:
    """Return when a server that failed may be used again; until then ``endpoint.down`` says why not.

    ``meet`` finds out what it serves now. A server that stuck, or that fails again and again, must also work
    on ``trial``: a frozen engine behind a living front answers every question about itself.
    """

    async def check() -> None:
        served = await meet()
        if (served.dialect.kind, served.model) != (endpoint.served.dialect.kind, endpoint.served.model):
            raise UserError(f"{endpoint.base} came back with {served.model} ({served.dialect.kind})")
        if trial is not None and (endpoint.stuck or (endpoint.strikes > 1 and served.shows_progress)):
            await _show_life(endpoint, trial)

    if endpoint.strikes > 1:
        await asyncio.sleep(min(PENALTY_SECONDS, 0.5 * 2.0 ** min(endpoint.strikes - 2, 30)))
    for attempts in itertools.count(1):
        try:
            await check()
            return
        except Exception as error:  # whatever it is, the server stays aside, and it shows in the errors of requests
            endpoint.down = str(error)
        await asyncio.sleep(backoff(attempts))


async def _show_life(endpoint: Endpoint, trial: GenerationRequest) -> None:
    """Raise Fault unless the server makes one token of ``trial``, or is seen to make others."""
    dialect, model = endpoint.served.dialect, endpoint.served.model
    first = await _look(endpoint)
    token = asyncio.ensure_future(
        endpoint.connection.post(dialect.path, dialect.payload(replace(trial, max_tokens=1), model))
    )
    try:
        async with asyncio.timeout(REVIVAL_SECONDS):
            while not (await asyncio.wait({token}, timeout=1.0))[0]:
                now = await _look(endpoint)
                if first is not None and now is not None and now.moved != first.moved:
                    return
        token.result()
    except TimeoutError:
        raise Fault(f"{endpoint.base}: no token within {REVIVAL_SECONDS:g} s") from None
    finally:
        token.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await token


async def _look(endpoint: Endpoint) -> Load | None:
    try:
        return await endpoint.served.dialect.progress(endpoint.connection)
    except PROGRESS_UNKNOWN:
        return None

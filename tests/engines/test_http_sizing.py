"""How many requests a server should have, and holding back those beyond."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http import HttpEngine
from extrap_eval.engines.http.answers import Load
from extrap_eval.engines.http.sizing import FEWEST_PER_ENDPOINT, MOST_PER_ENDPOINT, Gate, resized
from tests.engines.loopback import Loopback
from tests.engines.test_http_client import REQUEST


def load(running: int | None, waiting: int | None, cache_used: float | None = None) -> Load:
    return Load((1.0,), running=running, waiting=waiting, cache_used=cache_used)


@pytest.mark.parametrize(
    ("bound", "outstanding", "before", "now", "expected"),
    [
        (256, 256, load(256, 0), load(256, 0), 321),  # it runs all it may have: more
        (256, 200, load(200, 0), load(200, 0), 256),  # there is no more for it
        (256, 256, load(250, 6), load(250, 6), 256),  # a few wait: just full
        (256, 256, load(64, 192), load(64, 192), 80),  # most of them only wait
        (256, 256, load(256, 0), load(64, 192), 256),  # perhaps for a moment only
        (256, 256, None, load(20, 236), 256),  # a crowd that has just arrived
        (80, 80, load(64, 16), load(128, 0), 161),  # what it runs counts, whatever it was thought to bear
        (256, 256, load(256, 0), load(256, 0, cache_used=0.95), 256),  # its memory is full
        (256, 256, load(None, None), load(None, None), 256),  # it does not say
        (1024, 1024, load(1024, 0), load(1024, 0), MOST_PER_ENDPOINT),
        (256, 256, load(0, 500), load(0, 500), FEWEST_PER_ENDPOINT),  # others' requests are before ours
    ],
)
def test_a_bound_follows_the_servers_own_counters(
    bound: int, outstanding: int, before: Load | None, now: Load, expected: int
) -> None:
    assert resized(bound, outstanding, before, now) == expected


@given(st.integers(1, 3000))
def test_a_server_is_soon_full_and_little_waits(capacity: int) -> None:
    """A server that runs ``capacity`` at once, with more work at hand than it can take."""
    bound, before = 256, None
    for _ in range(30):
        now = load(min(bound, capacity), max(0, bound - capacity))
        bound, before = resized(bound, bound, before, now), now
    assert bound >= min(capacity, MOST_PER_ENDPOINT)
    assert bound <= capacity * 5 // 4 + FEWEST_PER_ENDPOINT + 1


async def test_the_gate_lets_in_what_the_limit_says_and_in_order() -> None:
    limit = 3
    gate = Gate(lambda: limit)
    inside: set[int] = set()
    entered: list[int] = []
    peaks: list[int] = []

    async def pass_through(number: int) -> None:
        async with gate:
            inside.add(number)
            entered.append(number)
            peaks.append(len(inside))
            await asyncio.sleep(0.001 * random.Random(number).random())
            inside.remove(number)

    tasks = [asyncio.create_task(pass_through(number)) for number in range(60)]
    while len(entered) < 20:
        await asyncio.sleep(0)
    assert max(peaks) == 3
    limit = 10
    gate.look()
    await asyncio.gather(*tasks)
    assert entered == list(range(60))
    assert max(peaks) == 10


async def test_who_goes_away_before_the_gate_takes_no_place() -> None:
    gate = Gate(lambda: 1)

    async def stay(seconds: float) -> None:
        async with gate:
            await asyncio.sleep(seconds)

    first = asyncio.create_task(stay(0.05))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(stay(0)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[3].cancel()
    await first
    waiting[1].cancel()  # just let in
    assert [type(done) for done in await asyncio.gather(*waiting, return_exceptions=True)] == [
        asyncio.CancelledError,
        asyncio.CancelledError,
        type(None),
        asyncio.CancelledError,
        type(None),
    ]
    async with asyncio.timeout(1):
        await stay(0)


async def test_without_a_number_from_the_user_the_servers_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 per server at first; one that runs only 30 of them at once soon has few that wait."""
    monkeypatch.setattr("extrap_eval.engines.http.standing.POLL_SECONDS", 0.05)
    async with Loopback(places=30, delay=0.05, shows_load=True) as server, HttpEngine([server.url]) as engine:
        assert (engine.in_flight_limit(), engine.in_flight_most()) == (256, 1024)

        async def ask(request: GenerationRequest) -> int:
            await engine.generate(request)
            return engine.in_flight_limit()

        limits = await asyncio.gather(*(ask(REQUEST) for _ in range(900)))
        assert min(limits) <= 40
        assert server.peak <= 256
    async with Loopback() as server, HttpEngine([server.url], max_in_flight=7) as engine:
        assert (engine.in_flight_limit(), engine.in_flight_most()) == (7, 7)

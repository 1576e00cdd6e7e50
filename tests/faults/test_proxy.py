"""The misbehaving proxy really does what its faults are called."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest

from tests.engines.loopback import Loopback
from tests.faults import proxy as proxies
from tests.faults.proxy import MISCHIEFS, FaultyProxy, Mischief

ASKED = {"prompt": [1, 2, 3, 4], "max_tokens": 12}


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as running:
        yield running


@pytest.fixture
async def proxy(server: Loopback) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(server.url) as running:
        yield running


async def ask(proxy: FaultyProxy, timeout: float = 10.0) -> tuple[int, bytes]:
    limit = aiohttp.ClientTimeout(total=timeout)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.post(f"{proxy.url}/v1/completions", json=ASKED) as response,
    ):
        return response.status, await response.read()


async def body(proxy: FaultyProxy) -> Any:
    return orjson.loads((await ask(proxy))[1])


async def test_without_mischief_the_answer_is_the_servers(server: Loopback, proxy: FaultyProxy) -> None:
    through = await body(proxy)
    async with aiohttp.ClientSession() as session, session.post(f"{server.url}/v1/completions", json=ASKED) as response:
        assert through == await response.json()


def broken(**options: Any) -> Callable[[FaultyProxy], Awaitable[None]]:
    async def check(proxy: FaultyProxy) -> None:
        with pytest.raises(aiohttp.ClientError):
            await ask(proxy)

    return check


def status(expected: int, retry_after: bool = False) -> Callable[[FaultyProxy], Awaitable[None]]:
    async def check(proxy: FaultyProxy) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{proxy.url}/v1/completions", json=ASKED) as response,
        ):
            assert response.status == expected
            assert ("Retry-After" in response.headers) is retry_after

    return check


def no_json() -> Callable[[FaultyProxy], Awaitable[None]]:
    async def check(proxy: FaultyProxy) -> None:
        code, said = await ask(proxy)
        assert code == 200
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(said)

    return check


def takes(at_least: float) -> Callable[[FaultyProxy], Awaitable[None]]:
    async def check(proxy: FaultyProxy) -> None:
        began = time.monotonic()
        assert (await body(proxy))["usage"]["completion_tokens"] == 12
        assert time.monotonic() - began >= at_least

    return check


def says(wrong: Callable[[Any], bool]) -> Callable[[FaultyProxy], Awaitable[None]]:
    async def check(proxy: FaultyProxy) -> None:
        assert wrong(await body(proxy))

    return check


def silent() -> Callable[[FaultyProxy], Awaitable[None]]:
    async def check(proxy: FaultyProxy) -> None:
        with pytest.raises(TimeoutError):
            await ask(proxy, timeout=0.5)

    return check


EFFECTS: dict[Mischief, tuple[Callable[[FaultyProxy], Awaitable[None]], bool]] = {  # and whether the server worked
    "drop before the request": (broken(), False),
    "drop before the answer": (broken(), True),
    "drop inside the answer": (broken(), True),
    "truncated body": (no_json(), True),
    "not JSON": (no_json(), True),
    "500": (status(500), False),
    "502": (status(502), False),
    "503": (status(503), False),
    "503 with Retry-After": (status(503, True), False),
    "429": (status(429), False),
    "429 with Retry-After": (status(429, True), False),
    "delay": (takes(0.3), True),
    "slow trickle": (takes(0.3), True),
    "never answers": (silent(), False),
    "wrong usage": (says(lambda b: b["usage"]["completion_tokens"] == 13), True),
    "missing ids": (says(lambda b: len(b["choices"][0]["token_ids"]) == 11), True),
    "wrong prompt count": (says(lambda b: b["usage"]["prompt_tokens"] == 3), True),
    "other model": (says(lambda b: b["model"] == "another-model"), True),
}


@pytest.mark.parametrize("mischief", MISCHIEFS)
async def test_each_mischief_is_what_it_is_called(
    server: Loopback, proxy: FaultyProxy, mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies, "DELAY", 0.3)
    monkeypatch.setattr(proxies, "TRICKLE_PAUSE", 0.03)
    effect, reaches_the_server = EFFECTS[mischief]
    with proxy.doing(mischief, times=1):
        await effect(proxy)
        assert proxy.hits == 1
        assert len(server.asked) == reaches_the_server
        assert (await body(proxy))["usage"]["completion_tokens"] == 12  # once only
    assert (await body(proxy))["usage"]["completion_tokens"] == 12


async def test_a_silent_network_holds_everything_and_lets_it_go_again(server: Loopback, proxy: FaultyProxy) -> None:
    server.delay = 0.2
    asking = asyncio.create_task(body(proxy))
    while not server.running:
        await asyncio.sleep(0.01)
    with proxy.silence():
        while server.running:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert not asking.done()  # though the server has answered
    assert (await asking)["usage"]["completion_tokens"] == 12


async def test_a_refusing_network_breaks_everything_and_listens_again_on_its_port(
    server: Loopback, proxy: FaultyProxy
) -> None:
    server.delay = 0.5
    asking = asyncio.create_task(body(proxy))
    while not server.running:
        await asyncio.sleep(0.01)
    url = proxy.url
    await proxy.refuse()
    with pytest.raises(aiohttp.ClientError):
        await asking
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(proxy)
    await proxy.listen()
    assert proxy.url == url
    assert (await body(proxy))["usage"]["completion_tokens"] == 12


async def test_a_dead_server_is_a_broken_connection(server: Loopback, proxy: FaultyProxy) -> None:
    await server.stop()
    with pytest.raises(aiohttp.ClientError):
        await ask(proxy)

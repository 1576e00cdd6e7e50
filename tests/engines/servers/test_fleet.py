"""Several servers as one engine: who starts, who is restarted, who is given up. The servers are loopback ones."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import extrap_eval.engines.http.standing as standing
import extrap_eval.engines.servers.fleet as fleet_module
from extrap_eval.engines.base import EngineError, GenerationRequest
from extrap_eval.engines.servers.fleet import ServerFleet
from extrap_eval.engines.servers.replica import ServerFailed
from extrap_eval.errors import UserError
from tests.engines.loopback import Loopback

REQUEST = GenerationRequest(np.array([1, 2, 3, 4], dtype=np.int32), max_tokens=12)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(fleet_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(standing, "BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(standing, "BACKOFF_MOST", 0.5)


@dataclass(eq=False)
class LoopbackReplica:
    """``fails``: how many starts fail; ``moves``: every start is on a port of its own."""

    name: str
    server: Loopback = field(default_factory=Loopback)
    command: str = ""
    fails: int = 0
    moves: bool = False
    slow: float = 0.0
    starts: int = 0
    stops: list[bool] = field(default_factory=list)
    running: bool = False
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    waited_for: bool = False
    released: int = 0

    def wanted(self) -> bool:
        return self.waited_for

    def release(self) -> None:
        self.released += 1

    async def start(self, say: Callable[[str], None]) -> str:
        self.starts += 1
        self.command = f"serve --start {self.starts}"
        say("loading weights")
        await asyncio.sleep(self.slow)
        if self.starts <= self.fails:
            raise ServerFailed(f"start {self.starts} failed", ("a line", "another line"))
        self.dead = asyncio.Event()
        if self.moves:
            self.server.port = 0
        await self.server.start()
        self.running = True
        return self.server.url

    async def died(self) -> str:
        await self.dead.wait()
        return "it was killed"

    async def stop(self, *, at_once: bool = False) -> None:
        self.stops.append(at_once)
        await self.die()

    async def die(self) -> None:
        if self.running:
            self.running = False
            await self.server.stop()
        self.dead.set()


def fleet(*replicas: LoopbackReplica, **options: Any) -> ServerFleet:
    return ServerFleet(replicas, kind="vllm", served_name="tiny", api_key="key", **options)


def two(**options: Any) -> tuple[LoopbackReplica, LoopbackReplica]:
    return LoopbackReplica("first", **options), LoopbackReplica("second", **options)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_all_serve_and_all_are_stopped() -> None:
    a, b = two()
    async with fleet(a, b) as engine:
        await until(lambda: [s.phase for s in engine.states()] == ["serving", "serving"])
        assert (engine.info.kind, engine.info.model) == ("vllm", "tiny")
        assert engine.info.commands == ("serve --start 1", "serve --start 1")
        assert {s.url for s in engine.states()} == {a.server.url, b.server.url}
        answers = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(20)))
    assert {answer.server for answer in answers} == {a.server.url, b.server.url}
    assert all(h["Authorization"] == "Bearer key" for h in a.server.headers + b.server.headers)
    assert (a.running, b.running) == (False, False)


async def test_work_begins_with_the_first_and_the_others_join() -> None:
    a, b = LoopbackReplica("quick"), LoopbackReplica("slow", slow=1.0)
    async with fleet(a, b) as engine:
        assert [s.phase for s in engine.states()] == ["serving", "starting"]
        assert (await engine.generate(REQUEST)).server == a.server.url
        await until(lambda: engine.states()[1].phase == "serving")
        await asyncio.gather(*(engine.generate(REQUEST) for _ in range(10)))
    assert b.server.asked


async def test_progress_of_the_start_is_told() -> None:
    said: list[str] = []
    async with fleet(LoopbackReplica("slow", slow=0.4), say=said.append):
        await asyncio.sleep(0.2)
    assert said[0].startswith("0 of 1 servers ready: loading weights (")
    assert said[-1].startswith("1 of 1 servers ready (")
    assert len(said) == 2


@pytest.mark.parametrize("moves", [False, True])
async def test_a_dead_one_is_restarted_and_its_requests_move(moves: bool, caplog: pytest.LogCaptureFixture) -> None:
    a, b = two(server=None)
    for replica in (a, b):
        replica.server = Loopback(delay=0.5)
        replica.moves = moves
    async with fleet(a, b) as engine:
        await until(lambda: all(s.phase == "serving" for s in engine.states()))
        first_url = a.server.url
        waiting = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(20)]
        await until(lambda: len(a.server.asked) > 0)
        await a.die()
        done = await asyncio.gather(*waiting)
        await until(lambda: engine.states()[0].phase == "serving")
        assert (engine.states()[0].restarts, engine.states()[1].restarts) == (1, 0)
        assert (a.server.url != first_url) == moves
        assert {s.url for s in engine.engine.servers()} == {a.server.url, b.server.url}
        asked = len(a.server.asked)
        await asyncio.gather(*(engine.generate(REQUEST) for _ in range(20)))
        assert len(a.server.asked) > asked
    assert all(len(generation.token_ids) == 12 for generation in done)
    assert any(generation.attempts > 1 for generation in done)
    assert "first: it was killed; restart 1 of 5 in 0 s" in caplog.messages


async def test_requests_wait_for_the_only_one() -> None:
    a = LoopbackReplica("only", slow=0.3)
    async with fleet(a) as engine:
        await a.die()
        assert len((await engine.generate(REQUEST)).token_ids) == 12
    assert a.starts == 2


async def test_one_that_is_given_up_leaves_the_others_at_work(caplog: pytest.LogCaptureFixture) -> None:
    a, b = two()
    async with fleet(a, b, restarts=2) as engine:
        await until(lambda: all(s.phase == "serving" for s in engine.states()))
        a.fails = 100
        await a.die()
        await until(lambda: engine.states()[0].phase == "given up")
        assert a.starts == 3
        assert {(await engine.generate(REQUEST)).server for _ in range(5)} == {b.server.url}
        note = engine.states()[0].note
    assert note == "start 3 failed (log); given up after 2 restarts without a completion between them".replace(
        " (log)", ""
    )
    assert f"first: {note}" in caplog.messages


async def test_when_the_last_one_is_given_up_nothing_waits_any_longer() -> None:
    a, b = two()
    async with fleet(a, b, restarts=1) as engine:
        await until(lambda: all(s.phase == "serving" for s in engine.states()))
        for replica in (a, b):
            replica.fails = 100
            replica.server.delay = 60
        waiting = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(8)]
        await until(lambda: bool(a.server.asked and b.server.asked))
        await asyncio.gather(a.die(), b.die())
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        assert all(isinstance(result, EngineError) for result in results)
        with pytest.raises(EngineError, match=r"no server is left: .*first: start 2 failed; given up after 1 restart"):
            await engine.generate(REQUEST)


async def test_completions_win_back_the_restarts() -> None:
    a = LoopbackReplica("only")
    async with fleet(a, restarts=2) as engine:
        for death in range(6):
            await engine.generate(REQUEST)
            await a.die()
            await until(lambda: a.starts == death + 2 and engine.states()[0].phase == "serving")  # noqa: B023
        assert engine.states()[0].restarts == 6
        for _ in range(3):  # now without any between them
            starts = a.starts
            await a.die()
            await until(lambda: a.starts > starts or engine.states()[0].phase == "given up")  # noqa: B023
            await until(lambda: engine.states()[0].phase in ("serving", "given up"))
        assert engine.states()[0].phase == "given up"


async def test_a_frozen_one_is_killed_and_restarted() -> None:
    a, b = LoopbackReplica("frozen", Loopback(faults=["hang"], counting=False)), LoopbackReplica("well")
    async with fleet(a, b, patience_seconds=1.0) as engine:
        await until(lambda: all(s.phase == "serving" for s in engine.states()))
        waiting = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(6)]
        await until(lambda: bool(a.stops))
        a.server.faults = ["ok"]
        done = await asyncio.wait_for(asyncio.gather(*waiting), 20)
        await until(lambda: engine.states()[0].phase == "serving")
    assert a.starts == 2
    assert a.stops[0] is True  # a stopped process hears nothing but SIGKILL
    assert all(len(generation.token_ids) == 12 for generation in done)


async def test_one_that_lives_and_does_not_work_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "ASIDE_SECONDS", 0.5)
    a, b = two()
    async with fleet(a, b) as engine:
        await until(lambda: all(s.phase == "serving" for s in engine.states()))
        a.server.faults, a.server.page_faults = ["500"], {"/health": 503}
        began = time.monotonic()
        await asyncio.gather(*(engine.generate(REQUEST) for _ in range(10)))
        await until(lambda: bool(a.stops))
        assert time.monotonic() - began > 0.5
        a.server.faults, a.server.page_faults = ["ok"], {}
        await until(lambda: engine.states()[0].phase == "serving")
    assert (a.starts, b.starts) == (2, 1)


async def test_a_first_start_that_fails_once_is_no_end() -> None:
    a, b = LoopbackReplica("shaky", fails=1), LoopbackReplica("sound", slow=0.5)
    async with fleet(a, b) as engine:
        await until(lambda: all(s.phase == "serving" for s in engine.states()))
        assert (a.starts, b.starts) == (2, 1)


async def test_when_none_starts_the_reason_is_the_error(caplog: pytest.LogCaptureFixture) -> None:
    a, b = two(fails=100)
    said: list[str] = []
    with pytest.raises(UserError, match=r"^first: start 1 failed$"):
        async with fleet(a, b, say=said.append):
            pass
    assert said[-2:] == ["  | a line", "  | another line"]
    assert a.stops
    assert b.stops
    assert not any("second" in message for message in caplog.messages)  # no restart is promised that will not be


async def test_an_accident_of_ours_is_a_failed_start_too() -> None:
    a = LoopbackReplica("only")

    async def broken(say: Callable[[str], None]) -> str:
        raise OSError("no space left")

    a.start = broken  # type: ignore[method-assign]
    with pytest.raises(UserError, match="only: no space left"):
        async with fleet(a):
            pass


async def test_another_model_than_asked_for_is_not_used() -> None:
    a = LoopbackReplica("other", Loopback(model="other"))
    with pytest.raises(UserError, match="serves other, not tiny"):
        async with fleet(a):
            pass
    assert not a.running


async def test_leaving_by_an_error_stops_all_and_so_does_leaving_while_they_start() -> None:
    a, b = LoopbackReplica("quick"), LoopbackReplica("slow", slow=60)
    with pytest.raises(RuntimeError):
        async with fleet(a, b):
            raise RuntimeError
    assert (a.running, b.running, bool(b.stops)) == (False, False, True)

    async def enter() -> None:
        async with fleet(LoopbackReplica("a", slow=60), b):
            raise AssertionError

    entering = asyncio.create_task(enter())
    await asyncio.sleep(0.2)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert len(b.stops) == 2


async def test_nobody_else_is_asked_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with fleet(*two()) as engine:
        await engine.generate(REQUEST)
    assert "key" not in caplog.text


async def test_a_server_with_nothing_to_do_makes_room_for_another_model() -> None:
    a, b = two()
    a.waited_for = b.waited_for = True
    async with fleet(a, b) as engine:
        await until(lambda: [s.phase for s in engine.states()] == ["serving", "serving"])
        b.server.delay = 1.5
        busy = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(8)]
        await until(lambda: a.released == 1)  # the quick one is done first
        assert (a.running, engine.states()[0].phase) == (False, "released")
        assert {(await each).server for each in busy} == {a.server.url, b.server.url}
        await asyncio.sleep(0.5)
        assert engine.states()[1].phase == "serving"  # the last one stays, whoever waits
        assert (await engine.generate(REQUEST)).server == b.server.url
    assert (b.running, b.released) == (False, 1)


async def test_nobody_makes_room_while_nobody_waits() -> None:
    a, b = two()
    async with fleet(a, b) as engine:
        await until(lambda: [s.phase for s in engine.states()] == ["serving", "serving"])
        await asyncio.sleep(0.5)
        assert [s.phase for s in engine.states()] == ["serving", "serving"]
    assert (a.released, b.released) == (1, 1)

"""The faults that a run must survive, by name."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil

from tests.faults.proxy import MISCHIEFS, Mischief
from tests.faults.scene import Target, send

MISCHIEF_SECONDS = 20.0  # in which a mischief waits for requests to mistreat


@dataclass(frozen=True)
class Moment:
    """What a fault is done to. ``patience``: of the client, in seconds. ``running``: whether the run still goes on."""

    target: Target
    other: Target
    patience: float
    rng: random.Random
    running: Callable[[], bool]


# Does the fault, undoes what must be undone, and returns how many requests or processes it has met.
Inject = Callable[[Moment], Awaitable[int]]


@dataclass(frozen=True)
class FaultKind:
    """``restarts``: it leaves a server dead, which must come back before the next such fault. ``removes``: while it
    lasts its server gets no requests, so that no other fault could meet one there.
    """

    name: str
    inject: Inject
    restarts: bool = False
    removes: bool = False


def _mischief(name: Mischief) -> Inject:
    async def inject(at: Moment) -> int:
        times, proxy, loop = at.rng.randint(1, 8), at.target.proxy, asyncio.get_running_loop()
        async with proxy.turn:
            with proxy.doing(name, times):
                deadline = loop.time() + MISCHIEF_SECONDS
                while proxy.hits < times and at.running() and loop.time() < deadline:
                    await asyncio.sleep(0.02)
                return proxy.hits

    return inject


async def _short_silence(at: Moment) -> int:
    with at.target.proxy.silence():
        await asyncio.sleep(at.patience * 0.3)
    return 1


async def _long_silence(at: Moment) -> int:
    with at.target.proxy.silence():
        await asyncio.sleep(at.patience * 1.5)
    return 1


async def _refusal(at: Moment) -> int:
    await at.target.proxy.refuse()
    await asyncio.sleep(at.rng.uniform(0.2, 3.0))
    await at.target.proxy.listen()
    return 1


async def _refusal_everywhere(at: Moment) -> int:
    await asyncio.gather(_refusal(at), _refusal(Moment(at.other, at.target, at.patience, at.rng, at.running)))
    return 2


def _kill(which: Callable[[Target], list[psutil.Process]]) -> Inject:
    async def inject(at: Moment) -> int:
        return send(which(at.target), signal.SIGKILL)

    return inject


def _stop(which: Callable[[Target], list[psutil.Process]], patiences: float) -> Inject:
    async def inject(at: Moment) -> int:
        stopped = which(at.target)
        reached = send(stopped, signal.SIGSTOP)
        try:
            await asyncio.sleep(at.patience * patiences)
        finally:
            send(stopped, signal.SIGCONT)
        return reached

    return inject


def _everything(target: Target) -> list[psutil.Process]:
    return target.first() + target.engine()


PROXY_FAULTS = [FaultKind(name, _mischief(name)) for name in MISCHIEFS] + [
    FaultKind("network silent for a moment", _short_silence),
    FaultKind("network silent beyond patience", _long_silence, removes=True),
    FaultKind("network refuses for a while", _refusal, removes=True),
    FaultKind("network refuses everywhere", _refusal_everywhere),
]
PAUSE_FAULTS = [
    FaultKind("SIGSTOP engine for a moment", _stop(Target.engine, 0.3)),
    FaultKind("SIGSTOP engine beyond patience", _stop(Target.engine, 1.5), removes=True),
    FaultKind("SIGSTOP all for a moment", _stop(_everything, 0.3)),
    FaultKind("SIGSTOP all beyond patience", _stop(_everything, 1.5), removes=True),
]
KILL_FAULTS = [
    FaultKind("kill -9 API server", _kill(Target.first), restarts=True, removes=True),
    FaultKind("kill -9 engine", _kill(Target.engine), restarts=True, removes=True),
    FaultKind("kill -9 all of a replica", _kill(_everything), restarts=True, removes=True),
]
FAULTS = PROXY_FAULTS + PAUSE_FAULTS + KILL_FAULTS

"""Keeps an engine full: a bounded number of requests in flight, and jobs that lead to further jobs.

A graph, not phases: what follows from a finished completion (a probe, an extension) is asked at once, while
the long tail of the first jobs still runs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from extrap_eval.engines.base import Engine, EngineError, Generation, GenerationRequest

GIVE_UP_AFTER = 20  # failures in a row with no success between them


@dataclass(frozen=True)
class Job:
    """One request and what it is for: ``problem_id``, ``sample_index`` and ``stage`` name what it will be."""

    problem_id: str
    sample_index: int
    request: GenerationRequest
    stage: str = "rollout"


@dataclass(frozen=True)
class Failure:
    """A job that the engine could not do, and why."""

    job: Job
    reason: str


class Watcher(Protocol):
    """Is told what happens to each job; ``Tally`` is one."""

    def started(self, job: Job) -> None: ...

    def finished(self, job: Job, generation: Generation) -> None: ...

    def failed(self, job: Job) -> None: ...


OnDone = Callable[[Job, Generation], Awaitable[Iterable[Job]]]


@dataclass(frozen=True)
class GraphReport:
    """``stopped``: whether it gave up early, after too many failures in a row."""

    failures: tuple[Failure, ...]
    stopped: bool


async def run_graph(
    jobs: Iterable[Job],
    engine: Engine,
    on_done: OnDone,
    *,
    concurrency: int,
    watcher: Watcher,
    give_up_after: int = GIVE_UP_AFTER,
) -> GraphReport:
    """Do all jobs and all that follow from them, at most ``concurrency`` in flight.

    ``on_done`` is awaited with each job's completion and returns the jobs that follow; they go before those
    still waiting, since their prefix is fresh in the engine's cache. It may raise EngineError to refuse the
    completion. A job holds its place until ``on_done`` returns, so a slow disk slows the engine down rather
    than filling the memory.

    An EngineError fails its job alone. After ``give_up_after`` failures in a row no further job starts; those
    under way are awaited. Any other exception, cancellation too, cancels everything in flight and is raised.
    """
    crew = _Crew(jobs, engine, on_done, watcher, give_up_after)
    workers = [asyncio.create_task(crew.work()) for _ in range(max(1, concurrency))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return GraphReport(tuple(crew.failures), crew.stopped)


class _Crew:
    """What the workers of one graph share."""

    def __init__(self, jobs: Iterable[Job], engine: Engine, on_done: OnDone, watcher: Watcher, give_up_after: int):
        self._waiting = iter(jobs)
        self._following: deque[Job] = deque()
        self._engine = engine
        self._on_done = on_done
        self._watcher = watcher
        self._give_up_after = give_up_after
        self._in_a_row = 0
        self._running = 0
        self._idle: list[asyncio.Future[None]] = []  # workers that wait for what may follow from running jobs
        self.failures: list[Failure] = []
        self.stopped = False

    async def work(self) -> None:
        while (job := await self._next()) is not None:
            self._running += 1
            try:
                await self._do(job)
            finally:
                self._running -= 1
                self._wake(len(self._following) if self._running else len(self._idle))

    async def _next(self) -> Job | None:
        """The next job; None when there is none and none can follow from those under way."""
        while not self.stopped:
            if self._following:
                return self._following.popleft()
            if (job := next(self._waiting, None)) is not None:
                return job
            if self._running == 0:
                break
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        return None

    def _wake(self, workers: int) -> None:
        for _ in range(min(workers, len(self._idle))):
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)

    async def _do(self, job: Job) -> None:
        self._watcher.started(job)
        try:
            generation = await self._engine.generate(job.request)
            self._following.extend(await self._on_done(job, generation))
        except EngineError as error:
            self._watcher.failed(job)
            self.failures.append(Failure(job, " ".join(str(error).split()) or type(error).__name__))
            self._in_a_row += 1
            self.stopped = self.stopped or self._in_a_row >= self._give_up_after
        else:
            self._watcher.finished(job, generation)
            self._in_a_row = 0

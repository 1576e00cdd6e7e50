"""Keeps an engine full: a bounded number of requests in flight, and jobs that lead to further jobs.

A graph, not phases: what follows from a finished completion (a probe, an extension) is asked at once, while
the long tail of the first jobs still runs.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from extrap_eval.engines.base import Engine, EngineError, Generation, GenerationRequest, Sized

GIVE_UP_AFTER = 20  # failures in a row with no success between them


@dataclass(frozen=True)
class Job:
    """One request and what it is for: ``problem_id``, ``sample_index`` and ``stage`` name what it will be, and
    ``step``, ``replicate`` and ``prefix_tokens`` its place in a trace (``store.Completion``).

    ``read`` makes of the engine's answer what is kept of it; None: all. It may raise EngineError.

    Jobs of a lower ``rank`` go first. The rest of a chain takes long whatever else runs, so its beginning goes first.
    """

    problem_id: str
    sample_index: int
    request: GenerationRequest
    stage: str = "rollout"
    step: int | None = None
    replicate: int | None = None
    prefix_tokens: int | None = None
    rank: int = 0
    read: Callable[[Generation], Generation] | None = None


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

    def spare(self) -> None:
        """The engine could take more than there is to start now."""
        ...


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
    """Do all jobs and all that follow from them, at most ``concurrency`` in flight, and no more than keep the engine
    full where it knows (``Sized``): what waits here may still be chosen, and go to whichever server is free first.

    ``on_done`` is awaited with each job's completion and returns the jobs that follow; among jobs of one rank they
    go before those still waiting, since their prefix is fresh in the engine's cache. Both are made as they are
    started: an iterator may hold many large prompts. It may raise EngineError to refuse the completion. A job holds
    its place until ``on_done`` returns, so a slow disk slows the engine down rather than filling the memory.

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
        self._queue = _Queue(jobs)
        self._engine = engine
        self._sized = engine if isinstance(engine, Sized) else None
        self._on_done = on_done
        self._watcher = watcher
        self._give_up_after = give_up_after
        self._in_a_row = 0
        self._running = 0
        # Workers that wait for what may follow from running jobs, or for the engine to want more.
        self._idle: list[asyncio.Future[None]] = []
        self.failures: list[Failure] = []
        self.stopped = False

    async def work(self) -> None:
        while (job := await self._next()) is not None:
            self._running += 1
            try:
                await self._do(job)
            finally:
                self._running -= 1
                if not self._running:
                    self._wake(len(self._idle))
                elif self._queue.follows() or self._queue.waits():  # how many follow is known only when they are made
                    self._wake(self._limit() - self._running)

    async def _next(self) -> Job | None:
        """The next job; None when there is none and none can follow from those under way."""
        while not self.stopped:
            if self._running < self._limit():
                if (job := self._queue.pop()) is not None:
                    return job
                if self._running == 0:
                    break
                self._watcher.spare()
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        return None

    def _limit(self) -> int:
        return max(1, self._sized.in_flight_limit()) if self._sized is not None else sys.maxsize

    def _wake(self, workers: int) -> None:
        for _ in range(min(workers, len(self._idle))):
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)

    async def _do(self, job: Job) -> None:
        self._watcher.started(job)
        try:
            generation = await self._engine.generate(job.request)
            self._queue.add(await self._on_done(job, generation))
        except EngineError as error:
            self._watcher.failed(job)
            self.failures.append(Failure(job, " ".join(str(error).split()) or type(error).__name__))
            self._in_a_row += 1
            self.stopped = self.stopped or self._in_a_row >= self._give_up_after
        else:
            self._watcher.finished(job, generation)
            self._in_a_row = 0


class _Queue:
    """Jobs still to do: lowest rank first, then what follows before what waits, then in order of arrival."""

    def __init__(self, waiting: Iterable[Job]):
        self._waiting = iter(waiting)
        self._head: Job | None = None  # of those waiting
        self._following: list[tuple[int, int, Job, Iterator[Job]]] = []  # a heap: rank, arrival, first job, the others
        self._arrivals = count()
        self._ended = False

    def add(self, jobs: Iterable[Job]) -> None:
        self._put(next(self._arrivals), iter(jobs))

    def follows(self) -> bool:
        return bool(self._following)

    def waits(self) -> bool:
        """Whether there may be more of the jobs given at first."""
        return not self._ended

    def pop(self) -> Job | None:
        if self._head is None:
            self._head = next(self._waiting, None)
            self._ended = self._head is None
        if self._following and (self._head is None or self._following[0][0] <= self._head.rank):
            _, arrival, first, others = heapq.heappop(self._following)
            self._put(arrival, others)
            return first
        first_waiting, self._head = self._head, None
        return first_waiting

    def _put(self, arrival: int, jobs: Iterator[Job]) -> None:
        if (job := next(jobs, None)) is not None:
            heapq.heappush(self._following, (job.rank, arrival, job, jobs))

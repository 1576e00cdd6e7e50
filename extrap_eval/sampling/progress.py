"""How far sampling is, and the one line that says so."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TextIO

import numpy as np

from extrap_eval.engines.base import Engine, Generation, Replicated, ReplicaWork
from extrap_eval.sampling.replicas import block, summary
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.time_left import BINS, bin_of, time_left

LOG_EVERY = 10.0  # seconds between lines where there is no terminal
SERVERS_EVERY = 60.0  # likewise, between lines about the servers
_AROUND = 3  # rows of a terminal that the servers leave free


@dataclass(frozen=True)
class Snapshot:
    """Where a stage is. ``stored`` samples were there before, ``finished`` ones are on disk since; ``total``
    counts both and what is to come. ``tokens`` are those finished since; ``tokens_per_second`` adds an
    estimate of those in flight. ``eta_seconds`` is None until something has finished. ``replicas``: the servers
    at work, for an engine that has some. ``tail``: the engine could take more than there is to start now.
    """

    total: int
    stored: int
    finished: int
    failed: int
    running: int
    tokens: int
    seconds: float
    tokens_per_second: float
    eta_seconds: float | None
    replicas: tuple[ReplicaWork, ...] = ()
    tail: bool = False


Progress = Callable[[Snapshot], None]


class Tally:
    """Counts jobs as they start and end, and estimates how long the rest takes."""

    def __init__(self, *, total: int, stored: int = 0, clock: Callable[[], float] = time.monotonic):
        self._total = total
        self._stored = stored
        self._clock = clock
        self._began = clock()
        self._running: dict[int, tuple[float, int]] = {}  # id(job) -> when it started, its largest length
        self._lengths = np.zeros(BINS + 1, dtype=np.int64)  # of finished completions, see time_left.py
        self._finished = 0
        self._failed = 0
        self._tokens = 0
        self._fractions = 0.0  # finished lengths as fractions of their limits, summed up
        self._busy = 0.0  # seconds of all finished jobs
        self._spare = False

    def expect(self, more: int, *, stored: int = 0) -> None:
        """So many further jobs are to come (fewer, when negative: a chain has ended early), so many more are there."""
        self._total += more + stored
        self._stored += stored

    def started(self, job: Job) -> None:
        self._running[id(job)] = (self._clock(), job.request.max_tokens)
        self._spare = False

    def finished(self, job: Job, generation: Generation) -> None:
        began, limit = self._running.pop(id(job))
        tokens = len(generation.token_ids)
        self._busy += self._clock() - began
        self._finished += 1
        self._tokens += tokens
        self._fractions += tokens / limit
        self._lengths[bin_of(tokens / limit)] += 1

    def failed(self, job: Job) -> None:
        del self._running[id(job)]
        self._failed += 1

    def spare(self) -> None:
        self._spare = True

    def snapshot(self) -> Snapshot:
        now = self._clock()
        seconds = now - self._began
        pace = self._tokens / self._busy if self._busy > 0 else 0.0  # tokens per second of one request
        in_flight = sum(min(pace * (now - began), limit) for began, limit in self._running.values())
        return Snapshot(
            total=self._total,
            stored=self._stored,
            finished=self._finished,
            failed=self._failed,
            running=len(self._running),
            tokens=self._tokens,
            seconds=seconds,
            tokens_per_second=(self._tokens + in_flight) / seconds if seconds > 0 else 0.0,
            eta_seconds=self._eta(now),
            tail=self._spare,
        )

    def _eta(self, now: float) -> float | None:
        waiting = self._total - self._stored - self._finished - self._failed - len(self._running)
        if waiting <= 0 and not self._running:
            return 0.0
        if self._fractions <= 0 or self._busy <= 0:
            return None
        pace = self._fractions / self._busy
        ages = [min(bin_of(pace * (now - began)), BINS - 1) for began, _ in self._running.values()]
        return time_left(self._lengths, np.array(ages, dtype=np.int64), max(waiting, 0), pace)


def with_replicas(progress: Progress | None, engine: Engine) -> Progress | None:
    """``progress``, told of the engine's servers too where it has some."""
    if progress is None or not isinstance(engine, Replicated):
        return progress
    return lambda snapshot: progress(replace(snapshot, replicas=engine.replicas()))


@contextmanager
def progress_line(title: str, *, silent: bool, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show progress on ``stream`` (stderr): on a terminal one live line, with the servers under it; else a plain line
    every 10 seconds, and one about the servers every minute.

    Yields the function to call with every snapshot, as often as there is one. ``silent`` shows nothing.
    """
    with progress_lines(silent=silent, stream=stream) as titled:
        yield titled(title)


@contextmanager
def progress_lines(*, silent: bool, stream: TextIO | None = None) -> Iterator[Callable[[str], Progress]]:
    """``progress_line`` for stages that run at once: yields what makes of a title the function to call."""
    stream = stream or sys.stderr
    if silent:
        yield lambda title: lambda snapshot: None
    elif stream.isatty():
        with _live_lines(stream) as titled:
            yield titled
    else:
        with ExitStack() as lines:
            yield lambda title: lines.enter_context(_log_lines(title, stream))


@contextmanager
def _live_lines(stream: TextIO) -> Iterator[Callable[[str], Progress]]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream)
    with Live(console=console, auto_refresh=False) as live:
        last: dict[str, Snapshot] = {}

        def titled(title: str) -> Progress:
            def show(snapshot: Snapshot) -> None:
                last[title] = snapshot
                live.update(Text("\n".join(shown()), no_wrap=True, overflow="ellipsis"), refresh=True)

            return show

        def shown() -> Iterator[str]:
            at_work = sum(bool(each.replicas and each.running) for each in last.values())
            rows = (console.height - _AROUND - len(last) + 1) // max(1, at_work)
            for title, each in last.items():
                yield line(title, each)
                if each.replicas and (each.running or len(last) == 1):
                    yield from block(each.replicas, each.seconds, rows=rows)

        yield titled


@contextmanager
def _log_lines(title: str, stream: TextIO) -> Iterator[Progress]:
    last: Snapshot | None = None
    shown: Snapshot | None = None
    servers_next = SERVERS_EVERY

    def show(snapshot: Snapshot) -> None:
        nonlocal last, shown, servers_next
        last = snapshot
        if shown is None or snapshot.seconds - shown.seconds >= LOG_EVERY:
            shown = snapshot
            print(line(title, snapshot), file=stream, flush=True)
            if snapshot.replicas and snapshot.seconds >= servers_next:
                servers_next = snapshot.seconds + SERVERS_EVERY
                print(f"{title}: {summary(snapshot.replicas, snapshot.seconds)}", file=stream, flush=True)

    try:
        yield show
    finally:
        if last is not None and last is not shown:
            print(line(title, last), file=stream, flush=True)


def line(title: str, snapshot: Snapshot) -> str:
    """For example ``model on aime24: 412/480, 1,234 tokens/s, 64 running, 12 min left``."""
    parts = [
        f"{title}: {snapshot.stored + snapshot.finished}/{snapshot.total}",
        f"{snapshot.tokens_per_second:,.0f} tokens/s",
        f"{snapshot.running} running",
    ]
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    if snapshot.running:
        eta = snapshot.eta_seconds
        parts.append("time left not known yet" if eta is None else f"{duration(eta)} left")
    else:
        parts.append(f"took {duration(snapshot.seconds)}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"

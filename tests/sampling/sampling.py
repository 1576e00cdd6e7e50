"""A token source of the tests' own, and sampling in a process to be killed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from extrap_eval.engines.base import EngineError, EngineInfo, Generation, GenerationRequest
from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.sampling.rollouts import sample_rollouts
from extrap_eval.store import open_run


class OpenEngine:
    """What an engine needs that has nothing to open: all but ``generate``. ``kind``: what it calls itself."""

    kind = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(kind=self.kind, version=None, model=self.kind, context_length=None, exact_token_ids=True)


class ChanceEngine(OpenEngine):
    """Draws completions that follow from affinity and seed; may be slow and may fail, and remembers what it did."""

    kind = "chance"

    def __init__(
        self,
        *,
        seconds: Callable[[GenerationRequest], float] = lambda request: 0.0,
        fails: Callable[[GenerationRequest], str | None] = lambda request: None,
    ):
        self._seconds = seconds
        self._fails = fails
        self.requests: list[GenerationRequest] = []
        self.returned: list[GenerationRequest] = []
        self.cancelled: list[GenerationRequest] = []
        self.in_flight = 0
        self.peak = 0

    async def generate(self, request: GenerationRequest) -> Generation:
        self.requests.append(request)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            if (seconds := self._seconds(request)) > 0:
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        finally:
            self.in_flight -= 1
        if reason := self._fails(request):
            raise EngineError(reason)
        self.returned.append(request)
        return drawn(request)


def drawn(request: GenerationRequest) -> Generation:
    """What ``ChanceEngine`` answers to a request."""
    rng = np.random.default_rng([zlib.crc32(request.affinity.encode()), request.seed or 0])
    length = int(rng.integers(1, 2 * request.max_tokens))
    ids = rng.integers(10, 1000, min(length, request.max_tokens), dtype=np.int32)
    if length >= request.max_tokens:
        return Generation(ids, "length", prompt_tokens=len(request.prompt_token_ids), seconds=0.5)
    ids[-1] = 7
    return Generation(ids, "stop", stop_token_id=7, prompt_tokens=len(request.prompt_token_ids), seconds=0.5)


def sample_markov(path: Path, messages: Connection, seconds_per_token: float) -> None:
    """Sample what a run of the markov model misses, seeded; tell how it ended."""
    run = open_run(path)
    assert run.model_card.policy is not None
    engine = MarkovEngine(MarkovPolicy(**run.model_card.policy), seconds_per_token=seconds_per_token)  # type: ignore[arg-type]
    messages.send("ready")
    try:
        asyncio.run(sample_rollouts(run, engine, concurrency=16, seeded=5))
        messages.send("done")
    except KeyboardInterrupt:
        messages.send("interrupted")

"""A trace, and what a protocol (probes, forcing, sliding) says about the requests that go on from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.sampling.rollouts import affinity
from extrap_eval.sampling.scheduler import Job

RANK = 1  # after rollouts: these are the beginnings of everything else


@dataclass(frozen=True, eq=False)
class Trace:
    """A sample that others go on from: its chat prompt and its completion, int32 both. ``finished``: the model ended
    the completion itself.
    """

    problem_id: str
    sample_index: int
    prompt: np.ndarray
    ids: np.ndarray
    finished: bool


@dataclass(frozen=True, eq=False)
class Piece:
    """A completion in a chain. ``finished``: it ended by itself or at a stop, not at its cap."""

    ids: np.ndarray
    finished: bool


@dataclass(frozen=True)
class Draw:
    """How completions that follow are sampled."""

    temperature: float
    top_p: float
    top_k: int
    stop_token_ids: tuple[int, ...]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Draw:
        """From settings as a variant keeps them."""
        values = {field.name: settings[field.name] for field in fields(cls)}
        return cls(**values | {"stop_token_ids": tuple(values["stop_token_ids"])})


@dataclass(frozen=True)
class Price:
    """Requests, tokens in all their prompts, those of them that an engine with a prefix cache has to compute, and
    tokens in all their completions, at most.
    """

    requests: int = 0
    prompt_tokens: int = 0
    distinct_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Price) -> Price:
        return Price(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.distinct_tokens + other.distinct_tokens,
            self.completion_tokens + other.completion_tokens,
        )


def price_of(jobs: Iterable[Job]) -> Price:
    """What jobs of one trace come to, in the order in which they are asked."""
    requests = prompt_tokens = distinct = completion_tokens = 0
    last = np.empty(0, dtype=np.int32)
    for job in jobs:
        prompt = job.request.prompt_token_ids
        requests += 1
        prompt_tokens += len(prompt)
        completion_tokens += job.request.max_tokens
        distinct += len(prompt) - _shared(last, prompt)
        last = prompt
    return Price(requests, prompt_tokens, distinct, completion_tokens)


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    """Length of the longest common prefix."""
    if one is other:
        return len(one)
    length = min(len(one), len(other))
    different = one[:length] != other[:length]
    return int(different.argmax()) if different.any() else length


class TraceProtocol(Protocol):
    """Which requests a trace leads to.

    ``stages``: where their completions are kept; ``chain`` is the one whose completions, in order of their steps 1, 2,
    …, are the pieces of a chain (None: there is no chain). ``samples``: it applies to the first so many samples of
    every problem. ``needs_rollouts``: it goes on from completions, not from the bare prompt.
    """

    @property
    def stages(self) -> tuple[str, ...]: ...

    @property
    def chain(self) -> str | None: ...

    @property
    def samples(self) -> int: ...

    @property
    def needs_rollouts(self) -> bool: ...

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        """What can be asked once there are exactly these pieces, and not before; the next of the chain first."""
        ...

    def most(self, trace: Trace) -> int:
        """At most so many jobs from first to last; exact where there is no chain."""
        ...

    def price(self, trace: Trace) -> Price:
        """What the requests of a trace come to, at most; exact but for the lengths of completions without a chain."""
        ...

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        """At most so many tokens of prompt and completion together, for a trace of that length."""
        ...


def make_job(
    trace: Trace,
    stage: str,
    prompt: np.ndarray,
    max_tokens: int,
    draw: Draw,
    *,
    step: int,
    prefix_tokens: int,
    replicate: int = 0,
    stop_strings: tuple[str, ...] = (),
) -> Job:
    """A job of a trace; all of a trace have one affinity."""
    request = GenerationRequest(
        prompt_token_ids=prompt,
        max_tokens=max_tokens,
        temperature=draw.temperature,
        top_p=draw.top_p,
        top_k=draw.top_k,
        stop_token_ids=draw.stop_token_ids,
        stop_strings=stop_strings,
        affinity=affinity(trace.problem_id, trace.sample_index),
    )
    return Job(trace.problem_id, trace.sample_index, request, stage, step, replicate, prefix_tokens, RANK)

"""The one call every token source answers, and how it may fail."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np

FinishReason = Literal["stop", "length"]
TokenSource = Literal["engine", "retokenized"]


@dataclass(frozen=True)
class GenerationRequest:
    """One completion to sample. Token counts are completion tokens; the prompt never counts."""

    prompt_token_ids: np.ndarray  # int32, shape (prompt tokens,)
    max_tokens: int
    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = -1  # -1: not limited
    stop_token_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int = 0
    affinity: str = ""  # requests with the same key share a prefix and should meet the same server
    # int32 (max_tokens,): the completion, where it is there already and only its log-probabilities are asked for.
    given_token_ids: np.ndarray | None = None


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probabilities, in nats, of T completion tokens and of the k most probable alternatives at each.

    They are the model's own: before temperature, top-p and top-k. ``chosen`` (float32, shape (T,)) belongs to
    the completion's tokens; ``top_ids`` (int32, shape (T, k)) are the most probable ids, the first the most
    probable, and ``top`` (float32, shape (T, k)) theirs.
    """

    chosen: np.ndarray
    top_ids: np.ndarray
    top: np.ndarray


@dataclass(frozen=True)
class Generation:
    """One sampled completion.

    ``token_ids`` (int32, shape (completion tokens,)) are the ids as generated, the stop token included where the
    engine returns it. ``token_source`` is ``"retokenized"`` when the engine gave only text and the ids were
    made from it; ``text`` is then the record, otherwise it may be None.
    """

    token_ids: np.ndarray
    finish_reason: FinishReason
    text: str | None = None
    token_source: TokenSource = "engine"
    stop_token_id: int | None = None
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    seconds: float = 0.0
    attempts: int = 1  # requests sent until this one came back
    server: str = ""
    logprobs: TokenLogprobs | None = None  # only where ``top_logprobs`` was asked for and the engine knows them


@dataclass(frozen=True)
class EngineInfo:
    """What is known about a token source once it answers; goes into the run's manifest."""

    kind: str  # "vllm" | "sglang" | "openai" | "markov" | ...
    version: str | None
    model: str
    context_length: int | None  # prompt + completion tokens
    exact_token_ids: bool
    commands: tuple[str, ...] = ()  # of the servers that were started for this run, without their key
    stop_strings: bool = True  # whether a request may have some


@dataclass(frozen=True)
class ReplicaWork:
    """What one server of an engine does now, and what it has done for this engine.

    By the engine's own count: requests there now (``in_flight``), ``finished`` completions with their tokens
    (``cached_tokens``: of the prompts, None where the server does not report them), and ``retries``, requests
    that failed there and were sent again. By the server's own metrics, None where it shows none: requests
    ``running`` and ``waiting``, ``tokens_per_second``, and shares from 0 to 1: of prompt tokens that were in its
    cache (``cache_hit_rate``), of the cache that is in use (``cache_used``). ``down``: why it gets no requests.
    ``name``: what a person calls it, "" for its URL.
    """

    server: str
    in_flight: int = 0
    finished: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    retries: int = 0
    running: int | None = None
    waiting: int | None = None
    tokens_per_second: float | None = None
    cache_hit_rate: float | None = None
    cache_used: float | None = None
    down: str | None = None
    name: str = ""


class EngineError(Exception):
    """The engine cannot produce this completion now, after its own retries."""


class Engine(Protocol):
    """An asynchronous context manager that turns requests into completions, many at a time."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def info(self) -> EngineInfo: ...

    async def generate(self, request: GenerationRequest) -> Generation: ...


@runtime_checkable
class Replicated(Protocol):
    """What an engine may be beside an Engine: several servers, each of which can be looked at."""

    def replicas(self) -> tuple[ReplicaWork, ...]: ...


@runtime_checkable
class Sized(Protocol):
    """What an engine may be beside an Engine: one that knows how many requests keep it full."""

    def in_flight_limit(self) -> int:
        """At this moment."""
        ...

    def in_flight_most(self) -> int:
        """More than that many will never be asked for."""
        ...

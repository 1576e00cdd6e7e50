"""The one call every token source answers, and how it may fail."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

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


@dataclass(frozen=True)
class EngineInfo:
    """What is known about a token source once it answers; goes into the run's manifest."""

    kind: str  # "vllm" | "sglang" | "openai" | "markov" | ...
    version: str | None
    model: str
    context_length: int | None  # prompt + completion tokens
    exact_token_ids: bool


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

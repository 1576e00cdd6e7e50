"""One request on its way through the model."""

from __future__ import annotations

import time
import zlib
from array import array
from collections.abc import Iterator

import numpy as np

from extrap_eval.engines.base import Generation, GenerationRequest, TokenLogprobs

_DRAWS = 256  # uniform numbers drawn at once

# What one token leaves behind when log-probabilities are asked for: the chosen one's, the ids and values of the top.
TokenRecord = tuple[float, np.ndarray, np.ndarray]


class Row:
    """A request, the tokens it has so far and its own random numbers.

    ``stops`` are the ids that end it. ``cancelled`` may be set from another thread; whoever computes the row
    drops it then.
    """

    def __init__(self, request: GenerationRequest, stops: frozenset[int]) -> None:
        self.request = request
        self.prompt: list[int] = np.asarray(request.prompt_token_ids).tolist()
        self.stops = stops
        self.tokens = array("i")
        self.records: list[TokenRecord] = []
        self.cancelled = False
        self._draws = _uniforms(request)
        self._began: float | None = None

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt) + len(self.tokens)

    @property
    def longest(self) -> int:
        """What ``length`` may come to."""
        return len(self.prompt) + self.request.max_tokens

    def begin(self) -> None:
        self._began = time.monotonic()

    def draw(self) -> float:
        """The row's next random number in [0, 1)."""
        return next(self._draws)

    def add(self, token: int) -> bool:
        """Append a token; whether the completion ends with it."""
        self.tokens.append(token)
        return token in self.stops or len(self.tokens) == self.request.max_tokens

    def generation(self) -> Generation:
        """What has been made of the finished row."""
        ids = np.frombuffer(self.tokens, dtype=np.int32).copy()
        stop = int(ids[-1]) if int(ids[-1]) in self.stops else None
        return Generation(
            token_ids=ids,
            finish_reason="length" if stop is None else "stop",
            stop_token_id=stop,
            prompt_tokens=len(self.prompt),
            seconds=0.0 if self._began is None else time.monotonic() - self._began,
            logprobs=_stacked(self.records) if self.request.top_logprobs else None,
        )


def _uniforms(request: GenerationRequest) -> Iterator[float]:
    """Numbers in [0, 1) that depend on seed and prompt alone, or on nothing where there is no seed.

    The prompt takes part so that one seed for all problems does not correlate their completions.
    """
    if request.seed is None:
        rng = np.random.default_rng()
    else:
        prompt = zlib.crc32(np.asarray(request.prompt_token_ids, np.int32).tobytes())
        rng = np.random.default_rng([abs(request.seed), prompt])
    while True:
        yield from rng.random(_DRAWS).tolist()


def _stacked(records: list[TokenRecord]) -> TokenLogprobs:
    chosen, ids, values = zip(*records, strict=True)
    return TokenLogprobs(np.array(chosen, np.float32), np.stack(ids).astype(np.int32), np.stack(values))

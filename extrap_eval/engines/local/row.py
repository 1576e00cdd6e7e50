"""One request on its way through the model."""

from __future__ import annotations

import time
import zlib
from array import array
from collections.abc import Iterator

import numpy as np

from extrap_eval.engines.base import Generation, GenerationRequest, TokenLogprobs

_DRAWS = 256  # uniform numbers drawn at once


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
        self._chosen = array("f")
        self._top_ids, self._top = bytearray(), bytearray()  # int32 and float32, one token after the other
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

    def note(self, chosen: np.ndarray, top_ids: np.ndarray, top: np.ndarray) -> None:
        """Keep the log-probabilities of the next m tokens, (m,), and ids and values of the most probable, (m, k)."""
        self._chosen.frombytes(np.ascontiguousarray(chosen, np.float32).tobytes())
        self._top_ids += np.ascontiguousarray(top_ids, np.int32).tobytes()
        self._top += np.ascontiguousarray(top, np.float32).tobytes()

    def generation(self) -> Generation:
        """What has been made of the finished row."""
        given = self.request.given_token_ids
        if given is not None:
            return Generation(
                token_ids=np.array(given, np.int32),
                finish_reason="length",
                prompt_tokens=len(self.prompt),
                seconds=0.0 if self._began is None else time.monotonic() - self._began,
                logprobs=self._logprobs(),
            )
        ids = np.frombuffer(self.tokens, dtype=np.int32).copy()
        stop = int(ids[-1]) if int(ids[-1]) in self.stops else None
        return Generation(
            token_ids=ids,
            finish_reason="length" if stop is None else "stop",
            stop_token_id=stop,
            prompt_tokens=len(self.prompt),
            seconds=0.0 if self._began is None else time.monotonic() - self._began,
            logprobs=self._logprobs(),
        )

    def _logprobs(self) -> TokenLogprobs | None:
        if not self.request.top_logprobs:
            return None
        shape = (len(self._chosen), self.request.top_logprobs)
        return TokenLogprobs(
            np.array(self._chosen, np.float32),
            np.frombuffer(bytes(self._top_ids), np.int32).reshape(shape),
            np.frombuffer(bytes(self._top), np.float32).reshape(shape),
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

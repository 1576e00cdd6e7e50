"""What one server has done for this client, and how fast it works by its own counters."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from extrap_eval.engines.base import Generation
from extrap_eval.engines.http.answers import Load

LOOKS = 4  # the last so many looks give the current speed


@dataclass
class Ledger:
    """``finished`` completions and their tokens; ``retries``: requests that failed there and were sent again.
    ``cached_tokens`` is None until the server has reported some number, be it zero.
    """

    finished: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    retries: int = 0
    _first: Load | None = None
    _looks: deque[tuple[float, Load]] = field(default_factory=lambda: deque(maxlen=LOOKS))

    def completed(self, generation: Generation) -> None:
        self.finished += 1
        self.tokens += len(generation.token_ids)
        self.prompt_tokens += generation.prompt_tokens
        if generation.cached_tokens is not None:
            self.cached_tokens = (self.cached_tokens or 0) + generation.cached_tokens

    def looked(self, load: Load, now: float) -> None:
        """``now``: in seconds of any clock. Counters that have gone back are those of a server started anew."""
        if self._looks and _less(load.generated, self._looks[-1][1].generated):
            self._looks.clear()
            self._first = None
        self._first = self._first or load
        self._looks.append((now, load))

    @property
    def tokens_per_second(self) -> float | None:
        """Over the last looks; None while there are fewer than two, or no such counter."""
        if len(self._looks) < 2:
            return None
        (then, before), (now, last) = self._looks[0], self._looks[-1]
        if before.generated is None or last.generated is None or now <= then:
            return None
        return (last.generated - before.generated) / (now - then)

    @property
    def cache_hit_rate(self) -> float | None:
        """Of all prompt tokens that the server has taken since the first look, those that its cache held."""
        if self._first is None or not self._looks:
            return None
        first, last = self._first, self._looks[-1][1]
        if first.looked_up is None or last.looked_up is None or first.found is None or last.found is None:
            return None
        asked = last.looked_up - first.looked_up
        return (last.found - first.found) / asked if asked > 0 else None


def _less(new: float | None, old: float | None) -> bool:
    return new is not None and old is not None and new < old

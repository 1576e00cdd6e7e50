"""Looped endings: a completion that ends in the same block of tokens, over and over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_REPETITIONS = 3  # whole repetitions of the block
MIN_TOKENS = 96  # so that a short run of equal tokens ("0000", a dotted line) is no loop

# The last tokens of a loop recur one period earlier. This many do for every admissible period p: a loop has
# at least max(MIN_REPETITIONS * p, MIN_TOKENS) tokens, p of which have nothing a period before them.
_TAIL = MIN_TOKENS - MIN_TOKENS // MIN_REPETITIONS
_SIFTED, _MANY = 8, 64  # tokens after which so many candidates are left only in a loop of a short period


@dataclass(frozen=True)
class Loop:
    """``onset``: index of the first token of the repeating part. ``period``: tokens of the block."""

    onset: int
    period: int

    @property
    def certain_at(self) -> int:
        """Number of tokens from which on the loop is certain: every longer prefix ends in this loop."""
        return self.onset + certain_length(self.period)


def certain_length(period: int) -> int:
    """Tokens that a repetition of this period must have to be called a loop."""
    return max(MIN_REPETITIONS * period, MIN_TOKENS)


def final_loop(ids: np.ndarray) -> Loop | None:
    """The loop that a completion ends in, or None.

    ``ids``: integers, shape (n,). A loop of period p is a suffix of at least max(3·p, 96) tokens in which
    every token equals the one p places before it; the last repetition may be incomplete. Of several periods
    the smallest counts, and its suffix is taken as long as it goes.
    """
    n = len(ids)
    if n < MIN_TOKENS:
        return None
    last = n - 1
    longest = n // MIN_REPETITIONS
    # Candidate periods, ascending: distances back to earlier places where the last _TAIL tokens stand as well.
    periods = np.flatnonzero(ids[last - longest : last][::-1] == ids[last]) + 1
    for back in range(1, _TAIL):
        if periods.size == 0:
            return None
        if back == _SIFTED and periods.size > _MANY and _repeats(ids, int(periods[0])):
            break  # a short loop makes every multiple of its period a candidate that no sifting removes
        periods = periods[periods <= last - back]
        periods = periods[ids[last - back - periods] == ids[last - back]]
    for period in periods.tolist():
        if _repeats(ids, period):
            differs = np.flatnonzero(ids[period:] != ids[:-period])
            return Loop(onset=int(differs[-1]) + 1 if differs.size else 0, period=period)
    return None


def _repeats(ids: np.ndarray, period: int) -> bool:
    """Whether as many of the last tokens as a loop of this period must have equal those one period before."""
    compared = certain_length(period) - period
    return len(ids) >= compared + period and np.array_equal(ids[-compared:], ids[-compared - period : -period])

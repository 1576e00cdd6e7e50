"""GPUs and CPUs that the replicas of several models take in turn."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from extrap_eval.engines.servers.layout import Share

MOST = 0.95  # of a GPU's memory, by all servers on it together; each has a little beside its share
_NOISE = 1e-6  # of sums of fractions


@dataclass(eq=False)
class _Wish:
    units: frozenset[str]
    part: float
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Places:
    """Who runs where, among the fleets that were given it. All in one event loop.

    Several replicas share a GPU where their parts of its memory come to at most ``MOST``; CPUs are one replica's alone.
    """

    def __init__(self) -> None:
        self._used: defaultdict[str, float] = defaultdict(float)  # unit -> how much of it is taken
        self._wishes: list[_Wish] = []

    async def take(self, share: Share, memory_fraction: float | None) -> None:
        """Return once the share is free, and taken. ``memory_fraction``: of each GPU (None: all of it)."""
        wish = _Wish(_units(share), _part(share, memory_fraction))
        self._wishes.append(wish)
        self._grant()
        try:
            await wish.granted
        except asyncio.CancelledError:
            if wish in self._wishes:
                self._wishes.remove(wish)
            else:
                self.free(share, memory_fraction)
            raise

    def free(self, share: Share, memory_fraction: float | None) -> None:
        """Give back what was taken."""
        for unit in _units(share):
            self._used[unit] -= _part(share, memory_fraction)
        self._grant()

    def wanted(self, share: Share) -> bool:
        """Whether somebody waits for a part of a share."""
        return any(wish.units & _units(share) for wish in self._wishes)

    def _grant(self) -> None:
        for wish in list(self._wishes):
            if all(self._used[unit] + wish.part < MOST + _NOISE or self._used[unit] < _NOISE for unit in wish.units):
                for unit in wish.units:
                    self._used[unit] += wish.part
                self._wishes.remove(wish)
                wish.granted.set_result(None)


def _units(share: Share) -> frozenset[str]:
    return frozenset([f"GPU {gpu}" for gpu in share.gpus] or [f"CPU {core}" for core in share.cores])


def _part(share: Share, memory_fraction: float | None) -> float:
    return memory_fraction or 1.0 if share.gpus else 1.0

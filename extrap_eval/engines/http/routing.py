"""Which server a request goes to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from extrap_eval.engines.http.connection import Connection
from extrap_eval.engines.http.probe import Served

# A request leaves the server that holds its prefix only when that server is clearly the busier one.
OVERLOAD_RATIO = 1.5
OVERLOAD_SLACK = 8


@dataclass(eq=False)
class Endpoint:
    """One server as this client sees it: what it said, what it owes, and why it is set aside (None: it is
    not).
    """

    connection: Connection
    served: Served
    outstanding: set[asyncio.Timeout] = field(default_factory=set)
    down: str | None = None

    @property
    def base(self) -> str:
        return self.connection.base


def choose(endpoints: Sequence[Endpoint], affinity: str, avoid: Collection[Endpoint] = ()) -> Endpoint | None:
    """The server for a request, None when every server is set aside.

    Requests with the same affinity meet the same server (rendezvous hashing: when a server goes, only its
    own keys move) unless it has far more outstanding requests than the least loaded one; without affinity
    the least loaded one is taken. Servers in ``avoid`` are taken only when there is no other.
    """
    up = [endpoint for endpoint in endpoints if endpoint.down is None]
    candidates = [endpoint for endpoint in up if endpoint not in avoid] or up
    if not candidates:
        return None
    least = min(candidates, key=lambda endpoint: len(endpoint.outstanding))
    if not affinity:
        return least
    preferred = max(candidates, key=lambda endpoint: _weight(affinity, endpoint.base))
    limit = OVERLOAD_RATIO * len(least.outstanding) + OVERLOAD_SLACK
    return least if len(preferred.outstanding) > limit else preferred


def _weight(affinity: str, server: str) -> bytes:
    return blake2b(f"{server}\0{affinity}".encode(), digest_size=8).digest()

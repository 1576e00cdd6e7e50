"""Which server a request goes to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from extrap_eval.engines.base import ReplicaWork
from extrap_eval.engines.http.answers import Load
from extrap_eval.engines.http.connection import Connection, Fault
from extrap_eval.engines.http.ledger import Ledger
from extrap_eval.engines.http.probe import Served
from extrap_eval.engines.http.sizing import IN_FLIGHT_PER_ENDPOINT

# A request leaves the server that holds its prefix only when that server is clearly the busier one. The requests of one
# trace come many at a time (every answer to every probe), so an eighth of what a server should have is no reason yet.
OVERLOAD_RATIO = 1.5
OVERLOAD_SLACK = 8
OVERLOAD_SHARE = 8
# Where no server is known to hold the prefix, balance counts for more: the busiest one decides when a run ends.
FRESH_RATIO = 1.1
FRESH_SLACK = 1


@dataclass(eq=False)
class Waiting:
    """One request that a server has: its time limit, when (in the event loop's time) it was sent or anything of
    its answer was last seen, and why it was ended before the limit.
    """

    limit: asyncio.Timeout
    seen: float
    ended: Fault | None = None


@dataclass(frozen=True)
class ServerState:
    """Whether a server may be trusted. ``outstanding``: requests that it owes answers to. ``down``: why it gets no
    requests (None: it does); ``down_since`` in the event loop's time. ``stuck``: it took requests and stopped
    making progress, so it may be frozen although its process lives.
    """

    url: str
    outstanding: int
    down: str | None
    down_since: float | None
    stuck: bool


@dataclass(eq=False)
class Endpoint:
    """One server as this client sees it: what it said, what it owes, and why it is set aside (None: it is
    not).

    ``expected``: whoever supervises it has said that it will be back. ``stuck``: it took requests and made no
    progress. ``strikes``: how often it was set aside since it last completed a request. ``closed_until``: it
    asked for no requests before that time of the event loop.
    """

    connection: Connection
    served: Served
    outstanding: set[Waiting] = field(default_factory=set)
    down: str | None = None
    down_since: float | None = None
    expected: bool = False
    stuck: bool = False
    strikes: int = 0
    closed_until: float = 0.0
    load: Load | None = None  # as last seen
    bound: int = IN_FLIGHT_PER_ENDPOINT  # how many requests it should have
    ledger: Ledger = field(default_factory=Ledger)
    watching: asyncio.Task[None] | None = None
    reviving: asyncio.Task[None] | None = None
    # Whether its log-probabilities are the model's own; None while nobody has looked.
    raw_logprobs: asyncio.Task[bool] | None = None

    @property
    def base(self) -> str:
        return self.connection.base

    def state(self) -> ServerState:
        return ServerState(self.base, len(self.outstanding), self.down, self.down_since, self.stuck)

    def work(self) -> ReplicaWork:
        """What it does now, and what it has done."""
        ledger, load = self.ledger, self.load or self.served.load
        idle = not self.outstanding  # then nobody looks at its counters
        return ReplicaWork(
            self.base,
            in_flight=len(self.outstanding),
            finished=ledger.finished,
            tokens=ledger.tokens,
            prompt_tokens=ledger.prompt_tokens,
            cached_tokens=ledger.cached_tokens,
            retries=ledger.retries,
            running=None if load is None else 0 if idle else load.running,
            waiting=None if load is None else 0 if idle else load.waiting,
            tokens_per_second=0.0 if idle and load is not None else ledger.tokens_per_second,
            cache_hit_rate=ledger.cache_hit_rate,
            cache_used=None if load is None else load.cache_used,
            down=self.down,
        )


def choose(
    endpoints: Sequence[Endpoint], affinity: str, avoid: Collection[Endpoint] = (), home: Endpoint | None = None
) -> Endpoint | None:
    """The server for a request, None when every server is set aside.

    Requests with the same affinity meet the same server: ``home``, which is known to hold their prefix, or
    the one that rendezvous hashing names (when a server goes, only its own keys move); unless that one has
    far more outstanding requests than the least loaded one. Without affinity the least loaded one is taken.
    Servers in ``avoid`` are taken only when there is no other.
    """
    up = [endpoint for endpoint in endpoints if endpoint.down is None]
    candidates = [endpoint for endpoint in up if endpoint not in avoid] or up
    if not candidates:
        return None
    least = min(candidates, key=lambda endpoint: len(endpoint.outstanding))
    if not affinity:
        return least
    if home in candidates:
        preferred, ratio, slack = home, OVERLOAD_RATIO, max(OVERLOAD_SLACK, home.bound // OVERLOAD_SHARE)
    else:
        preferred = max(candidates, key=lambda endpoint: _weight(affinity, endpoint.base))
        ratio, slack = FRESH_RATIO, FRESH_SLACK
    return least if len(preferred.outstanding) > ratio * len(least.outstanding) + slack else preferred


def _weight(affinity: str, server: str) -> bytes:
    return blake2b(f"{server}\0{affinity}".encode(), digest_size=8).digest()

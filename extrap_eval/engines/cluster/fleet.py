"""Servers on the nodes of a Ray cluster as one engine."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from extrap_eval.engines.base import EngineInfo, Generation, GenerationRequest, ReplicaWork
from extrap_eval.engines.cluster.connect import cluster_nodes, connected
from extrap_eval.engines.cluster.places import Need, need_of
from extrap_eval.engines.cluster.replica import RayReplica
from extrap_eval.engines.cluster.server_actor import Order
from extrap_eval.engines.http.sizing import MOST_PER_ENDPOINT
from extrap_eval.engines.servers.fleet import RESTARTS, ReplicaState, ServerFleet
from extrap_eval.engines.servers.launch import ServerSpec
from extrap_eval.engines.servers.replica import Say
from extrap_eval.errors import UserError

GRANT_SECONDS = 10.0  # in which an idle cluster has set aside everything that is free


@dataclass(frozen=True)
class Room:
    """What a cluster has for the replicas wanted. ``most``: how many there can be; ``fixed``: so many were asked
    for, and are waited for, while otherwise those are taken for which there is room at the start.
    """

    address: str
    need: Need
    most: int
    fixed: bool


def find_room(address: str, *, tensor_parallel: int = 1, replicas: int | None = None) -> Room:
    """Ask the cluster. Raises UserError when none answers, or it has no room even with nothing else running."""
    with connected(address):
        nodes = cluster_nodes()
    need = need_of(nodes, tensor_parallel=tensor_parallel, replicas=replicas)
    return Room(address, need, replicas or sum(map(need.fits, nodes)), replicas is not None)


class ClusterFleet:
    """An engine on a Ray cluster; an asynchronous context manager.

    What a ``ServerFleet`` is, with each server in an actor that Ray places on a node with free GPUs (or on a
    cluster without any by CPUs) and starts again elsewhere when its node dies. ``spec.python`` names the
    interpreter on the nodes that has the engine, "" the one that Ray runs with there; ``logs`` is the folder
    for the servers' logs, where nodes see it. The remaining arguments are those of ``ServerFleet``.

    Entering raises UserError when no cluster answers, it has no room, or no server starts. Leaving ends every
    server and disconnects; if this process dies instead, Ray ends the actors and their servers end with them.
    """

    def __init__(
        self,
        spec: ServerSpec,
        room: Room,
        *,
        logs: Path,
        api_key: str,
        max_in_flight: int | None = None,
        patience_seconds: float | None = None,
        restarts: int = RESTARTS,
        say: Say = lambda line: None,
    ) -> None:
        self._spec = spec
        self._room = room
        self._logs = logs
        self._api_key = api_key
        self._max_in_flight = max_in_flight
        self._patience = patience_seconds
        self._restarts = restarts
        self._say = say
        self._fleet: ServerFleet | None = None
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._logs.mkdir(parents=True, exist_ok=True)  # so that nodes which share it see it
            stack.enter_context(connected(self._room.address))
            replicas = self._reserve()
            stack.callback(_release, replicas)
            fleet = ServerFleet(
                replicas,
                kind=self._spec.kind,
                served_name=self._spec.served_name,
                api_key=self._api_key,
                max_in_flight=self._max_in_flight,
                patience_seconds=self._patience,
                restarts=self._restarts,
                say=self._say,
            )
            self._fleet = await stack.enter_async_context(fleet)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.__aexit__(kind, error, trace)

    @property
    def info(self) -> EngineInfo:
        return self.fleet.info

    @property
    def fleet(self) -> ServerFleet:
        if self._fleet is None:
            raise RuntimeError("the engine is not open: use it as an asynchronous context manager")
        return self._fleet

    def states(self) -> tuple[ReplicaState, ...]:
        return self.fleet.states()

    def replicas(self) -> tuple[ReplicaWork, ...]:
        return self.fleet.replicas()

    def in_flight_limit(self) -> int:
        return self.fleet.in_flight_limit()

    def in_flight_most(self) -> int:
        return self._max_in_flight or MOST_PER_ENDPOINT * self._room.most

    async def generate(self, request: GenerationRequest) -> Generation:
        return await self.fleet.generate(request)

    def _reserve(self) -> list[RayReplica]:
        """The replicas wanted, or those for which there is room now."""
        room, kind = self._room, self._spec.kind
        replicas = [
            RayReplica(Order(self._spec, room.need, number, self._api_key, self._logs / f"{kind}-{number}.log"))
            for number in range(room.most)
        ]
        if room.fixed:
            return replicas
        granted = _granted(replicas)
        _release([replica for replica in replicas if replica not in granted])
        if not granted:
            raise UserError(
                f"the cluster has nothing free: a replica takes {room.need}; end what runs there, or wait for it with "
                "--replicas N"
            )
        return granted


def _granted(replicas: Sequence[RayReplica]) -> list[RayReplica]:
    """Those for which the cluster has set resources aside within the time that takes."""
    import ray

    waiting = {replica.granted(): replica for replica in replicas}
    ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=GRANT_SECONDS)
    return [replica for reference, replica in waiting.items() if reference in ready]


def _release(replicas: Sequence[RayReplica]) -> None:
    for replica in replicas:
        replica.release()

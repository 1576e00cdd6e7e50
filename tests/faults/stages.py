"""A fleet of real servers for the faults: what ``--engine vllm`` starts, with a proxy before each server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from extrap_eval.engines.servers.fleet import ServerFleet
from extrap_eval.engines.servers.launch import EngineKind, ServerSpec
from extrap_eval.engines.servers.layout import Share, divided, this_machine
from extrap_eval.engines.servers.replica import LocalReplica, Say
from tests.engine_servers import python_of
from tests.faults.proxy import FaultyProxy
from tests.faults.scene import Stage, Target, proxies

CONTEXT_LENGTH = 1024
NAME = "faulty"


class ProxiedReplica:
    """A replica that is reached through a proxy, at an address that outlives it."""

    def __init__(self, inner: LocalReplica, proxy: FaultyProxy) -> None:
        self._inner = inner
        self.proxy = proxy

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def command(self) -> str:
        return self._inner.command

    @property
    def pid(self) -> int | None:
        return self._inner.pid

    async def start(self, say: Say) -> str:
        self.proxy.upstream = await self._inner.start(say)
        return self.proxy.url

    async def died(self) -> str:
        return await self._inner.died()

    async def stop(self, *, at_once: bool = False) -> None:
        await self._inner.stop(at_once=at_once)


class FleetStage:
    def __init__(self, fleet: ServerFleet, replicas: Sequence[ProxiedReplica]) -> None:
        self.engine = fleet
        self.targets = [Target(replica.proxy, lambda r=replica: r.pid) for replica in replicas]  # type: ignore[misc]

    async def settled(self) -> None:
        while not self._all_serve():
            given_up = [state.note for state in self.engine.states() if state.phase == "given up"]
            if given_up:
                raise RuntimeError("; ".join(given_up))
            await asyncio.sleep(0.2)

    def _all_serve(self) -> bool:
        return all(state.phase == "serving" for state in self.engine.states()) and all(
            server.down is None for server in self.engine.engine.servers()
        )


@asynccontextmanager
async def stage(kind: EngineKind, directory: Path, model: str, *, patience: float) -> AsyncIterator[Stage]:
    """Two servers, each on a core of its own where there are two. ``model`` is a folder."""
    key = secrets.token_urlsafe(16)
    spec = ServerSpec(kind, str(python_of(kind)), model, NAME, CONTEXT_LENGTH, dtype="bfloat16")
    memory = psutil.virtual_memory().total // 4
    cores = this_machine().cores
    parts = divided(cores, 2) if len(cores) > 1 else [cores, cores]
    async with proxies(2) as between:
        replicas = [
            ProxiedReplica(
                LocalReplica(
                    spec, Share(cores=parts[i], memory=memory), number=i, log=directory / f"{kind}-{i}.log", api_key=key
                ),
                proxy,
            )
            for i, proxy in enumerate(between)
        ]
        fleet = ServerFleet(
            replicas, kind=kind, served_name=NAME, api_key=key, patience_seconds=patience, restarts=20, say=print
        )
        async with fleet:
            yield FleetStage(fleet, replicas)

"""What runs on a node: an actor that owns one server."""

from __future__ import annotations

import dataclasses
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from extrap_eval.engines.cluster.places import Need
from extrap_eval.engines.servers.installation import find_engine
from extrap_eval.engines.servers.launch import ServerSpec
from extrap_eval.engines.servers.layout import Share
from extrap_eval.engines.servers.replica import LocalReplica, ServerFailed
from extrap_eval.errors import UserError


@dataclass(frozen=True)
class Order:
    """What one actor is to run. ``spec.python`` is what the user named, "" for that of the node's own Ray.

    ``log`` is written where its folder exists on the node too, else beneath the node's temporary folder.
    """

    spec: ServerSpec
    need: Need
    number: int
    api_key: str
    log: Path


@dataclass(frozen=True)
class Up:
    """The server answers."""

    url: str
    node: str
    command: str


@dataclass(frozen=True)
class Failed:
    """It did not come up; see ``ServerFailed``."""

    reason: str
    tail: tuple[str, ...] = ()


class ServerActor:
    """Asynchronous methods only, so that questions are answered while a server starts.

    Failures are returned and not raised: what Ray makes of an exception is for developers.
    """

    def __init__(self, order: Order) -> None:
        import ray

        address: str = ray.util.get_node_ip_address()
        self._order = order
        self._address = address
        self._node = f"{socket.gethostname()} ({address})"
        self._words = ""
        self._replica: LocalReplica | None = None

    async def start(self) -> Up | Failed:
        """Start the server anew, on this node's address."""
        await self.stop(at_once=True)
        self._words = f"starting on {self._node}"
        try:
            self._replica = self._new_replica()
            url = await self._replica.start(self._hear)
        except ServerFailed as failed:
            return Failed(f"{self._node}: {failed.reason}", failed.tail)
        except UserError as error:
            return Failed(f"{self._node}: {error}")
        return Up(url, self._node, self._replica.command)

    async def words(self) -> str:
        """What the server is doing, while it starts."""
        return self._words

    async def died(self) -> str:
        """Return why when the server is gone."""
        if self._replica is None:
            return f"{self._node}: Ray has started the actor anew"
        return f"{self._node}: {await self._replica.died()}"

    async def stop(self, *, at_once: bool = False) -> None:
        if self._replica is not None:
            await self._replica.stop(at_once=at_once)

    def _hear(self, words: str) -> None:
        self._words = f"{self._node}: {words}"

    def _new_replica(self) -> LocalReplica:
        order = self._order
        model = Path(order.spec.model)
        if model.is_absolute() and not model.exists():
            raise UserError(
                f"{model} is not there: put the weights on a file system that all nodes share, or name a hub id"
            )
        python = find_engine(order.spec.kind, order.spec.python or None).python
        return LocalReplica(
            dataclasses.replace(order.spec, python=python),
            Share(allotted_gpus=True) if order.need.gpus else Share(threads=order.need.cpus, memory=self._memory()),
            number=order.number,
            log=self._log(),
            api_key=order.api_key,
            host=self._address,
        )

    def _memory(self) -> int:
        """Bytes of this node's memory in proportion to its CPUs."""
        import psutil

        share = min(1.0, self._order.need.cpus / (os.cpu_count() or 1))
        return int(psutil.virtual_memory().total * share)

    def _log(self) -> Path:
        log = self._order.log
        if log.parent.is_dir():
            return log
        return Path(tempfile.gettempdir()) / "extrap-eval-logs" / f"{os.getpid()}-{log.name}"

"""The way onto a Ray cluster and off it."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from types import ModuleType

from extrap_eval.engines.cluster.places import Node
from extrap_eval.errors import UserError

REACH_SECONDS = 10.0
_START = (
    "start a cluster (ray start --head, then ray start --address HEAD:6379 on the other nodes) or name the one there is"
)


@contextlib.contextmanager
def connected(address: str = "auto") -> Iterator[None]:
    """A driver on the cluster at ``address`` (HOST:PORT, or "auto": RAY_ADDRESS, else the cluster that this machine
    belongs to). Leaving ends everything of the driver there, unless the caller was connected before.

    Raises UserError when Ray is not installed or no cluster answers.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    _reach(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--ray-address {address}: cannot connect ({reason[:300]}): {_START}") from None
    with contextlib.suppress(ValueError):  # in another thread than the main one Ray leaves signals alone too
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own exits on the spot
    try:
        yield
    finally:
        ray.shutdown()


def cluster_nodes() -> list[Node]:
    """The living machines of the cluster that this driver is connected to."""
    found = []
    for node in _ray().nodes():
        if node["Alive"]:
            what = node["Resources"]
            name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
            found.append(Node(name, address, int(what.get("GPU", 0)), int(what.get("CPU", 0))))
    return found


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed here: pip install 'extrap-eval[ray]'") from None
    return ray


def _reach(address: str) -> None:
    """Ray itself tries for minutes, and says nothing, where nobody listens."""
    if "://" in address:
        raise UserError(
            f"--ray-address {address}: completions come straight from the servers on the nodes, so run this command "
            "on a node of the cluster (on Kubernetes: in the head pod) with --ray-address auto"
        )
    host, _, port = address.rpartition(":")
    if address in ("auto", "local") or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"--ray-address {address}: no Ray cluster answers there ({reason}): {_START}") from None

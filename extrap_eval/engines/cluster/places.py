"""How many servers a cluster has room for, and what each takes. Ray itself decides where they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from extrap_eval.errors import UserError


@dataclass(frozen=True)
class Node:
    """A machine of the cluster and what Ray may give away there, taken or not. Servers listen at ``address``."""

    name: str
    address: str
    gpus: int
    cpus: int


@dataclass(frozen=True)
class Need:
    """What one replica takes of one node: GPUs, or on a cluster without any CPUs."""

    gpus: int = 0
    cpus: int = 0

    @property
    def bundle(self) -> dict[str, float]:
        return {"GPU": float(self.gpus)} if self.gpus else {"CPU": float(self.cpus)}

    def __str__(self) -> str:
        number, what = (self.gpus, "GPU") if self.gpus else (self.cpus, "CPU")
        return f"{number} {what}" if number == 1 else f"{number} {what}s"

    def fits(self, node: Node) -> int:
        """How many such replicas the node has room for when nothing else runs there."""
        return node.gpus // self.gpus if self.gpus else node.cpus // self.cpus


def need_of(nodes: Sequence[Node], *, tensor_parallel: int = 1, replicas: int | None = None) -> Need:
    """A tensor-parallel group of GPUs. On a cluster without GPUs the most CPUs that still leave room for all
    replicas (None: one per node).

    Raises UserError where the cluster has no room for one replica, or without GPUs for all of them.
    """
    if any(node.gpus for node in nodes):
        need = Need(gpus=tensor_parallel)
        if not any(need.fits(node) for node in nodes):
            most = max(node.gpus for node in nodes)
            raise UserError(
                f"--tp {tensor_parallel}: no node has so many GPUs (the most is {most}): lower it, or start a server "
                "over several nodes with the engine's own launcher and name it with --endpoint"
            )
        return need
    wanted = replicas or sum(node.cpus >= tensor_parallel for node in nodes)
    for cpus in range(max((node.cpus for node in nodes), default=0), tensor_parallel - 1, -1):
        need = Need(cpus=cpus)
        if sum(map(need.fits, nodes)) >= max(1, wanted):
            return need
    raise UserError(
        f"{max(1, wanted)} x {tensor_parallel} CPUs wanted (replicas x tensor parallel) and no GPU in the cluster, "
        f"whose {len(nodes)} nodes have {sum(node.cpus for node in nodes)} CPUs: lower --replicas or --tp"
    )


def assumed_nodes(number: int, gpus: int) -> list[Node]:
    """Nodes that are not there, to show what would be started on a cluster of them."""
    return [Node(f"node-{index}", f"node-{index}", gpus, cpus=0) for index in range(1, number + 1)]


def spread(nodes: Sequence[Node], need: Need, replicas: int | None = None) -> list[tuple[Node, tuple[str, ...]]]:
    """Where replicas fit, node by node: the node and the indices of the GPUs (none without GPUs).

    Raises UserError where there is room for fewer than ``replicas``; None takes all there is.
    """
    places = [
        (node, tuple(str(gpu) for gpu in range(i * need.gpus, (i + 1) * need.gpus)))
        for node in nodes
        for i in range(need.fits(node))
    ]
    if replicas is not None and replicas > len(places):
        raise UserError(
            f"--replicas {replicas}: {len(nodes)} nodes have room for {len(places)} of {need} each: lower it"
        )
    return places[:replicas]

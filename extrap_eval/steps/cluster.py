"""The servers that a sampling plan needs on a Ray cluster, as an engine or as a list of commands."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.errors import UserError
from extrap_eval.steps.servers import LOGS, Preview, ServerOptions, server_spec

if TYPE_CHECKING:
    from extrap_eval.engines.cluster.fleet import ClusterFleet
    from extrap_eval.engines.servers.launch import EngineKind, ServerSpec
    from extrap_eval.steps.sample import SamplingPlan

FIRST_PORT = 8000  # in what is shown; nodes draw theirs


def served_on_ray(engine: str) -> EngineKind | None:
    """What the servers are that ``--engine`` asks for on a Ray cluster; None where it asks for something else.

    Raises UserError for ``ray:`` before another word than the kinds of servers.
    """
    from extrap_eval.engines.servers.launch import KINDS

    name, _, wanted = engine.partition(":")
    if name != "ray":
        return None
    for kind in KINDS:
        if kind == (wanted or KINDS[0]):
            return kind
    raise UserError(f"--engine {engine}: after ray: comes one of {', '.join(KINDS)}")


def open_cluster(
    plan: SamplingPlan,
    kind: EngineKind,
    options: ServerOptions,
    *,
    run: Path,
    address: str = "auto",
    context_length: int | None = None,
    concurrency: int | None = None,
    patience_seconds: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ClusterFleet:
    """Servers for a plan on the Ray cluster at ``address``, not started yet; nodes that see the run directory
    ``run`` put their logs there. ``options.engine_python`` is a path on the nodes; ``context_length`` as in
    ``server_spec``.

    Raises UserError for options that mean nothing on a cluster, for a plan without weights, and when there is no
    cluster or it has no room.
    """
    from extrap_eval.engines.cluster.fleet import ClusterFleet, find_room

    if options.gpus is not None:
        raise UserError(
            f"--gpus {options.gpus}: on a cluster Ray gives the GPUs away; use --replicas (--gpus is for --nodes)"
        )
    # "": whichever interpreter Ray runs with on the node.
    spec = _spec(plan, kind, options, "", context_length)
    return ClusterFleet(
        spec,
        find_room(address, tensor_parallel=spec.tensor_parallel, replicas=options.replicas),
        logs=run.resolve() / LOGS,
        api_key=secrets.token_urlsafe(24),
        max_in_flight=concurrency,
        patience_seconds=patience_seconds,
        say=say,
    )


def preview_cluster(
    plan: SamplingPlan, kind: EngineKind, options: ServerOptions, *, address: str = "auto", nodes: int | None = None
) -> Preview:
    """What would be started, on the cluster at ``address`` or on one of so many ``nodes`` with ``options.gpus``
    GPUs each, which need not be there. Ray places replicas as it finds room; this shows one way in which they fit.
    """
    from extrap_eval.engines.cluster.connect import cluster_nodes, connected
    from extrap_eval.engines.cluster.places import assumed_nodes, need_of, spread
    from extrap_eval.engines.servers.launch import server_command
    from extrap_eval.engines.servers.layout import Share

    spec = _spec(plan, kind, options, "python")
    notes = []
    if nodes is None:
        with connected(address):
            machines = cluster_nodes()
    elif not options.gpus:
        raise UserError(f"--nodes {nodes}: say with --gpus how many GPUs each node has")
    else:
        machines = assumed_nodes(nodes, options.gpus)
        notes.append(f"{nodes} nodes with {options.gpus} GPUs each")
    need = need_of(machines, tensor_parallel=spec.tensor_parallel, replicas=options.replicas)
    servers = []
    for number, (node, gpus) in enumerate(spread(machines, need, options.replicas)):
        share = Share(gpus=gpus) if gpus else Share(threads=need.cpus)
        seed = secrets.randbelow(2**31)
        command = server_command(spec, share, port=FIRST_PORT + number, seed=seed, host=node.address)
        servers.append((f"{node.name}, {share}", str(command)))
    return Preview(tuple(servers), tuple(notes))


def _spec(
    plan: SamplingPlan, kind: EngineKind, options: ServerOptions, python: str, context_length: int | None = None
) -> ServerSpec:
    named = str(options.engine_python or python)
    return server_spec(plan, kind, options, python=named, context_length=context_length)

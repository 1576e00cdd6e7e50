"""The servers that a sampling plan needs on this machine: what they serve, where each runs, and all of them as an
engine.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.engines.servers.fleet import ServerFleet
    from extrap_eval.engines.servers.launch import EngineKind, ServerSpec
    from extrap_eval.engines.servers.layout import Machine, Share
    from extrap_eval.steps.sample import SamplingPlan

SERVED_HERE: tuple[EngineKind, ...] = ("vllm", "sglang")
# Beyond prompt and completion: SGLang needs two tokens more than it is asked for.
CONTEXT_SLACK = 8
LOGS = "servers"  # in the run directory


@dataclass(frozen=True)
class ServerOptions:
    """How servers are started here; None leaves a choice to the card's ``engine:`` section, or else to the
    machine. ``arguments``: for the server as they are, each one or several words.
    """

    gpus: int | None = None
    tensor_parallel: int | None = None
    replicas: int | None = None
    engine_python: Path | None = None
    memory_fraction: float | None = None
    arguments: tuple[str, ...] = ()


def server_spec(
    plan: SamplingPlan,
    kind: EngineKind,
    options: ServerOptions,
    *,
    python: str,
    context_length: int | None = None,
) -> ServerSpec:
    """What every server of a plan serves. ``context_length``: tokens needed by plans that go on after a completion
    (None: the longest prompt and one completion). Raises UserError for a model without weights, and for arguments that
    cannot be passed on.
    """
    from extrap_eval.engines.servers.launch import ServerSpec, served_name

    card, settings = plan.model, plan.model.engine
    if plan.weights is None:
        raise UserError(
            f"{card.name}: --engine {kind} needs weights to serve: set hf_id in the card, or name a hub id or a folder"
        )
    local = Path(plan.weights).is_dir()
    words = [word for argument in options.arguments for word in shlex.split(argument)]
    return ServerSpec(
        kind=kind,
        python=python,
        model=str(Path(plan.weights).absolute()) if local else plan.weights,
        served_name=served_name(card.name),
        context_length=_with_slack(context_length or plan.longest_prompt + card.max_new_tokens, card.max_model_len),
        revision=None if local else card.revision,
        dtype=settings.dtype,
        tensor_parallel=options.tensor_parallel or settings.tensor_parallel,
        memory_fraction=options.memory_fraction or settings.gpu_memory_fraction,
        extra_args=(*settings.extra_args, *words),
        logprobs=plan.top_logprobs,
    )


def _with_slack(needed: int, most: int | None) -> int:
    """A little more than ``needed`` where the model has it. (Much more would only ask for a larger cache.)"""
    return needed + CONTEXT_SLACK if most is None else max(needed, min(needed + CONTEXT_SLACK, most))


def open_fleet(
    plan: SamplingPlan,
    kind: EngineKind,
    options: ServerOptions,
    *,
    run: Path,
    context_length: int | None = None,
    concurrency: int | None = None,
    patience_seconds: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ServerFleet:
    """Servers for a plan on this machine, not started yet; their logs will be in the run directory ``run``.
    ``context_length`` as in ``server_spec``.

    Raises UserError when the engine is not installed, or the machine does not have what is asked for.
    """
    from extrap_eval.engines.servers.fleet import ServerFleet
    from extrap_eval.engines.servers.installation import find_engine
    from extrap_eval.engines.servers.layout import this_machine
    from extrap_eval.engines.servers.replica import LocalReplica

    python = find_engine(kind, options.engine_python).python
    spec = server_spec(plan, kind, options, python=python, context_length=context_length)
    shares = _shares(spec, options, this_machine())
    key = secrets.token_urlsafe(24)
    replicas = [
        LocalReplica(spec, share, number=i, log=run / LOGS / f"{kind}-{i}.log", api_key=key)
        for i, share in enumerate(shares)
    ]
    return ServerFleet(
        replicas,
        kind=kind,
        served_name=spec.served_name,
        api_key=key,
        max_in_flight=concurrency,
        patience_seconds=patience_seconds,
        say=say,
    )


@dataclass(frozen=True)
class Preview:
    """Commands as ``open_fleet`` would run them, with where each runs, and what is only assumed of this machine.
    (Ports and seeds are drawn anew at every start.)
    """

    servers: tuple[tuple[str, str], ...]
    assumed: tuple[str, ...]


def preview(plan: SamplingPlan, kind: EngineKind, options: ServerOptions) -> Preview:
    """What would be started; GPUs asked for (``options.gpus``) and the engine need not be here."""
    from extrap_eval.engines.servers.installation import find_engine
    from extrap_eval.engines.servers.launch import server_command
    from extrap_eval.engines.servers.layout import assumed_gpus, this_machine
    from extrap_eval.engines.servers.replica import reserved_port

    machine, notes = this_machine(), []
    if options.gpus is not None and options.gpus > len(machine.gpus):
        notes.append(f"{options.gpus} GPUs; this machine shows {len(machine.gpus)}")
        machine = replace(machine, gpus=assumed_gpus(options.gpus))
    try:
        python = find_engine(kind, options.engine_python).python
    except UserError as error:
        python = str(options.engine_python or "python")
        notes.append(str(error))
    spec = server_spec(plan, kind, options, python=python)
    servers = []
    with ExitStack() as held:  # all at once, so that no port is given twice
        for share in _shares(spec, options, machine):
            port = held.enter_context(reserved_port())
            command = server_command(spec, share, port=port, seed=secrets.randbelow(2**31))
            servers.append((str(share), str(command)))
    return Preview(tuple(servers), tuple(notes))


def _shares(spec: ServerSpec, options: ServerOptions, machine: Machine) -> tuple[Share, ...]:
    from extrap_eval.engines.servers.layout import replica_layout

    return replica_layout(machine, gpus=options.gpus, tensor_parallel=spec.tensor_parallel, replicas=options.replicas)

"""The options that choose and open an engine, the same for every command that asks a model for tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from extrap_eval.engines.base import Engine
    from extrap_eval.engines.servers.places import Places
    from extrap_eval.steps.sample import SamplingPlan
    from extrap_eval.steps.servers import ServerOptions


@dataclass(frozen=True)
class EngineChoice:
    """What the user said about the engine; each field is an option of its name."""

    engine: Annotated[
        str | None,
        typer.Option(
            help="vllm or sglang (servers started here), ray:vllm or ray:sglang (on a Ray cluster), http (servers that "
            "run already), local (in this process) or markov [default: markov for a card with a policy, else http]."
        ),
    ] = None
    device: Annotated[str, typer.Option(help="With --engine local: auto (the first GPU, else the CPU), cpu, cuda.")] = (
        "auto"
    )
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="URL of a running vLLM, SGLang or OpenAI-compatible server; repeatable."),
    ] = None
    gpus: Annotated[
        int | None,
        typer.Option(min=0, help="With --engine vllm or sglang: use the first so many [default: all visible]."),
    ] = None
    tp: Annotated[
        int | None, typer.Option(min=1, help="Likewise: GPUs per server, tensor-parallel [default: the card's].")
    ] = None
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Likewise: number of servers [default: as many as the GPUs allow].")
    ] = None
    engine_python: Annotated[
        Path | None,
        typer.Option(
            envvar="EXTRAP_EVAL_ENGINE_PYTHON",
            help="Likewise: Python (or folder) of the environment that has the engine [default: this one].",
        ),
    ] = None
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="Likewise: share of each GPU's memory to use [default: the card's]."),
    ] = None
    server_arg: Annotated[
        list[str] | None,
        typer.Option(help="Likewise: an argument passed on to the servers, such as --max-num-seqs=512; repeatable."),
    ] = None
    ray_address: Annotated[
        str, typer.Option(help="With --engine ray:...: HOST:PORT, or auto for the cluster of this machine.")
    ] = "auto"
    served_model: Annotated[
        str | None, typer.Option(help="Name under which the servers know the model [default: ask them].")
    ] = None
    seeded: Annotated[
        int | None, typer.Option(help="Send one seed per request, derived from this one and the request's place.")
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests in flight, with --engine local rows per batch [default: what keeps servers full].",
        ),
    ] = None
    patience: Annotated[
        float | None, typer.Option(min=1, help="Seconds without any progress until a server counts as lost.")
    ] = None

    def kind(self, plan: SamplingPlan) -> str:
        return self.engine or ("markov" if plan.model.policy is not None else "http")

    def server_options(self) -> ServerOptions:
        from extrap_eval.steps.servers import ServerOptions

        arguments = tuple(self.server_arg or ())
        return ServerOptions(self.gpus, self.tp, self.replicas, self.engine_python, self.gpu_memory, arguments)

    def open(
        self,
        plan: SamplingPlan,
        run: Path,
        *,
        context_length: int | None = None,
        places: Places | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> tuple[Engine, int]:
        """The engine, not entered yet, and how many requests it is to have in flight.

        ``run``: where servers that are started here keep their logs; ``context_length``: tokens that they must hold
        (None: the longest prompt and one completion); ``places``: what servers of several models started here share;
        ``say`` is told of their start.
        """
        from extrap_eval.engines.base import Sized
        from extrap_eval.steps.cluster import open_cluster, served_on_ray
        from extrap_eval.steps.sample import IN_FLIGHT, open_engine
        from extrap_eval.steps.servers import SERVED_HERE, open_fleet

        kind = self.kind(plan)
        if (on_ray := served_on_ray(kind)) is not None:
            cluster = open_cluster(
                plan,
                on_ray,
                self.server_options(),
                run=run,
                address=self.ray_address,
                context_length=context_length,
                concurrency=self.concurrency,
                patience_seconds=self.patience,
                say=say,
            )
            return cluster, cluster.in_flight_most()
        if kind in SERVED_HERE:
            fleet = open_fleet(
                plan,
                kind,
                self.server_options(),
                run=run,
                context_length=context_length,
                concurrency=self.concurrency,
                patience_seconds=self.patience,
                places=places,
                say=say,
            )
            return fleet, fleet.in_flight_most()
        engine = open_engine(
            kind,
            plan,
            endpoints=self.endpoint or [],
            served_model=self.served_model,
            max_in_flight=self.concurrency,
            patience_seconds=self.patience,
            device=self.device,
        )
        return engine, engine.in_flight_most() if isinstance(engine, Sized) else self.concurrency or IN_FLIGHT


def sayer(silent: bool, who: str = "") -> Callable[[str], None]:
    """What tells a person on stderr how servers start. ``who``: for whom, where it is for several."""
    return lambda line: None if silent else typer.echo(f"{who}: {line}" if who else line, err=True)


def with_engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter ``choice: EngineChoice`` becomes the options that fill it, after its own."""
    own = inspect.signature(command, eval_str=True).parameters
    hints = get_type_hints(EngineChoice, include_extras=True)
    shared = {
        field.name: inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(EngineChoice)
    }

    def wrapped(**given: Any) -> None:
        choice = EngineChoice(**{name: given.pop(name) for name in shared})
        command(**given, choice=choice)

    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, parameter in own.items() if name != "choice"
    ]
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__signature__ = inspect.Signature([*kept, *shared.values()])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {}
    return wrapped

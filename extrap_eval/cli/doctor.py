"""``extrap-eval doctor``: what can go wrong, before it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from extrap_eval.preflight.check import Check


def doctor(
    model: Annotated[str, typer.Option("--model", "-m", help="Model card (name or path), hub id, or folder.")],
    benchmark: Annotated[
        str | None,
        typer.Option("--benchmark", "-b", help="Benchmark card; its prompts are checked too."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="http, vllm, sglang, local or markov [default: http with --endpoint, markov for a policy]."),
    ] = None,
    endpoint: Annotated[list[str] | None, typer.Option(help="URL of a running server; repeatable.")] = None,
    engine_python: Annotated[
        Path | None,
        typer.Option(
            envvar="EXTRAP_EVAL_ENGINE_PYTHON",
            help="With vllm or sglang: Python (or folder) of the environment that has it [default: this one].",
        ),
    ] = None,
    served_model: Annotated[str | None, typer.Option(help="Name under which the servers know the model.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer folder or hub id [default: the card's].")] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Samples per problem [default: the card's].")] = None,
    budget_max: Annotated[
        int | None, typer.Option(min=1, help="Largest budget in completion tokens [default: the card's].")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests in flight [default: what keeps servers full].")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="With vllm or sglang: use the first so many [default: all visible].")
    ] = None,
    tp: Annotated[int | None, typer.Option(min=1, help="Likewise: GPUs per server [default: the card's].")] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Likewise: number of servers [default: as many as the GPUs allow].")
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="Likewise: share of each GPU's memory to use [default: the card's]."),
    ] = None,
    server_arg: Annotated[
        list[str] | None, typer.Option(help="Likewise: an argument passed on to the servers; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the run will lie.")] = Path("runs"),
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="With vllm or sglang: start one server, ask it, end it.")
    ] = True,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Check card, machine and servers before a long run; exit code 1 when something would fail.

    Takes the options that extrap-eval sample will get. Servers are asked for a few short completions. With --engine
    vllm or sglang and no --endpoint, one server is started here for that, and ended again.

    An API key, if the servers want one, is read from the environment variable EXTRAP_EVAL_API_KEY.
    """
    from extrap_eval.preflight.check import passed
    from extrap_eval.steps.doctor import Question, examine
    from extrap_eval.steps.servers import ServerOptions

    question = Question(
        model=model,
        benchmark=benchmark,
        engine=engine,
        endpoints=tuple(endpoint or ()),
        served_model=served_model,
        tokenizer=tokenizer,
        n=n,
        budget_max=budget_max,
        concurrency=concurrency,
        servers=ServerOptions(gpus, tp, replicas, engine_python, gpu_memory, tuple(server_arg or ())),
        out=out,
        start=start,
    )
    checks = examine(question, lambda line: typer.echo(line, err=True))
    if json_:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps({"passed": passed(checks), "checks": [asdict(check) for check in checks]}))
    else:
        typer.echo(report(checks))
    if not passed(checks):
        raise typer.Exit(1)


def report(checks: Sequence[Check]) -> str:
    """One line per check, its mend under it, and a sum at the end."""
    width = max(len(check.name) for check in checks)
    indent = " " * (13 + width)
    servers = list(dict.fromkeys(server for check in checks for server in check.where))
    lines = []
    for check in checks:
        lines.append(f"{check.status:<11}  {check.name:<{width}}  {_where(check, servers)}{check.found}")
        if check.mend is not None:
            lines.append(f"{indent}  -> {check.mend}")
    counts = [(status, sum(check.status == status for check in checks)) for status in _ORDER]
    lines.append(", ".join(f"{count} {status}" for status, count in counts if count))
    return "\n".join(lines)


_ORDER = ("failed", "warning", "not checked", "ok")


def _where(check: Check, servers: Sequence[str]) -> str:
    """Which servers a check is about, "" where there is no choice."""
    if not check.where or len(servers) < 2:
        return ""
    if len(check.where) == len(servers):
        return f"all {len(servers)} servers: "
    shown = ", ".join(check.where[:3])
    return f"{shown}{f' and {len(check.where) - 3} more' if len(check.where) > 3 else ''}: "

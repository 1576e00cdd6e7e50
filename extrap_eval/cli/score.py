"""``extrap-eval score``: read every completion once, judge every distinct answer once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from rich.progress import TaskID


def score(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Judging processes [default: one per core].")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds of wall clock per comparison.")] = 5.0,
    ray: Annotated[
        bool, typer.Option("--ray", help="Read the completions on a Ray cluster whose nodes all see the runs.")
    ] = False,
    ray_address: Annotated[
        str, typer.Option(help="With --ray: HOST:PORT, or auto for the cluster of this machine.")
    ] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="One JSON object per run on stdout.")] = False,
) -> None:
    """Score runs. Verdicts are remembered: scoring again after a top-up judges only answers never seen before.

    A reference answer that cannot be read is an error of its problem: everything else is scored, every metric leaves
    the problem out, and the exit code is 1.
    """
    from rich.console import Console
    from rich.progress import Progress

    from extrap_eval.steps.score import score as score_step

    unreadable: dict[str, str] = {}
    for path in runs:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task(f"{path}: completions read", total=None)

            def show(done: int, total: int, bar: Progress = bar, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=total)

            report = score_step(
                path,
                workers=workers,
                timeout=timeout,
                progress=show,
                ray_address=ray_address if ray else None,
            )
        if json_:
            import dataclasses
            import json

            typer.echo(json.dumps({"run": str(path), **dataclasses.asdict(report)}))
        else:
            typer.echo(f"{path}: {report}")
        unreadable |= {f"{path}: {problem}": reason for problem, reason in report.gold_errors.items()}
    if unreadable:
        first, reason = next(iter(unreadable.items()))
        raise UserError(
            f"{first}: its reference answer cannot be read ({reason}), one of {len(unreadable)} such problems that "
            "every metric leaves out: mend the answers in the benchmark and sample into a new run"
        )

"""``extrap-eval quality``: loops, redundancy, format and language at every budget."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import BUDGETS_HELP, Pick, PickOption, Region, RegionOption, parse_ints
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.steps.quality import Progress


class Unit(StrEnum):
    words = "words"
    tokens = "tokens"


def quality(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    budgets: Annotated[str | None, typer.Option(help=BUDGETS_HELP)] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    unit: Annotated[
        Unit,
        typer.Option(help="3-grams of words, or of tokens, of which ordinary reasoning repeats far more than 31 %."),
    ] = Unit.words,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="3-gram redundancy beyond which a completion is redundant.")
    ] = 0.31,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    figure: Annotated[Path | None, typer.Option(help="Draw all measures into this .png, .svg or .pdf.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Tidy records as JSON on stdout.")] = False,
) -> None:
    r"""Print what completions are made of at every budget: all of them, and correct, incorrect and cut ones apart.

    looped: ends in a repeating block of tokens (onset: median first token of it). redundancy: counts of the 3-grams
    seen more than once over all 3-grams. format violation: not exactly one \boxed{. language mixing: some character of
    U+4E00-U+9FFF. Each completion is read once; runs are scored first where that is still to do.
    """
    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    import pandas as pd

    from extrap_eval.cli.terminal import draw
    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps.quality import quality_tables, readable_quality
    from extrap_eval.steps.score import ensure_scored

    for path in runs:
        ensure_scored(path)
    with reading(silent=json_ or csv) as progress:
        tidy = quality_tables(
            runs,
            budgets=parse_ints("--budgets", budgets),
            n=n,
            unit=unit.value,
            threshold=threshold,
            level=level,
            rule=AnswerRule(region.value, pick.value),
            progress=progress,
        )
    if csv:
        typer.echo(tidy.to_csv(index=False), nl=False)
    elif json_:
        typer.echo(tidy.to_json(orient="records"))
    else:
        for model, benchmark in dict.fromkeys(zip(tidy["model"], tidy["benchmark"], strict=True)):
            own: pd.DataFrame = tidy[(tidy["model"] == model) & (tidy["benchmark"] == benchmark)]
            typer.echo(draw(readable_quality(own), title=f"{model} on {benchmark}, in %; 3-grams of {unit.value}"))
    if figure is not None:
        from extrap_eval.figures import quality_panels, save_figure

        typer.echo(str(save_figure(quality_panels(tidy, threshold=threshold), figure)), err=json_ or csv)


@contextmanager
def reading(*, silent: bool) -> Iterator[Progress]:
    """A line on a terminal that says how many completions were read."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    hidden = silent or not sys.stderr.isatty()
    with Bar(console=Console(stderr=True), disable=hidden, transient=True) as bar:
        task = bar.add_task("completions read", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

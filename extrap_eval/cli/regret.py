"""``extrap-eval regret``: how far thoughts are from making progress at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import parse_ints
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


class By(StrEnum):
    tokens = "tokens"
    groups = "groups"


def regret(
    runs: Annotated[list[Path], typer.Argument(help="Run directories that were probed after their episodes.")],
    by: Annotated[
        By, typer.Option(help="tokens: against the token budget; groups: against votes after earlier episodes.")
    ] = By.tokens,
    budgets: Annotated[
        str | None,
        typer.Option(help="With --by tokens: comma-separated [default: eight up to the longest trace]."),
    ] = None,
    paper_exact: Annotated[
        bool,
        typer.Option(
            "--paper-exact",
            help="As MRT's released code reckons: half the tokens of answers, points joined as they come; by groups "
            "against the group before alone.",
        ),
    ] = False,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    variant: Annotated[str | None, typer.Option(help="Which variant of probes, where a run has several.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw it into this .png, .svg or .pdf.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Tidy records as JSON on stdout.")] = False,
) -> None:
    """Print the normalised regret of probed runs: 0 for thoughts whose answer is right from the start, at most 1.

    By tokens, the one variant of budget forcing that a run has continues it beyond its longest completion.
    """
    from extrap_eval.cli.terminal import draw
    from extrap_eval.steps.regret import regret_of_runs

    if budgets is not None and by is By.groups:
        raise UserError("--budgets belongs to --by tokens")
    tidy = regret_of_runs(
        runs,
        by.value,
        variant,
        budgets=parse_ints("--budgets", budgets),
        protocol="paper-exact" if paper_exact else "sound",
        level=level,
    )
    if json_:
        typer.echo(tidy.to_json(orient="records"))
    else:
        typer.echo(draw(readable(tidy, by.value).to_dict("records"), title=str(tidy["benchmark"].iloc[0])))
    if figure is not None:
        from extrap_eval.figures import regret_curve, save_figure

        typer.echo(str(save_figure(regret_curve(tidy, by=by.value), figure)), err=json_)


def readable(tidy: pd.DataFrame, by: str) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for cell in tidy.to_dict("records"):
        row = {"model": cell["model"], by: int(cell["at"]), "regret": f"{cell['value']:.3f}"}
        if cell["low"] == cell["low"]:  # not nan
            row["regret"] += f" [{cell['low']:.3f}, {cell['high']:.3f}]"
        rows.append(row)
    return pd.DataFrame(rows)

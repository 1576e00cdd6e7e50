"""``extrap-eval efficiency``: what votes cost, and how many times as many tokens one model needs as another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import KS_HELP, parse_ints
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def efficiency(
    runs: Annotated[list[Path], typer.Argument(help="Run directories; two of them are compared.")],
    ks: Annotated[str | None, typer.Option("--k", help=KS_HELP)] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            help="Accuracies to compare at, in percent, comma-separated [default: multiples of 5 that both reach]."
        ),
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    figure: Annotated[Path | None, typer.Option(help="Draw maj@k against tokens into this .png, .svg or .pdf.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Both tables as one JSON object on stdout.")] = False,
) -> None:
    """Print maj@k against the tokens of k completions and, for two runs, the tokens that each needs to be as accurate.

    Runs are scored first where that is still to do.
    """
    import json

    from extrap_eval.cli.terminal import draw
    from extrap_eval.steps.efficiency import token_ratios, vote_table
    from extrap_eval.steps.score import ensure_scored

    if accuracy is not None and len(runs) != 2:
        raise UserError("--accuracy compares two runs: name two")
    for path in runs:
        ensure_scored(path)
    chosen = parse_ints("--k", ks)
    targets = [percent / 100 for percent in parse_ints("--accuracy", accuracy) or []]
    if targets and targets[-1] > 1:
        raise UserError(f"--accuracy: {accuracy}: more than 100 %")
    votes = vote_table(runs, ks=chosen, n=n, level=level)
    ratios = None
    if len(runs) == 2:
        ratios = token_ratios(*runs, targets=targets or None, ks=chosen, n=n, level=level)
    if json_:
        tables = {"votes": votes} | ({} if ratios is None else {"ratios": ratios})
        typer.echo(json.dumps({name: records(table) for name, table in tables.items()}))
    else:
        typer.echo(draw(readable_votes(votes).to_dict("records"), title=str(votes["benchmark"].iloc[0])))
        if ratios is not None:
            first, second = ratios["model_a"].iloc[0], ratios["model_b"].iloc[0]
            title = f"tokens of {first} over those of {second}, at the same accuracy"
            typer.echo(draw(readable_ratios(ratios).to_dict("records"), title=title))
    if figure is not None:
        from extrap_eval.figures import save_figure, votes_against_tokens

        typer.echo(str(save_figure(votes_against_tokens(votes), figure)), err=json_)


def readable_votes(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.cli.following import percent

    return pd.DataFrame(
        [
            {
                "model": row["model"],
                "k": int(row["k"]),
                "tokens": f"{row['tokens']:,.0f}",
                "maj@k": percent(row["value"], row["low"], row["high"]),
            }
            for row in tidy.to_dict("records")
        ]
    )


def readable_ratios(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "accuracy": f"{100 * row['accuracy']:.0f} %",
                "tokens, first": _tokens(row["tokens_a"]),
                "tokens, second": _tokens(row["tokens_b"]),
                "ratio": " ".join([_ratio(row["ratio"]), f"[{_ratio(row['low'])}, {_ratio(row['high'])}]"]),
            }
            for row in tidy.to_dict("records")
        ]
    )


def _tokens(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.0f}"


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.2f}"

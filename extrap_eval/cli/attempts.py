"""``extrap-eval attempts``: verifications, attempts, and what chaining them is worth."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrap_eval.cli.diversity import PATTERN_HELP, number
from extrap_eval.cli.episodes import MIN_STEPS_HELP, PHRASES_HELP, parse_phrases
from extrap_eval.cli.table import KS_HELP, parse_ints
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


_FEW = 0.5  # of the first attempts; fewer that try an answer say little about generation


class UnitOfCap(StrEnum):
    episodes = "episodes"
    verifications = "verifications"
    candidates = "candidates"


def attempts(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    unit: Annotated[
        UnitOfCap,
        typer.Option(help="What an attempt is: an episode, a verification phrase, or a candidate answer (--pattern)."),
    ] = UnitOfCap.episodes,
    caps: Annotated[
        str | None,
        typer.Option(help="Numbers of attempts after which to stop, comma-separated [default: powers of 2]."),
    ] = None,
    ks: Annotated[str | None, typer.Option("--k", help=KS_HELP)] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    verifications: Annotated[
        str | None,
        typer.Option(help="What announces a verification: phrases, with | between them [default: the model card's]."),
    ] = None,
    phrases: Annotated[str | None, typer.Option(help=PHRASES_HELP)] = None,
    min_steps: Annotated[int | None, typer.Option(min=1, help=MIN_STEPS_HELP)] = None,
    pattern: Annotated[str | None, typer.Option(help=PATTERN_HELP)] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    figure: Annotated[Path | None, typer.Option(help="Draw all three tables into this .png, .svg or .pdf.")] = None,
    grid: Annotated[
        Path | None, typer.Option(help="Draw pass@k of j attempts x k samples of one run, and at equal tokens.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV of pass@k against the cap on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="All tables as one JSON object on stdout.")] = False,
) -> None:
    """Print what chained attempts are worth (e3's chained asymmetries); score the runs first where needed.

    Counts of verifications, candidates and episodes in right and wrong traces; pass@k of traces that are cut after
    their j-th attempt; and e3's verification-generation gap: one trace of j attempts against its first attempt alone,
    and against the vote of j independent first attempts. Nothing is asked of the model.
    """
    from extrap_eval.cli.terminal import draw
    from extrap_eval.steps import chained as steps
    from extrap_eval.steps.episodes import Rules
    from extrap_eval.steps.score import ensure_scored

    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    if grid is not None and len(runs) != 1:
        raise UserError(f"--grid draws one run, not {len(runs)}: call it once per run")
    for path in runs:
        ensure_scored(path)
    tables = steps.chained_tables(
        runs,
        unit=unit.value,
        caps=parse_ints("--caps", caps),
        ks=parse_ints("--k", ks),
        phrases=parse_phrases(verifications),
        rules=Rules(parse_phrases(phrases), min_steps),
        pattern=pattern,
        n=n,
        level=level,
    )
    whole = {"counts": tables.counts, "caps": tables.caps, "gap": tables.gap, "traces": tables.traces}
    quiet = csv or json_
    if figure is not None:
        from extrap_eval.figures import chained_attempts, save_figure

        drawn = chained_attempts(whole["traces"], whole["caps"], whole["gap"])
        typer.echo(str(save_figure(drawn, figure)), err=quiet)
    if grid is not None:
        from extrap_eval.figures import attempt_grid, save_figure

        cells = attempt_grid(whole["caps"], label=f"at most j {unit.value}")
        typer.echo(str(save_figure(cells, grid)), err=quiet)
    if csv:
        typer.echo(whole["caps"].to_csv(index=False), nl=False)
    elif json_:
        typer.echo(json.dumps({what: records(table) for what, table in whole.items()}))
    else:
        typer.echo(draw(readable_counts(whole["counts"]), title="in a trace, mean"))
        typer.echo(draw(readable_caps(whole["caps"]), title=f"pass@k (%) of traces cut after j {unit.value}"))
        title = f"verification-generation gap (points); candidates: {whole['gap']['candidates'].iloc[0]}"
        typer.echo(draw(readable_gap(whole["gap"]), title=title))
        for model, row in whole["gap"].groupby("model", sort=False).first().iterrows():
            if row["tried"] < _FEW:
                typer.echo(
                    f"{model}: only {100 * row['tried']:.0f} % of the first attempts try an answer: alone, vote and "
                    "best say little; give --pattern if answers are tried in other words, or force them with probe"
                )


def readable_counts(tidy: pd.DataFrame) -> list[dict[str, object]]:
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for cell in tidy.to_dict("records"):
        row = rows.setdefault((cell["model"], cell["unit"]), {"model": cell["model"], "what": cell["unit"]})
        name = cell["part"]
        if name == "difference":
            name = "right − wrong, same problem"
        row[name] = number(cell["value"], cell["low"], cell["high"])
        if cell["part"] == "difference":
            row["problems with both"] = int(cell["problems"])
    return list(rows.values())


def readable_caps(tidy: pd.DataFrame) -> list[dict[str, object]]:
    """One row per cap, pass@1 with its interval and three larger k."""
    from extrap_eval.cli.following import percent

    ks = sorted({int(k) for k in tidy["k"]})
    shown = sorted({ks[0], *ks[-1::-2][:3]})
    rows: dict[tuple[str, int], dict[str, object]] = {}
    for cell in tidy[tidy["k"].isin(shown)].to_dict("records"):
        row = rows.setdefault((cell["model"], cell["group"]), {"model": cell["model"], "j": int(cell["group"])})
        if cell["k"] == ks[0]:
            row["tokens"] = f"{cell['tokens'] / ks[0]:,.0f}"
        row[f"pass@{cell['k']}"] = percent(cell["value"], cell["low"], cell["high"])
    return list(rows.values())


def readable_gap(tidy: pd.DataFrame) -> list[dict[str, object]]:
    def points(row: dict[Any, Any], name: str) -> str:
        if row[name] != row[name]:
            return "–"
        ends = f" [{100 * row[f'{name}_low']:+.1f}, {100 * row[f'{name}_high']:+.1f}]"
        return f"{100 * row[name]:+.1f}" + (ends if row[f"{name}_low"] == row[f"{name}_low"] else "")

    def share(value: float) -> str:
        return "–" if value != value else f"{100 * value:.1f}"

    return [
        {
            "model": row["model"],
            "j": int(row["attempts"]),
            "tried": f"{100 * row['tried']:.0f} %",
            "alone": share(row["alone"]),
            "chained": share(row["chained"]),
            "gap": points(row, "gap"),
            "vote of j": share(row["votes"]),
            "chained − vote": points(row, "over_votes"),
            "best of j": share(row["best"]),
            "tokens": f"{row['tokens']:,.0f}",
            "of j first": f"{row['tokens_apart']:,.0f}",
        }
        for row in tidy.to_dict("records")
    ]

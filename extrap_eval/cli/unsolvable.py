"""``extrap-eval unsolvable``: the problems that runs never solve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrap_eval.cli.table import Pick, PickOption, Region, RegionOption, parse_ints
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def unsolvable(
    runs: Annotated[list[Path], typer.Argument(help="Run directories on the same problems.")],
    k: Annotated[
        int | None, typer.Option("--k", min=1, help="Samples of which none is right [default: all, as far as shared].")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Budget in completion tokens [default: the most all were sampled to].")
    ] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the problems of every combination.")] = False,
    allow: Annotated[
        str | None,
        typer.Option(help="Take runs that differ in these, comma-separated: prompt, rule, sampling."),
    ] = None,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the sets into this .png, .svg or .pdf: Venn, or UpSet beyond three runs.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV of the combinations on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Both tables as one JSON object on stdout.")] = False,
) -> None:
    """Print the k-rollout unsolvable sets of runs and what they have in common; score the runs first where needed.

    A problem is in a run's set when k samples are all wrong at the budget. Which k of n matters: "expected" is the mean
    over all choices, exact; "first k" is the set of the first k samples, the whole set when k = n.
    """
    from extrap_eval.cli.terminal import draw
    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps import unsolvable as steps
    from extrap_eval.steps.score import ensure_scored

    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    at = parse_ints("--budget", budget)
    for path in runs:
        ensure_scored(path)
    sets = steps.read_unsolved(
        runs,
        k=k,
        budget=steps.one_of("--budget", at),
        n=n,
        rule=AnswerRule(region.value, pick.value),
        allow=[] if allow is None else allow.replace(" ", "").split(","),
    )
    each, regions = steps.set_table(sets, level=level), steps.region_table(sets, level=level)
    if figure is not None:
        from extrap_eval.figures import save_figure, unsolvable_sets

        typer.echo(str(save_figure(unsolvable_sets(each, regions), figure)), err=csv or json_)
    if csv:
        typer.echo(regions.to_csv(index=False), nl=False)
        return
    if json_:
        tables = {name: records(table) for name, table in _named(each, regions)}
        for row in tables["combinations"]:
            row["problem_ids"] = row["problem_ids"].split()
        overlap = None if sets.overlap != sets.overlap else sets.overlap
        typer.echo(json.dumps(tables | {"overlap": overlap, "unlike": list(sets.unlike)}))
        return
    for difference in sets.unlike:
        typer.echo(f"taken although they differ in {difference}", err=True)
    problems = len(sets.problem_ids)
    title = f"{sets.benchmark}, {problems} problems: 0 of k = {sets.k} right at {sets.budget} tokens"
    typer.echo(draw([_readable(row, "model", n=int(row["n"])) for row in each.to_dict("records")], title=title))
    if len(runs) > 1:
        rows = [_readable(row, "models") for row in regions.to_dict("records")]
        typer.echo(draw(rows, title="unsolved by exactly these") if rows else "no problem is unsolved")
        if sets.overlap == sets.overlap:
            typer.echo(f"of all problems in any set, {100 * sets.overlap:.0f} % are in all of them")
    if list_:
        for row in regions.to_dict("records"):
            typer.echo(f"{row['models']}: {row['problem_ids'] or 'none'}")


def _named(each: pd.DataFrame, regions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [("sets", each), ("combinations", regions)]


def _readable(row: dict[Any, Any], name: str, **more: object) -> dict[str, object]:
    interval = "" if row["low"] != row["low"] else f" [{row['low']:.1f}, {row['high']:.1f}]"
    return {name: row[name], **more, "expected": f"{row['expected']:.1f}{interval}", "first k": row["size"]}

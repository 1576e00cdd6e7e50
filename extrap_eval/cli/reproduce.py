"""``extrap-eval reproduce``: a published figure or table, measured anew beside the paper's values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrap_eval.cli.engine_options import EngineChoice, sayer, with_engine_options
from extrap_eval.cli.following import Json, Quiet
from extrap_eval.cli.terminal import draw, records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.cards.recipe import RecipeFile
    from extrap_eval.engines.base import Engine
    from extrap_eval.steps.points import Source
    from extrap_eval.steps.reproduce import Reproduction, Wanted
    from extrap_eval.steps.sample import SamplingPlan


@with_engine_options
def reproduce(
    choice: EngineChoice,
    name: Annotated[str | None, typer.Argument(help="Recipe: a name of --list, or the path of a YAML file.")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="All recipes: what each needs, and what is here of it.")
    ] = False,
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Draw from this run instead of sampling, whatever its model; repeatable."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Redraw the published values alone; nothing is measured.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the results [default: reproductions/NAME].")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs, shared by recipes that ask for the same.")] = Path(
        "runs"
    ),
    n: Annotated[int | None, typer.Option(min=1, help="Other samples per problem than the recipe says.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first problems of every benchmark.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer folder or hub id [default: the cards'].")] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="With --dry-run or --list: of one GPU, for GPU-hours.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what is missing and its price, send nothing.")
    ] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Sample what a recipe misses, draw its figure over the published curve, and print ours beside the paper's.

    The same command continues after any interruption and does nothing that is done. The folder of the results gets
    figure.png, figure.pdf, points.csv (what is drawn), table.csv (ours, paper, difference, within our interval), and
    figure_NAME.png and .pdf for every further panel that the recipe names.
    """
    from extrap_eval.cards.recipe import load_recipe

    if list_:
        if name is not None:
            raise UserError("--list shows every recipe: leave out the name")
        _list(runs, n, limit, tokens_per_second, json_)
        return
    if name is None:
        raise UserError("name a recipe; extrap-eval reproduce --list shows all")
    file = load_recipe(name)
    folder = out or Path("reproductions") / file.name
    if published:
        _published(file, folder)
    elif dry_run:
        _price(file, runs, n, limit, tokens_per_second, json_)
    else:
        _reproduce(file, folder, runs, from_, n, limit, tokenizer, choice, json_, silent=json_ or quiet)


def _reproduce(
    file: RecipeFile,
    folder: Path,
    runs: Path,
    from_: Sequence[Path] | None,
    n: int | None,
    limit: int | None,
    tokenizer: str | None,
    choice: EngineChoice,
    json_: bool,
    *,
    silent: bool,
) -> None:
    from extrap_eval.steps import reproduce as step
    from extrap_eval.steps.score import ensure_scored

    if from_:
        if n is not None or limit is not None:
            raise UserError("--n and --limit say what to sample: they do not go with --from")
        for path in from_:
            ensure_scored(path)
        sources, notes = step.sources_from(file, from_)
    else:
        wanted = step.wanted_runs(file, runs, n=n, limit=limit)
        sources, notes = [_sampled(each, choice, tokenizer, silent) for each in wanted], []
    done = step.reproduce(file, sources, folder, notes)
    if json_:
        typer.echo(_as_json(file, done))
        return
    typer.echo(f"{file.name}: {file.recipe.paper}\n{file.recipe.question}")
    typer.echo(draw(readable(done.table).to_dict("records")))
    typer.echo(verdict(done.table))
    for note in done.notes:
        typer.echo(f"note: {note}")
    for path in done.files:
        typer.echo(str(path))


def _sampled(wanted: Wanted, choice: EngineChoice, tokenizer: str | None, silent: bool) -> Source:
    from extrap_eval.sampling.progress import progress_line
    from extrap_eval.steps.reproduce import sample_missing

    def open_engine(plan: SamplingPlan, run: Path, context: int) -> tuple[Engine, int]:
        return choice.open(plan, run, context_length=context, say=sayer(silent))

    with progress_line(f"{wanted.model_card.name} on {wanted.benchmark_card.name}", silent=silent) as progress:
        return sample_missing(wanted, open_engine, tokenizer=tokenizer, seed=choice.seeded, progress=progress)


def _published(file: RecipeFile, folder: Path) -> None:
    from extrap_eval.steps.reproduce import draw_published

    path = draw_published(file, folder / "published.png")
    if path is None:
        raise UserError(f"{file.name}: no published values are known, so there is nothing to redraw")
    typer.echo(str(path))


def _price(
    file: RecipeFile, runs: Path, n: int | None, limit: int | None, tokens_per_second: float | None, json_: bool
) -> None:
    from extrap_eval.steps.prices import Cost
    from extrap_eval.steps.reproduce import cost, wanted_runs

    rows: list[dict[str, Any]] = []
    total = Cost()
    for wanted in wanted_runs(file, runs, n=n, limit=limit):
        price = cost(wanted)
        total += price
        rows.append(
            {"run": str(wanted.path), "model": wanted.model, "problems": wanted.problems, "samples": wanted.n}
            | {"sampled": wanted.sampled()}
            | _priced(price, tokens_per_second)
        )
    whole = _priced(total, tokens_per_second)
    if json_:
        typer.echo(json.dumps({"recipe": file.name, "runs": rows, "total": whole, "not_yet": file.recipe.not_yet}))
        return
    typer.echo(f"{file.name}: {file.recipe.paper}\n{file.recipe.question}")
    typer.echo(draw([{**row, "GPU-hours, at most": _hours(row.pop("GPU-hours, at most"))} for row in rows]))
    hours = "" if tokens_per_second is None else f", {_hours(whole['GPU-hours, at most'])} GPU-hours"
    typer.echo(f"still to ask: {total.requests:,} requests, at most {total.tokens:,} completion tokens{hours}")
    if tokens_per_second is None:
        typer.echo("--tokens-per-second N, of one GPU, prices it in GPU-hours")
    for note in file.recipe.not_yet:
        typer.echo(f"note: {note}")


def _priced(price: Any, tokens_per_second: float | None) -> dict[str, Any]:
    hours = None if tokens_per_second is None else price.gpu_hours(tokens_per_second)
    return {"requests": price.requests, "tokens, at most": price.tokens, "GPU-hours, at most": hours}


def _hours(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f}"


def _list(runs: Path, n: int | None, limit: int | None, tokens_per_second: float | None, json_: bool) -> None:
    from extrap_eval.cards.recipe import list_recipes, load_recipe
    from extrap_eval.steps.prices import Cost
    from extrap_eval.steps.reproduce import cost, published, wanted_runs

    rows: list[dict[str, Any]] = []
    for path in list_recipes():
        file = load_recipe(path)
        wanted = wanted_runs(file, runs, n=n, limit=limit)
        price = sum((cost(each) for each in wanted), Cost())
        stages = file.recipe.stages
        kinds = [kind for kind in ("probe", "force", "slide") if getattr(stages, kind)]
        rows.append(
            {
                "recipe": file.name,
                "paper": file.recipe.paper.split(";")[0],
                "needs": f"{len(wanted)} runs" + (f" + {', '.join(kinds)}" if kinds else ""),
                "here": f"{sum(each.complete for each in wanted)} of {len(wanted)}",
                "published values": len(published(file)),
            }
            | _priced(price, tokens_per_second)
            | {"not yet": len(file.recipe.not_yet)}
        )
    if json_:
        typer.echo(json.dumps(rows))
        return
    hours = "GPU-hours, at most"
    rows = [{key: _hours(row[key]) if key == hours else row[key] for key in row} for row in rows]
    if tokens_per_second is None:
        rows = [{key: row[key] for key in row if key != hours} for row in rows]
    typer.echo(draw(rows))
    typer.echo("extrap-eval reproduce NAME --dry-run says which runs; --from RUN draws from one that is there")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """One row per place; fractions in percent but for regret, missing ones as a dash."""
    import pandas as pd

    from extrap_eval.figures.reproduction import NO_PERCENT

    rows = []
    for cell in table.to_dict("records"):
        plain = cell["metric"] in NO_PERCENT

        def shown(value: float, sign: str = "", plain: bool = plain) -> str:
            return format(value, sign + ".3f") if plain else format(100 * value + 0.0, sign + ".1f")

        ours = "–" if pd.isna(cell["ours"]) else shown(cell["ours"])
        if pd.notna(cell["low"]):
            ours += f" [{shown(cell['low'])}, {shown(cell['high'])}]"
        difference = "–" if pd.isna(cell["difference"]) else shown(round(cell["difference"], 9), "+")
        rows.append(
            {
                "panel": cell["panel"],
                "line": cell["line"],
                "metric": cell["metric"],
                "axis": cell["axis"],
                "at": f"{cell['at']:g}" if abs(cell["at"]) < 1e6 else str(int(cell["at"])),
                "ours": ours,
                "paper": "–" if pd.isna(cell["paper"]) else shown(cell["paper"]),
                "difference": "0.0" if difference in ("+0.0", "-0.0") and not plain else difference,
                "within interval": "–" if pd.isna(cell["within"]) else "yes" if cell["within"] else "NO",
            }
        )
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> str:
    """How many published values were measured, and how many of them lie within our intervals."""
    both = table[table["within"].notna()]
    there = int(table["paper"].notna().sum())
    if not there:
        return "no published values to compare with"
    if not len(both):
        return f"none of the {there} published values was measured here"
    inside = int(both["within"].astype(bool).sum())
    return (
        f"{len(both)} of {there} published values were measured here, {inside} of them lie within our 95 % interval"
        + ("" if inside == len(both) else f"; {len(both) - inside} do not (NO)")
    )


def _as_json(file: RecipeFile, done: Reproduction) -> str:
    return json.dumps(
        {
            "recipe": file.name,
            "table": records(done.table),
            "files": [str(path) for path in done.files],
            "notes": list(done.notes),
        }
    )

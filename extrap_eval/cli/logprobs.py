"""``extrap-eval logprobs``: how sure a model is of its tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.engine_options import EngineChoice, with_engine_options
from extrap_eval.cli.following import DryRun, Quiet, Samples, TokenizerOption, Weights
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@with_engine_options
def logprobs(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    choice: EngineChoice,
    top: Annotated[
        int | None,
        typer.Option(
            "--logprobs",
            min=1,
            help="Of so many most probable tokens, where completions are read again [default: as before, at first 20].",
        ),
    ] = None,
    n: Samples = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Read completions again that came with log-probabilities, and compare the two."),
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw entropy and branching by relative position into this file.")
    ] = None,
    bins: Annotated[int, typer.Option(min=2, help="Parts of a completion in that figure.")] = 20,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    tokenizer: TokenizerOption = None,
    weights: Weights = None,
    dry_run: DryRun = False,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Tidy records as JSON on stdout, no progress line.")] = False,
    quiet: Quiet = False,
) -> None:
    """Print token entropy, branching factor and perplexity of runs, of correct and incorrect completions.

    Samples that were drawn with --logprobs need no engine. The others are read by the model once more (one request per
    completion, nothing is generated); the same command continues after any interruption. All distributions are the
    model's own, before temperature and top-p.
    """
    from extrap_eval.cli.following import ask, print_price, refuse_unfinished
    from extrap_eval.cli.terminal import draw
    from extrap_eval.steps.logprobs import agreement, distribution_table, plan_second_pass, position_table
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.score import ensure_scored

    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    for path in runs:
        run = as_run(path)
        plan = plan_second_pass(run, top_logprobs=top, n=n, again=again)
        if dry_run:
            if plan is None:
                typer.echo(f"{path}: nothing to ask: every sample came with log-probabilities")
            else:
                print_price(run, [plan], json_)
        elif plan is not None:
            silent = csv or json_ or quiet
            refuse_unfinished(run, ask(run, [plan], choice, tokenizer=tokenizer, weights=weights, silent=silent))
    if dry_run:
        return
    for path in runs:
        ensure_scored(path)
    tidy = distribution_table(runs, n=n, level=level)
    if csv:
        typer.echo(tidy.to_csv(index=False), nl=False)
    elif json_:
        typer.echo(json.dumps(records(tidy)))
    else:
        typer.echo(draw(readable(tidy).to_dict("records"), title=str(tidy["benchmark"].iloc[0])))
        for sentence in bounds(tidy):
            typer.echo(sentence)
        for path in runs if again else ():
            typer.echo(draw(readable_agreement(agreement(path)).to_dict("records"), title=f"{path}: drawn, read again"))
    if figure is not None:
        from extrap_eval.figures import distributions_by_position, save_figure

        drawn = distributions_by_position(position_table(runs, n=n, bins=bins, level=level))
        typer.echo(str(save_figure(drawn, figure)), err=csv or json_)


def readable(tidy: pd.DataFrame) -> pd.DataFrame:
    """One row per model and part; ≥ marks what some positions make a lower bound."""
    import pandas as pd

    rows: dict[tuple[str, str], dict[str, object]] = {}
    for cell in tidy.to_dict("records"):
        key = (cell["model"], cell["part"])
        row = rows.setdefault(key, dict(zip(("model", "completions"), key, strict=True)) | {"traces": cell["traces"]})
        difference = cell["part"] not in ("all", "correct", "incorrect")
        sign = "+" if difference else ""
        text = f"{cell['value']:{sign}.3f}"
        if cell["low"] == cell["low"]:  # not nan: at least two problems
            text += f" [{cell['low']:{sign}.3f}, {cell['high']:{sign}.3f}]"
        if cell["value"] != cell["value"]:
            text = "–"
        elif cell["uncovered"] > 0 and cell["metric"] != "perplexity" and not difference:
            text = f"≥ {text}"
        row[str(cell["metric"])] = text
        row["below 0.95"] = f"{100 * cell['uncovered']:.2f} %" if cell["uncovered"] == cell["uncovered"] else "–"
    return pd.DataFrame(list(rows.values()))


def bounds(tidy: pd.DataFrame) -> list[str]:
    """Which runs' values are lower bounds, and why."""
    whole = tidy[(tidy["part"] == "all") & (tidy["metric"] == "entropy") & (tidy["uncovered"] > 0)]
    return [
        f"{row['model']}: entropy and branching are lower bounds: at {100 * row['uncovered']:.2f} % of positions the "
        f"{row['top']} most probable tokens hold less than 0.95 of the mass"
        for row in whole.to_dict("records")
    ]


def readable_agreement(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        mean=[f"{value:.2g}" for value in table["mean"]],
        largest=[f"{value:.2g}" for value in table["largest"]],
        equal=[f"{100 * value:.1f} %" for value in table["equal"]],
    ).rename(columns={"mean": "mean difference"})

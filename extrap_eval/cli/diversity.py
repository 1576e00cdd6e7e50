"""``extrap-eval diversity``: how many different answers and attempts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import BUDGETS_HELP, KS_HELP, Pick, PickOption, Region, RegionOption, parse_ints
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PATTERN_HELP = (
    "What an attempt is: a regular expression whose one group is the answer tried [default: the card's; expressions of "
    "all numbers for countdown, stated products for multiplication; otherwise boxed answers]."
)


def diversity(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    ks: Annotated[str | None, typer.Option("--k", help=KS_HELP)] = None,
    budget: Annotated[
        str | None, typer.Option(help="Budget of the answers, in completion tokens [default: the sampled maximum].")
    ] = None,
    budgets: Annotated[str | None, typer.Option(help=f"For the attempts. {BUDGETS_HELP}")] = None,
    pattern: Annotated[str | None, typer.Option(help=PATTERN_HELP)] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    figure: Annotated[
        Path | None, typer.Option(help="Draw both against samples and tokens into this .png, .svg or .pdf.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV of answers and attempts on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Both tables as one JSON object on stdout.")] = False,
) -> None:
    """Print answer diversity against k, and cumulative unique attempts against tokens; score first where needed.

    Diversity: the expected number of distinct answers (equivalence classes) among k samples, exact. Attempts are read
    from the traces and evaluated or judged; "unique" counts each once per trace, "of problem" once in all its traces.
    """
    import pandas as pd

    from extrap_eval.cli.terminal import draw
    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps import diversity as steps
    from extrap_eval.steps.outcomes import default_budgets
    from extrap_eval.steps.score import ensure_scored
    from extrap_eval.steps.unsolvable import one_of

    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    at = parse_ints("--budget", budget)
    for path in runs:
        ensure_scored(path)
    answers = steps.diversity_table(
        runs,
        budget=one_of("--budget", at),
        ks=parse_ints("--k", ks),
        n=n,
        level=level,
        rule=AnswerRule(region.value, pick.value),
    )
    chosen = parse_ints("--budgets", budgets)
    shown = chosen or sorted({each for run in runs for each in default_budgets(run)})
    if figure is not None:
        from extrap_eval.figures import diversity_curves, save_figure

        dense = steps.attempt_table(runs, pattern=pattern, n=n, level=level)
        typer.echo(str(save_figure(diversity_curves(answers, dense), figure)), err=csv or json_)
    attempts = steps.attempt_table(runs, budgets=shown, pattern=pattern, n=n, level=level)
    if csv:
        answers = answers.assign(quantity="distinct answers")
        typer.echo(
            pd.concat([answers, attempts], ignore_index=True).astype({"k": "Int64"}).to_csv(index=False), nl=False
        )
        return
    if json_:
        tables = {"answers": answers, "attempts": attempts}
        typer.echo(json.dumps({name: records(table) for name, table in tables.items()}))
        return
    title = f"{answers['benchmark'].iloc[0]}: distinct answers among k samples"
    typer.echo(draw(readable_answers(answers), title=title))
    typer.echo(draw(readable_attempts(attempts), title=f"attempts: {attempts['attempts'].iloc[0]}"))


def readable_answers(tidy: pd.DataFrame) -> list[dict[str, object]]:
    from extrap_eval.cli.following import percent

    return [
        {
            "model": row["model"],
            "budget": int(row["budget"]),
            "k": int(row["k"]),
            "distinct answers": number(row["value"], row["low"], row["high"]),
            "no answer (%)": percent(row["no_answer"], row["no_answer_low"], row["no_answer_high"]),
        }
        for row in tidy.to_dict("records")
    ]


def readable_attempts(tidy: pd.DataFrame) -> list[dict[str, object]]:
    """One row per model and budget, one column per quantity."""
    from extrap_eval.cli.following import percent

    names = {
        "attempts": "attempts",
        "unique": "unique",
        "unique right": "right",
        "tried": "traces with a right one (%)",
    }
    names["of problem"] = "unique in all traces"
    rows: dict[tuple[str, int], dict[str, object]] = {}
    for cell in tidy.to_dict("records"):
        row = rows.setdefault((cell["model"], cell["budget"]), {"model": cell["model"], "budget": int(cell["budget"])})
        show = percent if cell["quantity"] == "tried" else number
        row[names[cell["quantity"]]] = show(cell["value"], cell["low"], cell["high"])
    return list(rows.values())


def number(value: float, low: float, high: float) -> str:
    """A mean with its interval."""
    if value != value:  # nan
        return "–"
    return f"{value:.2f}" if low != low else f"{value:.2f} [{low:.2f}, {high:.2f}]"

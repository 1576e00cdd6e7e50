"""``extrap-eval lengths``: how long completions are, and which budget to train at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import Pick, PickOption, Region, RegionOption, parse_ints
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.steps.training_budget import Choice, TrainingBudgets


class By(StrEnum):
    difficulty = "difficulty"
    accuracy = "accuracy"
    all = "all"


BY_HELP = (
    "Parts: the benchmark's difficulty; thirds by the run's own pass@1; all in one [default: difficulty where known]."
)


def lengths(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    by: Annotated[By | None, typer.Option(help=BY_HELP)] = None,
    budgets: Annotated[
        str | None,
        typer.Option(help="Candidates for the training budget, comma-separated [default: the benchmark's, B_tr]."),
    ] = None,
    kappa: Annotated[float, typer.Option(help="κ of e3's rule for choosing a training budget (Eq. 3).")] = 1.2,
    floor: Annotated[
        int | None, typer.Option(min=1, help="B0 of that rule, in tokens [default: the smallest candidate].")
    ] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    figure: Annotated[Path | None, typer.Option(help="Draw the histograms into this .png, .svg or .pdf.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="The lengths as tidy CSV on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="All tables as one JSON object on stdout.")] = False,
) -> None:
    """Print how long correct, incorrect and cut completions are, by difficulty, and e3's choice of a training budget.

    The choice (Eq. 3) in both readings: the smallest budget B with J(2B) ≥ κ·J(B) and B at least the mean length
    (workshop), or with J(2B) ≤ κ·J(B) and B at least B0 (full paper); and how often resampled problems choose each.
    Runs are scored first where that is still to do.
    """
    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    if not kappa > 0:
        raise UserError(f"--kappa: {kappa:g} is not positive")
    import json

    import pandas as pd

    from extrap_eval.cli.terminal import draw
    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps.lengths import length_rows, length_table, lengths_of_runs
    from extrap_eval.steps.score import ensure_scored
    from extrap_eval.steps.training_budget import training_budgets

    for path in runs:
        ensure_scored(path)
    rule = AnswerRule(region.value, pick.value)
    read = lengths_of_runs(runs, by=None if by is None else by.value, n=n, rule=rule)
    tables = [length_table(each, level=level).assign(model=name) for name, each in read]
    if csv:
        typer.echo(pd.concat(tables).to_csv(index=False), nl=False)
    else:
        candidates = parse_ints("--budgets", budgets)
        chosen = [
            training_budgets(path, budgets=candidates, n=n, kappa=kappa, floor=floor, level=level, rule=rule)
            for path in runs
        ]
        if json_:
            typer.echo(json.dumps(_facts([name for name, _ in read], tables, chosen)))
        else:
            for (name, _), table, of_run in zip(read, tables, chosen, strict=True):
                on = table["benchmark"].iloc[0]
                typer.echo(draw(readable_lengths(table), title=f"{name} on {on}: completion tokens"))
                if of_run is None:
                    typer.echo(f"{name}: no choice of a training budget: twice the smallest budget was not sampled")
                    continue
                title = f"{name} on {on}: training budget by Eq. 3, κ = {kappa:g}"
                typer.echo(draw(readable_budgets(of_run.candidates), title=title))
                for choice in of_run.choices:
                    typer.echo(f"{name}: {sentence(choice)}")
    if figure is not None:
        from extrap_eval.figures import length_histograms, save_figure

        rows = pd.concat([length_rows(each).assign(model=name) for name, each in read], ignore_index=True)
        typer.echo(str(save_figure(length_histograms(rows), figure)), err=json_ or csv)


def readable_lengths(table: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {
            "part": row["part"],
            "ending": row["ending"],
            "completions": int(row["completions"]),
            "share": f"{100 * row['share']:.1f} %",
            **{q: _tokens(row[q], row[f"{q}_low"], row[f"{q}_high"]) for q in ("mean", "median", "p90")},
        }
        for row in table.to_dict("records")
    ]


def readable_budgets(table: pd.DataFrame) -> list[dict[str, object]]:
    from extrap_eval.cli.following import percent

    rows: list[dict[str, object]] = []
    for row in table.to_dict("records"):
        none = math.isinf(row["budget"])
        ratio = "–"
        if not none and not math.isnan(row["ratio"]):
            ratio = "∞" if math.isinf(row["ratio"]) else f"{row['ratio']:.2f}"
            if not math.isnan(row["ratio_low"]):
                ratio += f" [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]".replace("inf", "∞")
        rows.append(
            {
                "budget": "none" if none else f"{row['budget']:,.0f}",
                "J(B)": "–" if none else percent(row["value"], row["low"], row["high"]),
                "J(2B)": "–" if none else f"{100 * row['doubled']:.1f}",
                "J(2B)/J(B)": ratio,
                **{
                    f"chosen, {reading}": "–" if math.isnan(row[reading]) else f"{100 * row[reading]:.1f} %"
                    for reading in ("workshop", "paper")
                },
            }
        )
    return rows


def sentence(choice: Choice) -> str:
    """What a reading chooses, how sure that is, and its condition."""
    found = choice.found
    text = f"B*_tr ({choice.reading}) = {_budget(found.budget)}"
    if not math.isnan(found.low):
        if not math.isinf(found.low):
            text += f" [{_budget(found.low)}, {_budget(found.high)}]"
        text += f", in {100 * found.agreement:.0f} % of resamples"
    return f"{text}: the smallest candidate with {choice.condition}"


def _budget(value: float) -> str:
    return "none" if math.isinf(value) else f"{value:,.0f}"


def _tokens(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if math.isnan(low) else f"{value:,.0f} [{low:,.0f}, {high:,.0f}]"


def _facts(
    names: Sequence[str], tables: Sequence[pd.DataFrame], chosen: Sequence[TrainingBudgets | None]
) -> dict[str, list[object]]:
    """For JSON, which knows no infinity: null stands for a budget that is none of the candidates."""

    facts: dict[str, list[object]] = {"lengths": [], "budgets": [], "choices": []}
    for name, table, of_run in zip(names, tables, chosen, strict=True):
        facts["lengths"] += records(table)
        if of_run is not None:
            facts["budgets"] += records(of_run.candidates.assign(model=name))
            facts["choices"] += [_choice(name, choice) for choice in of_run.choices]
    return facts


def _choice(name: str, choice: Choice) -> dict[str, object]:
    found = choice.found
    ends = {key: getattr(found, key) for key in ("budget", "low", "high", "agreement")}
    return {
        "model": name,
        "reading": choice.reading,
        "condition": choice.condition,
        **{key: value if math.isfinite(value) else None for key, value in ends.items()},
        "unbounded": [key for key, value in ends.items() if math.isinf(value)],
        "shares": [{"budget": b if math.isfinite(b) else None, "share": share} for b, share in found.shares],
    }

"""``extrap-eval summary``: the extrapolation report card."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import Pick, PickOption, Region, RegionOption
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.steps.report_card import Entry, ReportCard


def summary(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    training_budget: Annotated[
        int | None, typer.Option(min=1, help="B_tr in tokens [default: the model card's].")
    ] = None,
    kappa: Annotated[float, typer.Option(help="κ of e3's rule for choosing a training budget (Eq. 3).")] = 1.2,
    floor: Annotated[
        int | None, typer.Option(min=1, help="B0 of that rule, in tokens [default: the smallest budget].")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Points by which pass@1 may grow beyond the saturation budget.")
    ] = 1.0,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="A list of report cards as JSON on stdout.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown tables on stdout.")] = False,
) -> None:
    """Print for each run whether it uses tokens beyond its training budget, and what else they would have bought.

    Accuracy at the training budget and at twice that, saturation, the training budgets that e3's rule chooses, regret,
    and majority votes and forcing for the same tokens. What a run does not have yet is named with the command that
    makes it. Runs are scored first where that is still to do.
    """
    if csv + json_ + markdown > 1:
        raise UserError("--csv, --json and --markdown exclude each other")
    import json

    import pandas as pd

    from extrap_eval.cli.table import to_markdown
    from extrap_eval.cli.terminal import draw
    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps.report_card import summary_table
    from extrap_eval.steps.score import ensure_scored
    from extrap_eval.steps.summary import Settings, summaries

    for path in runs:
        ensure_scored(path)
    settings = Settings(
        training=training_budget,
        kappa=kappa,
        floor=floor,
        tolerance=tolerance / 100,
        level=level,
        rule=AnswerRule(region.value, pick.value),
    )
    cards = summaries(runs, settings)
    if csv:
        typer.echo(summary_table(cards).to_csv(index=False), nl=False)
        return
    if json_:
        typer.echo(json.dumps([_plain(card) for card in cards]))
        return
    for card in cards:
        title = f"{card.model} on {card.benchmark}, {card.problems} problems x {card.n} samples"
        rows = [{"": entry.quantity, "value": shown(entry), "note": entry.note} for entry in card.entries]
        if markdown:
            typer.echo(f"### {title}\n\n{to_markdown(pd.DataFrame(rows))}\n\n{card.verdict}\n")
        else:
            typer.echo(draw(rows, title=title))
            typer.echo(card.verdict)


def shown(entry: Entry) -> str:
    """The number with its interval; "missing" where there is none."""
    if entry.unit == "missing":
        return "missing"
    text = _number(entry.value, entry.unit)
    if not math.isnan(entry.low):
        text += f" [{_number(entry.low, entry.unit)}, {_number(entry.high, entry.unit)}]"
    return f"{text} points" if entry.unit == "points" else f"{text} %" if entry.unit == "fraction" else text


def _number(value: float, unit: str) -> str:
    if math.isnan(value):
        return "–"
    if unit == "tokens":
        return "none" if math.isinf(value) else f"{value:,.0f}"
    if math.isinf(value):
        return "∞"
    if unit == "fraction":
        return f"{100 * value:.1f}"
    if unit == "points":
        return f"{100 * value:+.1f}"
    return f"{value:.2f}" if unit == "ratio" else f"{value:.3f}"


def _plain(card: ReportCard) -> dict[str, object]:
    """For JSON, which knows no nan and no infinity: both become null, and infinity says so."""
    from dataclasses import asdict

    facts = asdict(card)
    for entry in facts["entries"]:
        entry["unbounded"] = [name for name in ("value", "low", "high") if math.isinf(entry[name])]
        for name in ("value", "low", "high"):
            entry[name] = entry[name] if math.isfinite(entry[name]) else None
    return facts

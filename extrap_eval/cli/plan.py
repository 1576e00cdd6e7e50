"""``extrap-eval plan``: how large must an evaluation be?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrap_eval.cli.table import parse_ints
from extrap_eval.cli.terminal import records

if TYPE_CHECKING:
    import pandas as pd


def plan(
    pilot: Annotated[Path | None, typer.Argument(help="A run to plan from; a small one will do.")] = None,
    second: Annotated[
        Path | None, typer.Argument(help="A run of another model, to plan a comparison from both.")
    ] = None,
    accuracy: Annotated[float | None, typer.Option(help="Without a pilot: the expected accuracy in percent.")] = None,
    problems: Annotated[
        str | None, typer.Option(help="Numbers of problems, comma-separated [default: the pilot's and twice as many].")
    ] = None,
    n: Annotated[str | None, typer.Option(help="Samples per problem, comma-separated [default: 1 to 64].")] = None,
    width: Annotated[
        float | None, typer.Option(help="Wanted width of the interval, in points from end to end.")
    ] = None,
    difference: Annotated[
        float | None, typer.Option(help="Difference between two models that is to be detected, in points.")
    ] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Budget to plan at [default: the largest sampled].")] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Budgets to judge, comma-separated [default: the benchmark's, B_tr, 2·B_tr].")
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Tokens that one GPU generates per second, for GPU-hours.")
    ] = None,
    mean_tokens: Annotated[float | None, typer.Option(help="Without a pilot: mean tokens of a completion.")] = None,
    between: Annotated[
        float, typer.Option(help="Without a pilot: share of a sample's variance that lies between problems.")
    ] = 0.5,
    correlation: Annotated[
        float, typer.Option(help="Without a second pilot: of both models' accuracies over problems.")
    ] = 0.8,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    power: Annotated[float, typer.Option(help="Probability of detecting the difference.")] = 0.8,
    json_: Annotated[bool, typer.Option("--json", help="All tables as one JSON object on stdout.")] = False,
) -> None:
    """Predict interval widths, detectable differences, tokens and GPU-hours for numbers of problems and samples.

    From a pilot run: its variance between problems and between samples, its lengths, and which budgets tell something.
    Without one: from --accuracy and --problems.
    """
    import json

    from extrap_eval.cli.terminal import draw
    from extrap_eval.steps.plan import Wish, plan_size
    from extrap_eval.steps.score import ensure_scored

    for path in (pilot, second):
        if path is not None:
            ensure_scored(path)
    wish = Wish(
        problems=parse_ints("--problems", problems),
        n=parse_ints("--n", n),
        budget=budget,
        width=_fraction(width),
        difference=_fraction(difference),
        accuracy=_fraction(accuracy),
        between=between,
        correlation=correlation,
        mean_tokens=mean_tokens,
        tokens_per_second=tokens_per_second,
        level=level,
        power=power,
    )
    found = plan_size(pilot, second, wish, budgets=parse_ints("--budgets", budgets))
    if json_:
        tables = {"budgets": found.budgets, "designs": found.designs, "needs": found.needs}
        facts = {name: records(frame) for name, frame in tables.items()}
        typer.echo(json.dumps(facts | {"notes": list(found.notes)}))
        return
    if len(found.budgets):
        first = found.budgets.iloc[0]
        title = (
            f"{first['model']}: what {first['problems']} problems x {first['n']} samples tell at each budget, in points"
        )
        typer.echo(draw(readable_budgets(found.budgets).to_dict("records"), title=title))
    at = found.designs["budget"].iloc[0]
    title = f"at {at} tokens, in points" if at else "in points"
    typer.echo(draw(readable_designs(found.designs).to_dict("records"), title=title))
    for need in found.needs.to_dict("records"):
        typer.echo(need_sentence(need))
    for note in found.notes:
        typer.echo(note)


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def readable_budgets(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "budget": int(cell["budget"]),
                "accuracy": f"{100 * cell['accuracy']:.1f}",
                "s.d. between": f"{100 * cell['between_sd']:.1f}",
                "within": f"{100 * cell['within_sd']:.1f}",
                "width": _range(cell),
                "detectable": f"{100 * cell['detectable']:.1f}",
                "change (detectable)": f"{100 * cell['change']:+.1f} ({100 * cell['detectable_change']:.1f})",
                "informative": "yes" if cell["informative"] else "no",
                "answered %": f"{100 * cell['answered']:.0f}",
                "cut %": f"{100 * cell['cut']:.0f}",
                "tokens": f"{cell['tokens']:,.0f}",
            }
            for cell in tidy.to_dict("records")
        ]
    )


def readable_designs(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for cell in tidy.to_dict("records"):
        row: dict[str, Any] = {"problems": int(cell["problems"]), "n": int(cell["n"]), "width": _range(cell)}
        row["detectable"] = f"{100 * cell['detectable']:.1f}"
        if pd.notna(cell["tokens"]):
            row["tokens"] = f"{cell['tokens']:,.0f}"
        if pd.notna(cell["prompt_tokens"]):
            row["prompt tokens"] = f"{cell['prompt_tokens']:,.0f}"
        if pd.notna(cell["gpu_hours"]):
            row["GPU-hours"] = f"{cell['gpu_hours']:,.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def _range(cell: dict[Any, Any]) -> str:
    width = f"{100 * cell['width']:.1f}"
    if cell["width_low"] == cell["width_low"]:  # not nan
        width += f" [{100 * cell['width_low']:.1f}, {100 * cell['width_high']:.1f}]"
    return width


def need_sentence(need: dict[Any, Any]) -> str:
    import pandas as pd

    goal = {"width": "an interval of", "difference": "to detect a difference of"}[str(need["goal"])]
    text = f"{goal} {100 * need['target']:g} points, {need['problems']} problems: "
    if pd.notna(need["n"]):
        text += f"{need['n']:,} samples each"
        if pd.notna(need["tokens"]):
            text += f", {need['tokens']:,.0f} tokens"
        if pd.notna(need["gpu_hours"]):
            text += f", {need['gpu_hours']:,.2f} GPU-hours"
        return text
    text += "no number of samples is enough"
    if pd.notna(need["least_problems"]):
        text += f"; it takes {need['least_problems']:,.0f} problems with {need['planned_n']} samples each"
    return text

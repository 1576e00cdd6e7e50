"""``extrap-eval table``: accuracy at every budget, with intervals."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.terminal import draw
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

BUDGETS_HELP = "Budgets in completion tokens, comma-separated [default: the benchmark's, B_tr, 2·B_tr, the maximum]."
KS_HELP = "k of pass@k and maj@k, comma-separated [default: powers of two up to n]."


class Region(StrEnum):
    anywhere = "anywhere"
    after_think = "after_think"


class Pick(StrEnum):
    last = "last"
    first = "first"


RegionOption = Annotated[
    Region, typer.Option(help="Where a box counts: anywhere, or only after the thought has ended.")
]
PickOption = Annotated[Pick, typer.Option(help="Which of the boxes within the budget is the answer.")]


class Votes(StrEnum):
    abstain = "abstain"
    as_class = "class"


def table(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    budgets: Annotated[str | None, typer.Option(help=BUDGETS_HELP)] = None,
    ks: Annotated[str | None, typer.Option("--k", help=KS_HELP)] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level.")] = 0.95,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    votes: Annotated[
        Votes, typer.Option(help="maj@k: a sample without an answer abstains, or votes with its like as one class.")
    ] = Votes.abstain,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="pass@1 under every --region and --pick, against the default.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Tidy records as JSON on stdout.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table on stdout.")] = False,
) -> None:
    """Print accuracy against budget for runs; score them first where that is still to do."""
    if csv + json_ + markdown > 1:
        raise UserError("--csv, --json and --markdown exclude each other")
    import pandas as pd

    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps import curves
    from extrap_eval.steps.score import ensure_scored
    from extrap_eval.steps.tables import readable

    for path in runs:
        ensure_scored(path)
    rule = AnswerRule(region.value, pick.value)
    at = parse_ints("--budgets", budgets)
    if sensitivity:
        tidy = pd.concat([curves.sensitivity(run, budgets=at, n=n, level=level) for run in runs])
    else:
        tidy = curves.curves(
            runs, budgets=at, ks=parse_ints("--k", ks), n=n, level=level, rule=rule, policy=votes.value
        )
    if csv:
        typer.echo(tidy.to_csv(index=False), nl=False)
    elif json_:
        typer.echo(tidy.to_json(orient="records"))
    else:
        wide = readable_sensitivity(tidy) if sensitivity else readable(tidy)
        typer.echo(to_markdown(wide) if markdown else draw(wide.to_dict("records")))
        if not sensitivity:
            for sentence in curves.extrapolation_sentences(runs, n=n, level=level, rule=rule):
                typer.echo(sentence)


def parse_ints(option: str, text: str | None) -> list[int] | None:
    """``4096,8k,16k`` -> [4096, 8192, 16384]; None stays None."""
    if text is None:
        return None
    try:
        values = [
            int(item[:-1]) * 1024 if item.lower().endswith("k") else int(item)
            for item in text.replace(" ", "").split(",")
        ]
    except ValueError:
        raise UserError(f"{option}: {text} is not a comma-separated list of whole numbers") from None
    if not values or min(values) < 1:
        raise UserError(f"{option}: {text}: every value must be at least 1")
    return sorted(set(values))


def readable_sensitivity(tidy: pd.DataFrame) -> pd.DataFrame:
    """One row per run, answer rule and budget: pass@1 and its difference to the default rule, in points."""
    import pandas as pd

    rows = []
    for cell in tidy.to_dict("records"):
        row = {name: cell[name] for name in ("model", "benchmark", "region", "pick", "budget")}
        row["pass@1"] = f"{100 * cell['value']:.1f}"
        row["difference"] = f"{100 * cell['difference']:+.1f}"
        if pd.notna(cell["low"]):
            row["difference"] += f" [{100 * cell['low']:+.1f}, {100 * cell['high']:+.1f}]"
        rows.append(row)
    return pd.DataFrame(rows)


def to_markdown(wide: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(map(str, wide.columns)) + " |", "|" + " --- |" * len(wide.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in wide.itertuples(index=False)]
    return "\n".join(lines)

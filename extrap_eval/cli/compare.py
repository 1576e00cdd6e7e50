"""``extrap-eval compare``: is one run better than another?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import BUDGETS_HELP, Pick, PickOption, Region, RegionOption, Votes, parse_ints
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


class Compared(StrEnum):
    passed = "pass"
    voted = "maj"


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run directory of the first model.")],
    run_b: Annotated[Path, typer.Argument(help="Run directory of the second, on the same problems.")],
    budgets: Annotated[str | None, typer.Option(help=f"{BUDGETS_HELP[:-2]}, as far as both have it].")] = None,
    metric: Annotated[Compared, typer.Option(help="pass: pass@k; maj: maj@k.")] = Compared.passed,
    k: Annotated[int, typer.Option("--k", min=1, help="k of pass@k or maj@k.")] = 1,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            help="Accuracies at which to compare tokens, in percent, comma-separated [default: every 10 both reach]."
        ),
    ] = None,
    allow: Annotated[
        str | None,
        typer.Option(
            help="Compare although they differ in these, comma-separated: problems (those in common), prompt, rule, "
            "sampling."
        ),
    ] = None,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    votes: Annotated[
        Votes, typer.Option(help="maj@k: a sample without an answer abstains, or votes with its like as one class.")
    ] = Votes.abstain,
    level: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Confidence level; 1 - level is that of tests.")
    ] = 0.95,
    problems: Annotated[
        bool, typer.Option("--problems", help="List the problems that only one of them usually solves, too.")
    ] = False,
    figure: Annotated[Path | None, typer.Option(help="Draw the difference into this .png, .svg or .pdf.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV of the differences on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="All tables as one JSON object on stdout.")] = False,
) -> None:
    """Print the paired difference of two runs at every budget, and what makes it; score them first where needed.

    Both are resampled alike over problems. p is that of a sign-flip permutation test, corrected for the number of
    budgets (Holm). "Usually right": in more than half of a problem's samples. "Never right": in none of them.
    """
    import json

    from extrap_eval.cli.efficiency import readable_ratios
    from extrap_eval.cli.terminal import draw
    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps import compare as steps
    from extrap_eval.steps.score import ensure_scored

    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    targets = [percent / 100 for percent in parse_ints("--accuracy", accuracy) or []]
    if targets and targets[-1] > 1:
        raise UserError(f"--accuracy: {accuracy}: more than 100 %")
    allowed = [] if allow is None else allow.replace(" ", "").split(",")
    for path in (run_a, run_b):
        ensure_scored(path)
    rule = AnswerRule(region.value, pick.value)
    pair = steps.read_pair(run_a, run_b, budgets=parse_ints("--budgets", budgets), n=n, rule=rule, allow=allowed)
    table = steps.difference_table(
        pair, metric="pass@k" if metric is Compared.passed else "maj@k", k=k, level=level, policy=votes.value
    )
    ratios = steps.accuracy_tokens(run_a, run_b, targets=targets or None, n=n, level=level, rule=rule, allow=allowed)
    each = steps.problem_table(pair)
    if figure is not None:
        from extrap_eval.figures import difference_curve, save_figure

        drawn = save_figure(difference_curve(table, alpha=1 - level), figure)
        typer.echo(str(drawn), err=csv or json_)
    if csv:
        typer.echo(table.to_csv(index=False), nl=False)
        return
    if json_:
        tables = {"differences": table, "tokens": ratios, "problems": each}
        facts = {name: records(frame) for name, frame in tables.items()}
        typer.echo(json.dumps(facts | {"verdict": steps.verdict(table, level), "unlike": list(pair.unlike)}))
        return
    first, second = pair.names
    for difference in pair.unlike:
        typer.echo(f"compared although they differ in {difference}", err=True)
    title = f"A = {first}, B = {second}, {pair.a.benchmark}, {len(pair.a.problem_ids)} problems"
    typer.echo(draw(readable(table).to_dict("records"), title=title))
    if problems:
        flipped = each[each["usual"].isin(["a only", "b only"])]
        rows = readable_problems(flipped).to_dict("records")
        typer.echo(draw(rows, title="usually solved by one of them only") if rows else "no problem flips")
    if len(ratios):
        title = "tokens per sample to reach an accuracy, A and B"
        typer.echo(draw(readable_ratios(ratios).to_dict("records"), title=title))
    typer.echo(steps.verdict(table, level))


def readable(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for cell in tidy.to_dict("records"):
        metric = f"{cell['metric'][:-1]}{cell['k']}"
        difference = points(cell["difference"])
        if cell["low"] == cell["low"]:  # not nan
            difference += f" [{points(cell['low'])}, {points(cell['high'])}]"
        overlap = f" ({100 * cell['overlap']:.0f} %)" if cell["overlap"] == cell["overlap"] else ""
        rows.append(
            {
                "budget": int(cell["budget"]),
                f"A {metric}": f"{100 * cell['value_a']:.1f}",
                f"B {metric}": f"{100 * cell['value_b']:.1f}",
                "A − B": difference,
                "p": p_value(cell["p"]),
                "p (Holm)": p_value(cell["p_holm"]),
                "detectable": f"{100 * cell['detectable']:.1f}",
                "usually right: A, B only": f"{cell['usual_a_only']}, {cell['usual_b_only']}",
                f"never right of {cell['unsolved_k']}: A, B, both": (
                    f"{cell['unsolved_a']}, {cell['unsolved_b']}, {cell['unsolved_both']}{overlap}"
                ),
            }
        )
    return pd.DataFrame(rows)


def readable_problems(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "budget": int(cell["budget"]),
                "problem": str(cell["problem_id"]),
                "A": f"{100 * cell['value_a']:.0f} %",
                "B": f"{100 * cell['value_b']:.0f} %",
            }
            for cell in tidy.to_dict("records")
        ]
    )


def points(fraction: float) -> str:
    """A difference in percentage points, signed."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if float(text) == 0 else text


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"

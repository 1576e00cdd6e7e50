"""``extrap-eval calibrate``: estimators and intervals against a model whose truth is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.table import parse_ints
from extrap_eval.cli.terminal import draw
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def calibrate(
    replications: Annotated[int, typer.Option(min=2, help="Evaluations to repeat.")] = 500,
    problems: Annotated[int, typer.Option(min=2, help="Problems of each evaluation.")] = 30,
    n: Annotated[int, typer.Option(min=1, help="Samples per problem.")] = 16,
    budgets: Annotated[
        str | None, typer.Option(help="Budgets in completion tokens, comma-separated [default: 64 to 768].")
    ] = None,
    ks: Annotated[
        str | None, typer.Option("--k", help="k of pass@k and maj@k, comma-separated [default: 1,4,8].")
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same table.")] = 0,
    run: Annotated[
        Path | None, typer.Option(help="Instead: hold this one run of a markov model against what is true of it.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw truth against estimates into this .png, .svg or .pdf.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Tidy CSV on stdout.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Tidy records as JSON on stdout.")] = False,
) -> None:
    """Check every estimate and its interval against a model whose true accuracy is known in closed form.

    A stand-in model of known truth writes completions token by token; the real scoring and metrics read them,
    over and over. Exit code 1 if an estimate is biased by more than 4 standard errors, or if an interval
    covers the truth more than 5 points less or 4 points more often than it promises (with fewer than 500
    replications: wider).
    """
    if csv and json_:
        raise UserError("--csv and --json exclude each other")
    if run is not None:
        _one_run(run, level, figure, csv, json_)
        return
    from rich.console import Console
    from rich.progress import Progress

    from extrap_eval.steps.calibrate import DEFAULT_BUDGETS, DEFAULT_KS
    from extrap_eval.steps.calibrate import calibrate as calibrate_step

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("replications", total=replications)
        result = calibrate_step(
            problems=problems,
            n=n,
            budgets=parse_ints("--budgets", budgets) or DEFAULT_BUDGETS,
            ks=parse_ints("--k", ks) or DEFAULT_KS,
            replications=replications,
            seed=seed,
            level=level,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    if csv:
        typer.echo(result.to_csv(index=False), nl=False)
    elif json_:
        typer.echo(result.to_json(orient="records"))
    else:
        typer.echo(draw(_readable(result).to_dict("records")))
        typer.echo(
            f"{replications} replications: the {100 * level:g} % intervals cover the truth in "
            f"{_span(100 * result['coverage'])} %, estimates are off by {_span(result['bias_se'])} "
            "standard errors"
        )
    if figure is not None:
        from extrap_eval.figures import save_figure, truth_against_estimates

        typer.echo(str(save_figure(truth_against_estimates(result, level=level), figure)), err=csv or json_)
    if not result["passed"].all():
        failed = result[~result["passed"]]
        where = ", ".join(f"{row.metric} at {row.budget}" for row in failed.itertuples())
        typer.echo(f"not within limits: {where}", err=True)
        raise typer.Exit(1)


def _one_run(run: Path, level: float, figure: Path | None, csv: bool, json_: bool) -> None:
    from extrap_eval.cli.reproduce import readable
    from extrap_eval.figures import reproduction, save_figure
    from extrap_eval.steps.references import against_reference
    from extrap_eval.steps.score import ensure_scored
    from extrap_eval.steps.truth import truth_and_estimates

    ensure_scored(run)
    ours, truth = truth_and_estimates(run, level=level)
    table = against_reference(ours, truth).rename(columns={"paper": "truth"})
    if csv:
        typer.echo(table.to_csv(index=False), nl=False)
    elif json_:
        typer.echo(table.to_json(orient="records"))
    else:
        shown = readable(table.rename(columns={"truth": "paper"})).rename(columns={"paper": "truth"})
        typer.echo(draw(shown.to_dict("records")))
        inside = int(table["within"].astype(bool).sum())
        typer.echo(f"{inside} of {len(table)} true values lie within their {100 * level:g} % interval")
    if figure is not None:
        drawn = reproduction(ours, truth, title=f"{run.name}: estimates of one run and the truth", known_as="truth")
        typer.echo(str(save_figure(drawn, figure)), err=csv or json_)


def _readable(result: pd.DataFrame) -> pd.DataFrame:
    return result.assign(
        truth=(100 * result["truth"]).map("{:.1f}".format),
        mean=(100 * result["mean"]).map("{:.1f}".format),
        bias_se=result["bias_se"].map("{:+.1f}".format),
        coverage=(100 * result["coverage"]).map("{:.1f}".format),
        width=(100 * result["width"]).map("{:.1f}".format),
        passed=result["passed"].map({True: "yes", False: "NO"}),
    ).rename(columns={"bias_se": "bias / s.e.", "coverage": "coverage %", "width": "mean width", "passed": "ok"})


def _span(values: pd.Series) -> str:
    return f"{values.min():.1f} … {values.max():.1f}"

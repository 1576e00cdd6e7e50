"""``extrap-eval plot``: the figures of one or more runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from extrap_eval.cli.table import BUDGETS_HELP, KS_HELP, Pick, PickOption, Region, RegionOption, parse_ints


class FigureKind(StrEnum):
    budget = "budget"
    passk = "passk"
    outcomes = "outcomes"
    votes = "votes"
    unsolvable = "unsolvable"
    diversity = "diversity"
    attempts = "attempts"
    probes = "probes"
    progress = "progress"
    regret = "regret"
    regret_groups = "regret-groups"
    grid = "grid"
    forced_budgets = "forced-budgets"
    forcing = "forcing"
    wait = "wait"
    slide = "slide"
    quality = "quality"
    lengths = "lengths"
    verify = "verify"
    replaced = "replace"
    entropy = "entropy"


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Figure file: .png, .svg or .pdf.")],
    figure: Annotated[
        FigureKind,
        typer.Option(
            help="budget: pass@1 against budget; passk: pass@k and maj@k; outcomes: per budget; votes: maj@k against "
            "tokens. Of probe: probes, progress, regret, regret-groups, grid, forced-budgets; of force: forcing, wait; "
            "of slide: slide; of logprobs: entropy. verify, replace, unsolvable, diversity, attempts, quality, "
            "lengths: as those commands."
        ),
    ] = FigureKind.budget,
    budgets: Annotated[str | None, typer.Option(help=BUDGETS_HELP)] = None,
    ks: Annotated[str | None, typer.Option("--k", help=KS_HELP)] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of the bands.")] = 0.95,
    variant: Annotated[
        str | None, typer.Option(help="Which variant of probes or extensions, where a run has several.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="With probes: a run of a model that answers the bare problem.")
    ] = None,
) -> None:
    """Draw a figure; score the runs first where that is still to do."""
    from extrap_eval.scoring.timeline import AnswerRule
    from extrap_eval.steps.plot import FOLLOWED, plot_followed
    from extrap_eval.steps.plot import plot as plot_step
    from extrap_eval.steps.score import ensure_scored

    if figure.value in FOLLOWED:
        at = parse_ints("--budgets", budgets)
        drawn = plot_followed(
            runs, out, figure=figure.value, variant=variant, baseline=baseline, budgets=at, level=level
        )
        typer.echo(str(drawn))
        return
    for path in runs:
        ensure_scored(path)
    written = plot_step(
        runs,
        out,
        figure=figure.value,
        budgets=parse_ints("--budgets", budgets),
        ks=parse_ints("--k", ks),
        n=n,
        level=level,
        rule=AnswerRule(region.value, pick.value),
    )
    typer.echo(str(written))

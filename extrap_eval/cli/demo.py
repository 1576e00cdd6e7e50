"""``extrap-eval demo``: the main job on the embedded default, from nothing to a table and three figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL, BENCHMARK = "markov", "hidden_number"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the run and its figures.")] = Path("demo-run"),
) -> None:
    """Sample the embedded model on its benchmark, score, print the table and draw three figures.

    The same steps by hand: extrap-eval sample, score, table, plot.
    """
    from extrap_eval.cli.table import readable
    from extrap_eval.cli.terminal import draw
    from extrap_eval.sampling.progress import progress_line
    from extrap_eval.steps.curves import curves, extrapolation_sentences
    from extrap_eval.steps.plot import FIGURES, plot
    from extrap_eval.steps.sample import open_engine, plan_sampling, prepare_run, sample
    from extrap_eval.steps.score import ensure_scored

    plan = plan_sampling(MODEL, BENCHMARK)
    run = prepare_run(plan, out / "run")
    with progress_line(f"{plan.model.name} on {plan.benchmark.name}", silent=False) as progress:
        sample(plan, run, open_engine("markov", plan, max_in_flight=256), seed=1, progress=progress)
    ensure_scored(run.path)
    typer.echo(draw(readable(curves([run.path])).to_dict("records")))
    for sentence in extrapolation_sentences([run.path]):
        typer.echo(sentence)
    for figure in FIGURES:
        typer.echo(f"figure: {plot([run.path], out / f'{figure}.png', figure=figure)}")
    typer.echo(f"run directory: {run.path}")

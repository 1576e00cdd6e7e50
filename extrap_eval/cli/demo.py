"""``extrap-eval demo``: the main job on a model that travels with the package, from nothing to a table and figures."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from extrap_eval.errors import UserError

# Model card -> benchmark card, engine, largest budget (None: the card's)
DEMOS: dict[str, tuple[str, str, int | None]] = {
    "residue-explorer": ("residue_search_tiny", "local", 2048),
    "residue-stopper": ("residue_search_tiny", "local", 2048),
    "markov": ("hidden_number", "markov", None),
}
N, SEED = 16, 1
FOLLOWED = 2  # samples of each problem that are probed and extended


def demo(
    model: Annotated[
        str, typer.Option("--model", "-m", help=f"One of {', '.join(DEMOS)}; markov needs no PyTorch.")
    ] = "residue-explorer",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the run and its figures.")] = Path("demo-run"),
) -> None:
    """Sample an embedded model on its benchmark, score, probe and extend some thoughts, print tables, draw figures.

    The same steps by hand: extrap-eval sample, table, plot, probe, force.
    """
    from extrap_eval.cli.force import readable_audit
    from extrap_eval.cli.probe import readable_votes
    from extrap_eval.cli.terminal import draw
    from extrap_eval.sampling.progress import progress_line
    from extrap_eval.steps.curves import curves, extrapolation_sentences
    from extrap_eval.steps.following import follow
    from extrap_eval.steps.forcing import audit_table, plan_forcing
    from extrap_eval.steps.plot import FIGURES, plot, plot_followed
    from extrap_eval.steps.probe_curves import probe_votes
    from extrap_eval.steps.probes import plan_probes
    from extrap_eval.steps.sample import open_engine, plan_sampling, prepare_run, sample
    from extrap_eval.steps.score import ensure_scored
    from extrap_eval.steps.tables import readable

    if model not in DEMOS:
        raise UserError(f"--model: {model} is not one of {', '.join(DEMOS)}")
    benchmark, engine, budget_max = DEMOS[model]
    if engine == "local" and find_spec("torch") is None:
        raise UserError(
            f"{model} is a neural network and needs PyTorch: pip install 'extrap-eval[local]', or use --model markov"
        )
    plan = plan_sampling(model, benchmark, n=N, budget_max=budget_max)
    run = prepare_run(plan, out / "run")
    title = f"{plan.model.name} on {plan.benchmark.name}"
    with progress_line(title, silent=False) as progress:
        sample(plan, run, open_engine(engine, plan, max_in_flight=256), seed=SEED, progress=progress)
    ensure_scored(run.path)
    typer.echo(draw(readable(curves([run.path])).to_dict("records")))
    for sentence in extrapolation_sentences([run.path]):
        typer.echo(sentence)
    figures = [plot([run.path], out / f"{figure}.png", figure=figure) for figure in FIGURES]

    probes = plan_probes(run, n=FOLLOWED, replicates=4, groups=4, answer_tokens=64)
    forcing = plan_forcing(
        run,
        n=FOLLOWED,
        extensions=2,
        extension_tokens=512,
        thinking_tokens=run.sampling.max_tokens,
        answers_after=(0, 1, 2),
        replicates=1,
        answer_tokens=64,
    )
    with progress_line(f'{title}, probes and "Wait"', silent=False) as progress:
        follow(run, [probes, forcing], open_engine(engine, plan, max_in_flight=256), seed=SEED, progress=progress)
    typer.echo(
        draw(readable_votes(probe_votes(run.path)).to_dict("records"), "answers forced after j groups of episodes")
    )
    typer.echo(draw(readable_audit(audit_table(run.path)).to_dict("records"), "Wait audit: what two extensions did"))
    figures += [plot_followed(run.path, out / f"{figure}.png", figure=figure) for figure in ("probes", "forcing")]
    for path in figures:
        typer.echo(f"figure: {path}")
    typer.echo(f"run directory: {run.path}")

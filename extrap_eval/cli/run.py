"""``extrap-eval run``: a study file, from nothing to everything that it asks for."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.engine_options import EngineChoice, sayer, with_engine_options
from extrap_eval.cli.following import Json, Quiet
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.cards.study import Study, StudyModel
    from extrap_eval.engines.base import Engine
    from extrap_eval.steps.sample import SamplingPlan


@with_engine_options
def run(
    study: Annotated[Path, typer.Argument(help="Study file (YAML).")],
    choice: EngineChoice,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="One model and one stage after the other, instead of overlapped.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked, send nothing.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Sample, probe and extend every model of a study, one run directory each.

    The probes and extensions of a finished trace are asked while other traces are still sampled, and the next model
    begins in the tail of the last one, so that the servers stay busy to the end: those that have nothing left to do
    make room for the next model's. The same command continues after any interruption and does only what is missing.
    Engine options given here hold for every model; those in the study file come first.
    """
    from extrap_eval.cards.study import load_study
    from extrap_eval.engines.servers.places import Places
    from extrap_eval.sampling.progress import progress_lines
    from extrap_eval.steps.servers import SERVED_HERE
    from extrap_eval.steps.study import StudyReport, run_models, sampling_plans

    loaded = load_study(study)
    planned = list(sampling_plans(loaded))
    if dry_run:
        for model, plan, path in planned:
            _print_plan(loaded, model, plan, path)
        return
    silent = json_ or quiet
    places = Places()
    unfinished = []

    def open_engine(model: StudyModel, plan: SamplingPlan, path: Path, context: int) -> tuple[Engine, int]:
        say = sayer(silent, plan.model.name)
        return _choice_of(model, choice).open(plan, path, context_length=context, places=places, say=say)

    def done(report: StudyReport) -> None:
        if json_:
            typer.echo(json.dumps(asdict(report) | {"run": str(report.run), "reasons": dict(report.reasons)}))
        else:
            typer.echo(
                f"{report.run}: {report.finished} completions in {report.seconds:.1f} s, {report.missing} missing"
            )
            for reason, count in report.reasons[:5]:
                typer.echo(f"  {count} x {reason}", err=True)
        if report.missing:
            unfinished.append(report.run)

    # What runs in this process, or what a cluster divides, is one model's at a time.
    kinds = {_choice_of(model, choice).kind(plan) for model, plan, _ in planned}
    with progress_lines(silent=silent) as titled:
        run_models(
            loaded,
            planned,
            open_engine,
            sequential=sequential,
            overlap=not sequential and kinds <= {*SERVED_HERE, "http"},
            seed=choice.seeded,
            progress=lambda plan: titled(f"{plan.model.name} on {plan.benchmark.name}"),
            done=done,
        )
    if unfinished:
        raise UserError(f"{', '.join(map(str, unfinished))}: not complete; the same command asks for the rest")


def _choice_of(model: StudyModel, choice: EngineChoice) -> EngineChoice:
    return replace(
        choice,
        engine=model.engine or choice.engine,
        endpoint=model.endpoints or choice.endpoint,
        served_model=model.served_model or choice.served_model,
    )


def _print_plan(study: Study, model: StudyModel, plan: SamplingPlan, path: Path) -> None:
    """What is to be sampled, and what follows from the samples that are there."""
    from extrap_eval.steps.following import price
    from extrap_eval.steps.study import follow_plans
    from extrap_eval.store import open_run

    run = open_run(path) if path.exists() else None
    promised = len(plan.problems) * plan.n
    there = len(run.keys()) if run is not None else 0
    typer.echo(
        f"{model.model} -> {path}: {len(plan.problems)} problems x {plan.n} samples, {there} of {promised} exist, at "
        f"most {plan.model.max_new_tokens:,} tokens each"
        + (f", with log-probabilities of {plan.top_logprobs}" if plan.top_logprobs else "")
    )
    if run is None:
        return
    for each in follow_plans(study, run, model.tokenizer):
        total, existing = price(run, [each])
        typer.echo(
            f"  {each.name}: {total.requests:,} requests at most for the samples that are there, {existing:,} of them "
            f"exist; {total.distinct_tokens:,} prompt tokens with a prefix cache"
        )

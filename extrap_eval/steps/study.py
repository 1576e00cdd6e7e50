"""A study: several models on one benchmark, sampled, probed and extended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.steps.interrupts import run_to_the_end

if TYPE_CHECKING:
    from extrap_eval.cards.study import Stages, Study, StudyModel
    from extrap_eval.engines.base import Engine
    from extrap_eval.sampling.progress import Progress, Snapshot
    from extrap_eval.steps.following import FollowPlan
    from extrap_eval.steps.sample import SamplingPlan
    from extrap_eval.store import Run

# Opens the engine of a model: its plan, its run directory, the context that its requests need; with how many in flight.
OpenEngine = Callable[["StudyModel", "SamplingPlan", Path, int], "tuple[Engine, int]"]
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class StudyReport:
    """What became of one model of a study."""

    run: Path
    variants: tuple[str, ...]
    finished: int
    tokens: int
    seconds: float
    missing: int
    reasons: tuple[tuple[str, int], ...]


def sampling_plans(study: Study) -> Iterator[tuple[StudyModel, SamplingPlan, Path]]:
    """Every model with its plan and its run directory, in the study's order. Raises UserError as planning does."""
    from extrap_eval.steps.sample import plan_sampling

    for model in study.models:
        stage = model.sample or study.stages.sample
        plan = plan_sampling(
            model.model,
            study.benchmark,
            tokenizer=model.tokenizer,
            n=stage.n,
            budget_max=stage.budget_max,
            limit=stage.limit,
            sampling=stage.sampling(),
            top_logprobs=stage.logprobs or 0,
        )
        yield model, plan, Path(study.out) / _file_name(plan.model.name)


def follow_plans(study: Study, run: Run, tokenizer: str | None = None) -> list[FollowPlan]:
    """The probes and extensions of a study on one of its runs. Raises UserError as planning does."""
    return stage_plans(study.stages, run, tokenizer)


def stage_plans(stages: Stages, run: Run, tokenizer: str | None = None) -> list[FollowPlan]:
    """The probes and extensions that stages ask of a run. Raises UserError as planning does."""
    from extrap_eval.cards.study import DRAWN
    from extrap_eval.steps.forcing import plan_forcing
    from extrap_eval.steps.probes import plan_probes
    from extrap_eval.steps.replacement import plan_replacements

    plans = []
    for force in stages.force:  # their chains take longest, so they come first
        options = force.model_dump(exclude={"mode", *DRAWN})
        plans.append(plan_forcing(run, mode=force.mode, sampling=force.sampling(), tokenizer=tokenizer, **options))
    for swap in stages.replace:
        options = swap.model_dump(exclude=set(DRAWN))
        plans += plan_replacements(run, sampling=swap.sampling(), tokenizer=tokenizer, **options)
    for probe in stages.probe:
        options = probe.model_dump(exclude={"at", "cap", "probe_text", *DRAWN})
        options |= {"max_episodes": probe.cap, "text": probe.probe_text, "sampling": probe.sampling()}
        plans.append(plan_probes(run, at=probe.at, tokenizer=tokenizer, **options))
    return plans


def run_models(
    study: Study,
    planned: Sequence[tuple[StudyModel, SamplingPlan, Path]],
    open_engine: OpenEngine,
    *,
    sequential: bool = False,
    overlap: bool = True,
    seed: int | None = None,
    progress: Callable[[SamplingPlan], Progress] | None = None,
    done: Callable[[StudyReport], None] = lambda report: None,
) -> None:
    """Sample, probe and extend the models of a study, in its order.

    Of one model everything is asked in one graph: the probes and extensions of a finished trace while the long tail of
    the others is still sampled. ``overlap``: the next model begins when the last one has nothing more to start that
    would fill its engine. ``sequential``: one stage after the other. In any case only what is missing is done.

    ``progress`` makes the function that is told how far a model is; ``done`` is told what became of each. Raises
    UserError as sampling and following do, and stops the other models then.
    """

    async def all_of_them() -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def one(model: StudyModel, plan: SamplingPlan, path: Path, tail: asyncio.Event) -> None:
            told = progress(plan) if progress is not None else None
            done(await _run(study, model, plan, path, open_engine, sequential, seed, _until_tail(told, tail)))

        try:
            for model, plan, path in planned:
                tail = asyncio.Event()
                task = asyncio.create_task(one(model, plan, path, tail))
                tasks.add(task)
                while not (task.done() or (overlap and tail.is_set())):
                    await asyncio.wait([task, *(each for each in tasks if not each.done())], timeout=_LOOK_SECONDS)
                    _raise_first(tasks)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run_to_the_end(all_of_them())


def _raise_first(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


def _until_tail(progress: Progress | None, tail: asyncio.Event) -> Progress:
    def told(snapshot: Snapshot) -> None:
        if snapshot.tail:
            tail.set()
        if progress is not None:
            progress(snapshot)

    return told


async def _run(
    study: Study,
    model: StudyModel,
    plan: SamplingPlan,
    path: Path,
    open_engine: OpenEngine,
    sequential: bool,
    seed: int | None,
    progress: Progress,
) -> StudyReport:
    from extrap_eval.steps.following import context_needed, following
    from extrap_eval.steps.sample import prepare_run, sampling

    run = prepare_run(plan, path)
    plans = follow_plans(study, run, model.tokenizer)
    context = max([plan.longest_prompt + plan.model.max_new_tokens, *(context_needed(run, p, True) for p in plans)])
    began = time.monotonic()
    if not sequential:
        engine, in_flight = open_engine(model, plan, path, context)
        done = await following(
            run,
            plans,
            engine,
            rollouts=True,
            concurrency=in_flight,
            seed=seed,
            top_logprobs=plan.top_logprobs,
            progress=progress,
        )
        seconds = time.monotonic() - began
        return StudyReport(
            path, done.variants, done.finished, done.tokens, seconds, done.missing, tuple(done.reasons())
        )
    engine, in_flight = open_engine(model, plan, path, context)
    sampled = await sampling(plan, run, engine, concurrency=in_flight, seed=seed, progress=progress)
    finished, tokens, missing, reasons = sampled.finished, sampled.tokens, len(sampled.missing), sampled.reasons()
    for each in plans if not missing else ():
        engine, in_flight = open_engine(model, plan, path, context)
        done = await following(run, [each], engine, concurrency=in_flight, seed=seed, progress=progress)
        finished, tokens, missing = finished + done.finished, tokens + done.tokens, missing + done.missing
        reasons += done.reasons()
    seconds = time.monotonic() - began
    return StudyReport(path, tuple(p.name for p in plans), finished, tokens, seconds, missing, tuple(reasons))


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name).lower()

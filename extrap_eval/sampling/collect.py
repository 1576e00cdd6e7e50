"""From jobs to completions on disk: what all kinds of sampling have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass

import numpy as np

from extrap_eval.engines.base import Engine, EngineError, Generation, GenerationRequest
from extrap_eval.sampling.commit import GroupCommit
from extrap_eval.sampling.progress import Progress, Tally, with_replicas
from extrap_eval.sampling.scheduler import Failure, Job, run_graph
from extrap_eval.scoring.distributions import TokenDistributions, condense
from extrap_eval.store import Completion, Run

_TICK = 0.5  # seconds between two calls of progress

Follow = Callable[[Job, Generation], Iterable[Job]]


@dataclass(frozen=True)
class Work:
    """What there is to do: jobs (made as they are started), and what follows from each once it is on disk."""

    jobs: Iterable[Job]
    tally: Tally
    follow: Follow = lambda job, generation: ()


@dataclass(frozen=True)
class Collected:
    """What one call of ``collect`` came to. ``gave_up``: too many failures in a row, the rest was not tried."""

    finished: int
    tokens: int
    seconds: float
    failures: tuple[Failure, ...]
    gave_up: bool


async def collect(
    run: Run,
    engine: Engine,
    stages: Sequence[str],
    plan: Callable[[], Work],
    *,
    concurrency: int,
    progress: Progress | None = None,
) -> Collected:
    """Do all jobs; each completion is on disk before it is counted, and before what follows from it is asked.

    ``stages``: all that the jobs may belong to. ``plan`` is called once this process is the one that writes them.
    ``progress`` is called about twice a second and at the end.

    A request that fails stops no other. Cancellation (Ctrl-C under ``asyncio.run``) cancels what is in flight and
    keeps what has finished. Raises UserError when another process writes the run, and when the disk refuses.
    """
    progress = with_replicas(progress, engine)
    with ExitStack() as locks:
        writers = {stage: locks.enter_context(run.writer(stage)) for stage in stages}
        work = plan()
        with_text = run.token_table() is None
        async with AsyncExitStack() as commits:
            commit = {stage: await commits.enter_async_context(GroupCommit(writers[stage])) for stage in stages}

            async def keep(job: Job, generation: Generation) -> Iterable[Job]:
                check(generation, job.request)
                if job.read is not None:
                    generation = job.read(generation)
                await commit[job.stage].put(completion_of(job, generation, with_text=with_text))
                return work.follow(job, generation)

            ticker = asyncio.create_task(_tick(work.tally, progress))
            try:
                graph = await run_graph(work.jobs, engine, keep, concurrency=concurrency, watcher=work.tally)
            finally:
                ticker.cancel()
                with suppress(asyncio.CancelledError):
                    await ticker
            for each in commit.values():
                await each.seal()
    last = work.tally.snapshot()
    if progress is not None:
        progress(last)
    return Collected(last.finished, last.tokens, last.seconds, graph.failures, graph.stopped)


def reasons(failures: Iterable[Failure]) -> list[tuple[str, int]]:
    """Why requests failed and how often, the most frequent first."""
    return Counter(failure.reason for failure in failures).most_common()


def check(generation: Generation, request: GenerationRequest) -> None:
    """Raises EngineError for a completion that must not count.

    Above all one that the engine cut before the budget, as servers do without a word when prompt and budget
    together exceed their context. Ids that were made from text cannot show that: their number is not the
    engine's.
    """
    ids = generation.token_ids
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or (len(ids) and int(ids.min()) < 0):
        raise EngineError(f"the engine returned no list of token ids ({ids.dtype}, shape {ids.shape})")
    if request.top_logprobs and (generation.logprobs is None or len(generation.logprobs.chosen) != len(ids)):
        raise EngineError("the engine returned no log-probabilities for the tokens of the completion")
    if generation.token_source == "retokenized":
        return
    if len(ids) > request.max_tokens:
        raise EngineError(f"the engine returned {len(ids)} tokens where at most {request.max_tokens} were asked")
    if generation.finish_reason == "length" and len(ids) < request.max_tokens:
        raise EngineError(
            f"the engine cut the completion at {len(ids)} of {request.max_tokens} tokens: its context is too "
            "short for the prompt and the budget"
        )


def completion_of(job: Job, generation: Generation, *, with_text: bool) -> Completion:
    """What is kept of a generation; its text only ``with_text``, since ids and token table give it."""
    return Completion(
        job.problem_id,
        job.sample_index,
        job.stage,
        token_ids=generation.token_ids,
        finish_reason=generation.finish_reason,
        stop_token_id=generation.stop_token_id,
        text=generation.text if with_text or generation.token_source == "retokenized" else None,
        token_source=generation.token_source,
        prompt_tokens=generation.prompt_tokens,
        cached_tokens=generation.cached_tokens,
        seconds=generation.seconds,
        attempts=generation.attempts,
        server=generation.server,
        step=job.step,
        replicate=job.replicate,
        prefix_tokens=job.prefix_tokens,
        distributions=distributions_of(generation),
    )


def distributions_of(generation: Generation) -> TokenDistributions | None:
    """What is kept of the log-probabilities, None where there are none. EngineError for impossible ones."""
    if generation.logprobs is None:
        return None
    try:
        return condense(generation.logprobs.chosen, generation.logprobs.top)
    except ValueError as error:
        raise EngineError(f"the engine returned {error}") from None


async def _tick(tally: Tally, progress: Progress | None) -> None:
    while progress is not None:
        progress(tally.snapshot())
        await asyncio.sleep(_TICK)

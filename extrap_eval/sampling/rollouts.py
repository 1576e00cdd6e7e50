"""Rollouts: every promised sample of every problem, once, at the largest budget."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from extrap_eval.engines.base import Engine, EngineError, Generation, GenerationRequest
from extrap_eval.errors import UserError
from extrap_eval.sampling.commit import GroupCommit
from extrap_eval.sampling.progress import Progress, Tally
from extrap_eval.sampling.scheduler import Failure, Job, run_graph
from extrap_eval.store import Completion, Key, Run

STAGE = "rollout"
_TICK = 0.5  # seconds between two calls of progress


@dataclass(frozen=True)
class SamplingReport:
    """What one call of ``sample_rollouts`` came to.

    ``finished`` samples and ``tokens`` of theirs were added; ``missing`` ones are promised and still not
    there, with the ``failures`` of this call among them. ``gave_up``: too many failures in a row, the rest
    was not tried.
    """

    finished: int
    tokens: int
    seconds: float
    missing: tuple[Key, ...]
    failures: tuple[Failure, ...]
    gave_up: bool

    def reasons(self) -> list[tuple[str, int]]:
        """Why requests failed and how often, the most frequent first."""
        return Counter(failure.reason for failure in self.failures).most_common()


async def sample_rollouts(
    run: Run,
    engine: Engine,
    *,
    concurrency: int,
    seeded: int | None = None,
    progress: Progress | None = None,
) -> SamplingReport:
    """Sample what the run promises and does not have, sample 0 of all problems first.

    ``engine`` is open already. At most ``concurrency`` requests are in flight. Every finished completion is
    on disk before it is counted. With ``seeded`` each request carries its own seed, derived from it.
    ``progress`` is called about twice a second and at the end.

    A request that fails leaves its sample missing and stops no other; the same call later samples what is
    missing. Cancellation (Ctrl-C under ``asyncio.run``) cancels what is in flight and keeps what has
    finished.

    Raises UserError when another process writes the run, when the disk refuses, and for an imported run.
    """
    with run.writer(STAGE) as writer:
        missing = run.missing(STAGE)
        stored = len(run.keys(STAGE))
        tally = Tally(total=stored + len(missing), stored=stored)
        with_text = run.token_table() is None
        async with GroupCommit(writer) as commit:

            async def keep(job: Job, generation: Generation) -> Iterable[Job]:
                check(generation, job.request)
                await commit.put(completion_of(job, generation, with_text=with_text))
                return ()

            ticker = asyncio.create_task(_tick(tally, progress))
            try:
                graph = await run_graph(
                    _jobs(run, missing, seeded),
                    engine,
                    keep,
                    concurrency=min(concurrency, len(missing)),
                    watcher=tally,
                )
            finally:
                ticker.cancel()
                with suppress(asyncio.CancelledError):
                    await ticker
            await commit.seal()
    last = tally.snapshot()
    if progress is not None:
        progress(last)
    return SamplingReport(
        finished=last.finished,
        tokens=last.tokens,
        seconds=last.seconds,
        missing=tuple(run.missing(STAGE)),
        failures=graph.failures,
        gave_up=graph.stopped,
    )


def sample_seed(run_seed: int, problem_id: str, sample_index: int) -> int:
    """The seed of one sample: 31 bits that depend on nothing but these three."""
    digest = hashlib.sha256(f"{run_seed}\0{problem_id}\0{sample_index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def check(generation: Generation, request: GenerationRequest) -> None:
    """Raises EngineError for a completion that must not count.

    Above all one that the engine cut before the budget, as servers do without a word when prompt and budget
    together exceed their context. Ids that were made from text cannot show that: their number is not the
    engine's.
    """
    ids = generation.token_ids
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or (len(ids) and int(ids.min()) < 0):
        raise EngineError(f"the engine returned no list of token ids ({ids.dtype}, shape {ids.shape})")
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
    )


def _jobs(run: Run, keys: Sequence[Key], seeded: int | None) -> Iterator[Job]:
    if not keys:
        return
    prompts, settings = run.prompts(), run.sampling
    for problem_id, sample_index in keys:
        if not len(prompts[problem_id]):
            raise UserError(f"{run.path}: the prompt of {problem_id} is not known: an import cannot be sampled further")
        request = GenerationRequest(
            prompt_token_ids=prompts[problem_id],
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            stop_token_ids=settings.stop_token_ids,
            seed=None if seeded is None else sample_seed(seeded, problem_id, sample_index),
            affinity=f"{problem_id}/{sample_index}",
        )
        yield Job(problem_id, sample_index, request, STAGE)


async def _tick(tally: Tally, progress: Progress | None) -> None:
    while progress is not None:
        progress(tally.snapshot())
        await asyncio.sleep(_TICK)

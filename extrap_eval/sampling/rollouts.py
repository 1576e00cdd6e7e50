"""Rollouts: every promised sample of every problem, once, at the largest budget."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extrap_eval.engines.base import Engine, GenerationRequest, ReplicaWork
from extrap_eval.errors import UserError
from extrap_eval.sampling.collect import Work, collect, reasons
from extrap_eval.sampling.progress import Progress, Tally
from extrap_eval.sampling.replicas import replicas_of
from extrap_eval.sampling.scheduler import Failure, Job
from extrap_eval.store import Key, Run

STAGE = "rollout"


@dataclass(frozen=True)
class SamplingReport:
    """What one call of ``sample_rollouts`` came to.

    ``finished`` samples and ``tokens`` of theirs were added; ``missing`` ones are promised and still not
    there, with the ``failures`` of this call among them. ``gave_up``: too many failures in a row, the rest
    was not tried. ``replicas``: what each server did, for an engine that has some.
    """

    finished: int
    tokens: int
    seconds: float
    missing: tuple[Key, ...]
    failures: tuple[Failure, ...]
    gave_up: bool
    replicas: tuple[ReplicaWork, ...] = ()

    def reasons(self) -> list[tuple[str, int]]:
        """Why requests failed and how often, the most frequent first."""
        return reasons(self.failures)


async def sample_rollouts(
    run: Run,
    engine: Engine,
    *,
    concurrency: int,
    seeded: int | None = None,
    top_logprobs: int = 0,
    progress: Progress | None = None,
) -> SamplingReport:
    """Sample what the run promises and does not have, sample 0 of all problems first.

    ``engine`` is open already. At most ``concurrency`` requests are in flight. Every finished completion is
    on disk before it is counted. With ``seeded`` each request carries its own seed, derived from it; with
    ``top_logprobs`` the distributions of its tokens are kept, as the so many most probable show them.
    ``progress`` is called about twice a second and at the end.

    A request that fails leaves its sample missing and stops no other; the same call later samples what is
    missing. Cancellation (Ctrl-C under ``asyncio.run``) cancels what is in flight and keeps what has
    finished.

    Raises UserError when another process writes the run, when the disk refuses, and for an imported run.
    """

    def plan() -> Work:
        missing = run.missing(STAGE)
        stored = len(run.keys(STAGE))
        return Work(rollout_jobs(run, missing, seeded, top_logprobs), Tally(total=stored + len(missing), stored=stored))

    done = await collect(run, engine, [STAGE], plan, concurrency=concurrency, progress=progress)
    return SamplingReport(
        finished=done.finished,
        tokens=done.tokens,
        seconds=done.seconds,
        missing=tuple(run.missing(STAGE)),
        failures=done.failures,
        gave_up=done.gave_up,
        replicas=replicas_of(engine),
    )


def sample_seed(run_seed: int, problem_id: str, sample_index: int, *place: object) -> int:
    """The seed of one completion: 31 bits that depend on nothing but these. ``place``: stage, step and replicate of
    what follows from a sample.
    """
    name = "\0".join(map(str, (run_seed, problem_id, sample_index, *place)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") & 0x7FFFFFFF


def rollout_jobs(run: Run, keys: Sequence[Key], seeded: int | None, top_logprobs: int = 0) -> Iterator[Job]:
    """One job per key. Raises UserError, when it comes to them, for problems whose prompts are not known."""
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
            top_logprobs=top_logprobs,
            affinity=affinity(problem_id, sample_index),
        )
        yield Job(problem_id, sample_index, request, STAGE)


def affinity(problem_id: str, sample_index: int) -> str:
    """What all requests of one trace have in common: they meet the server that holds its prefix."""
    return f"{problem_id}/{sample_index}"

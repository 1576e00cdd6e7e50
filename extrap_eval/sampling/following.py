"""Everything that follows from traces, in one graph with the rollouts or without.

A protocol says which requests a trace leads to; here it is decided which of them are still to be made and in which
order, and that a chain's next piece is asked for when the one before is on disk.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from extrap_eval.engines.base import Engine, Generation
from extrap_eval.errors import UserError
from extrap_eval.sampling.collect import Collected, Work, collect
from extrap_eval.sampling.progress import Progress, Tally
from extrap_eval.sampling.rollouts import STAGE, rollout_jobs, sample_seed
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Piece, Trace, TraceProtocol
from extrap_eval.store import Completion, Key, Run


class Following:
    """What traces and chains still lead to, given what is stored at the start.

    ``tally`` is told how many jobs there will be. ``stop_strings``: whether the engine knows them; protocols find the
    place in the completion all the same, which then has run on for nothing.
    """

    def __init__(
        self,
        run: Run,
        protocols: Sequence[TraceProtocol],
        *,
        tally: Tally,
        seeded: int | None = None,
        stop_strings: bool = True,
    ):
        self._protocols = protocols
        self._seeded = seeded
        self._stop_strings = stop_strings
        self._tally = tally
        self._stored = {stage: run.places(stage) for protocol in protocols for stage in protocol.stages}
        self._pieces = {p.chain: stored_pieces(run, p.chain) for p in protocols if p.chain is not None}
        self._chains: dict[tuple[str, Key], _Chain] = {}  # those under way
        self._count = Counter((stage, place[:2]) for stage, places in self._stored.items() for place in places)
        tally.expect(0, stored=self._count.total())

    def expect(self, trace: Trace, *, bare: bool = False) -> None:
        """To be called once for every trace, before ``from_trace``."""
        for protocol in self._of(trace, bare):
            there = sum(self._count[stage, (trace.problem_id, trace.sample_index)] for stage in protocol.stages)
            self._tally.expect(protocol.most(trace) - there)

    def from_trace(self, trace: Trace, *, bare: bool = False) -> Iterator[Job]:
        """Every job that a trace leads to and that can be made now. ``bare``: it is only a prompt."""
        for protocol in self._of(trace, bare):
            chain = _Chain(protocol, trace)
            key = (trace.problem_id, trace.sample_index)
            stored = self._pieces[protocol.chain].get(key, ()) if protocol.chain is not None else ()
            for number in range(len(stored)):
                chain.pieces = stored[:number]
                yield from self._new(chain)
            chain.pieces = stored
            yield from self._grown(chain)

    def after(self, job: Job, generation: Generation) -> Iterator[Job]:
        """What can be asked now that a piece of a chain is on disk; nothing follows from other completions."""
        chain = self._chains.pop((job.stage, (job.problem_id, job.sample_index)), None)
        if chain is not None:
            chain.pieces = (*chain.pieces, Piece(generation.token_ids, generation.finish_reason == "stop"))
            yield from self._grown(chain)

    def _of(self, trace: Trace, bare: bool) -> list[TraceProtocol]:
        return [p for p in self._protocols if p.needs_rollouts != bare and trace.sample_index < p.samples]

    def _grown(self, chain: _Chain) -> Iterator[Job]:
        """What the pieces of a chain lead to now; remembers the chain if it goes on."""
        goes_on = False
        for job in self._new(chain):
            if job.stage == chain.protocol.chain:
                goes_on = True
                self._chains[job.stage, (job.problem_id, job.sample_index)] = chain
            yield job
        if not goes_on:
            self._tally.expect(chain.counted - chain.protocol.most(chain.trace))

    def _new(self, chain: _Chain) -> Iterator[Job]:
        for job in chain.protocol.jobs(chain.trace, chain.pieces):
            chain.counted += 1
            place = (job.problem_id, job.sample_index, job.step or 0, job.replicate or 0)
            if place not in self._stored[job.stage]:
                yield self._asked(job)

    def _asked(self, job: Job) -> Job:
        changes: dict[str, Any] = {}
        if self._seeded is not None:
            place = (job.stage, job.step, job.replicate)
            changes["seed"] = sample_seed(self._seeded, job.problem_id, job.sample_index, *place)
        if not self._stop_strings:
            changes["stop_strings"] = ()
        return replace(job, request=replace(job.request, **changes)) if changes else job


@dataclass
class _Chain:
    """A trace on its way through a protocol; one without chain is at its end at once. ``counted``: jobs so far."""

    protocol: TraceProtocol
    trace: Trace
    pieces: tuple[Piece, ...] = ()
    counted: int = 0


def stored_pieces(run: Run, stage: str) -> dict[Key, tuple[Piece, ...]]:
    """The pieces of every chain as far as they are stored.

    Raises UserError when one in the middle is gone (its line was damaged), since those after it went on from it.
    """
    found: dict[Key, dict[int, Piece]] = defaultdict(dict)
    for completion in run.completions(stage, columns=["token_ids"]):
        found[completion.key][completion.step or 0] = Piece(completion.token_ids, completion.finish_reason == "stop")
    for (problem_id, index), pieces in found.items():
        if absent := set(range(1, max(pieces) + 1)) - pieces.keys():
            raise UserError(
                f"{run.path / 'completions' / stage}: piece {min(absent)} of sample {index} of problem {problem_id} is "
                "lost and those after it went on from it: move the directory out of the run, and its .answers too, "
                "and run the command again"
            )
    return {key: tuple(piece for _, piece in sorted(pieces.items())) for key, pieces in found.items()}


def stored_traces(run: Run, keys: Collection[Key] | None = None) -> Iterator[Trace]:
    """The samples of a run as traces, streaming (those among ``keys``, all by default)."""
    prompts = run.prompts()
    for completion in run.completions(columns=["token_ids"]):
        if keys is None or completion.key in keys:
            yield trace_of(completion, prompts[completion.problem_id])


def trace_of(completion: Completion, prompt: np.ndarray) -> Trace:
    return Trace(
        completion.problem_id, completion.sample_index, prompt, completion.token_ids, completion.finish_reason == "stop"
    )


def bare_traces(run: Run, samples: int) -> Iterator[Trace]:
    """Prompts without completions, sample 0 of all problems first."""
    none = np.empty(0, dtype=np.int32)
    prompts = run.prompts()
    for index in range(samples):
        for problem_id, prompt in prompts.items():
            yield Trace(problem_id, index, prompt, none, finished=False)


async def follow_traces(
    run: Run,
    engine: Engine,
    protocols: Sequence[TraceProtocol],
    *,
    concurrency: int,
    rollouts: bool = False,
    seeded: int | None = None,
    top_logprobs: int = 0,
    progress: Progress | None = None,
) -> Collected:
    """Ask what the traces of a run lead to and what is not there yet, in one graph.

    ``rollouts``: sample what the run still misses as well (``top_logprobs`` as in ``sample_rollouts``); what follows
    from a trace is asked while others are still sampled. Rollouts start first, because what they lead to comes last.
    Raises UserError as ``collect`` does.
    """
    stages = [stage for protocol in protocols for stage in protocol.stages]

    def plan() -> Work:
        keys = run.keys(STAGE)
        missing = run.missing(STAGE) if rollouts else []
        tally = Tally(total=0)
        following = Following(run, protocols, tally=tally, seeded=seeded, stop_strings=engine.info.stop_strings)
        tally.expect(len(missing), stored=len(keys) if rollouts else 0)
        prompts = run.prompts()
        for trace, bare in begun_traces(run, protocols, keys):
            following.expect(trace, bare=bare)

        def jobs() -> Iterator[Job]:
            yield from rollout_jobs(run, missing, seeded, top_logprobs)
            for trace, bare in begun_traces(run, protocols, keys):
                yield from following.from_trace(trace, bare=bare)

        def follow(job: Job, generation: Generation) -> Iterator[Job]:
            if job.stage != STAGE:
                return following.after(job, generation)
            done = generation.finish_reason == "stop"
            trace = Trace(job.problem_id, job.sample_index, prompts[job.problem_id], generation.token_ids, done)
            following.expect(trace)
            return following.from_trace(trace)

        return Work(jobs(), tally, follow)

    return await collect(
        run, engine, [*([STAGE] if rollouts else []), *stages], plan, concurrency=concurrency, progress=progress
    )


def missing_jobs(run: Run, protocols: Sequence[TraceProtocol]) -> Iterator[Job]:
    """What is promised, can be asked now and is not stored. (What a missing piece of a chain leads to is not known.)"""
    following = Following(run, protocols, tally=Tally(total=0))
    for trace, bare in begun_traces(run, protocols, None):
        yield from following.from_trace(trace, bare=bare)


def begun_traces(
    run: Run, protocols: Sequence[TraceProtocol], keys: Collection[Key] | None
) -> Iterator[tuple[Trace, bool]]:
    """The traces that are there, and the bare ones, as far as the protocols go on from such."""
    if any(protocol.needs_rollouts for protocol in protocols):
        yield from ((trace, False) for trace in stored_traces(run, keys))
    samples = max((protocol.samples for protocol in protocols if not protocol.needs_rollouts), default=0)
    yield from ((trace, True) for trace in bare_traces(run, samples))

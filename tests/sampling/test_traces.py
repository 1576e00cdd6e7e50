"""The graph of what follows: every job once, chains in order, resumed at every point, rollouts first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.errors import UserError
from extrap_eval.sampling.following import follow_traces, missing_jobs, stored_pieces
from extrap_eval.sampling.rollouts import sample_rollouts
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Draw, Piece, Price, Trace, make_job, price_of
from extrap_eval.store import Run
from tests.sampling.sampling import ChanceEngine
from tests.store.making import make_run

DRAW = Draw(0.7, 1.0, -1, (7,))


@dataclass(frozen=True)
class Answers:
    """Two answers after each of the first and the last token of a trace."""

    stage: str = "probe"
    samples: int = 2
    chain: str | None = None
    needs_rollouts: bool = True

    @property
    def stages(self) -> tuple[str, ...]:
        return (self.stage,)

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        for step, end in enumerate((1, len(trace.ids))):
            prompt = np.concatenate([trace.prompt, trace.ids[:end]])
            for replicate in range(2):
                yield make_job(trace, self.stage, prompt, 6, DRAW, step=step, prefix_tokens=end, replicate=replicate)

    def most(self, trace: Trace) -> int:
        return 4

    def price(self, trace: Trace) -> Price:
        return price_of(self.jobs(trace, ()))

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        return prompt_tokens + trace_tokens + 6


@dataclass(frozen=True)
class Chain:
    """Up to three pieces, each after all before; an answer after every one. Ends early after a piece of odd length."""

    stage: str = "chain"
    samples: int = 2
    needs_rollouts: bool = True
    pieces: int = 3

    @property
    def chain(self) -> str:
        return self.stage

    @property
    def stages(self) -> tuple[str, ...]:
        return self.stage, self.stage + ".answers"

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        prompt = np.concatenate([trace.prompt, trace.ids, *(piece.ids for piece in pieces)])
        before = len(prompt) - len(trace.prompt)
        over = bool(pieces) and len(pieces[-1].ids) % 2 == 1
        if len(pieces) < self.pieces and not over:
            yield make_job(trace, self.stage, prompt, 8, DRAW, step=len(pieces) + 1, prefix_tokens=before)
        yield make_job(trace, self.stages[1], prompt, 8, DRAW, step=len(pieces), prefix_tokens=before)

    def most(self, trace: Trace) -> int:
        return 2 * self.pieces + 1

    def price(self, trace: Trace) -> Price:
        return Price()

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        return prompt_tokens + trace_tokens + 8 * self.pieces


@dataclass
class Script(ChanceEngine):
    """Every completion follows from its prompt and seed; may stop answering after so many."""

    limit: int = 10**9
    _: field = field(default=None, init=False)  # type: ignore[valid-type, assignment]

    def __post_init__(self) -> None:
        super().__init__(fails=lambda request: "no more" if len(self.returned) >= self.limit else None)


def sampled_run(path: Path, *, count: int = 3, n: int = 2) -> Run:
    run = make_run(path, count=count, n=n)
    asyncio.run(sample_rollouts(run, ChanceEngine(), concurrency=4, seeded=1))
    return run


def follow(
    run: Run, engine: ChanceEngine, *protocols: Answers | Chain, rollouts: bool = False, concurrency: int = 3
) -> int:
    report = asyncio.run(follow_traces(run, engine, protocols, concurrency=concurrency, rollouts=rollouts, seeded=1))
    return report.finished


def contents(run: Run, *protocols: Answers | Chain) -> dict[tuple[object, ...], list[int]]:
    stages = [stage for protocol in protocols for stage in protocol.stages]
    found = [((stage, *item.place), item.token_ids.tolist()) for stage in stages for item in run.completions(stage)]
    assert len(found) == len(dict(found))
    return dict(found)


def chain_by_hand(run: Run, protocol: Chain) -> set[tuple[object, ...]]:
    """Which places there must be, from the stored pieces alone."""
    places: set[tuple[object, ...]] = set()
    pieces = {(item.key, item.step): item for item in run.completions(protocol.stage)}
    keys = run.keys()
    for problem_id, index in keys:
        w = 0
        while True:
            places.add((protocol.stages[1], problem_id, index, w, 0))
            last = pieces.get(((problem_id, index), w))
            if w == protocol.pieces or (last is not None and last.n_tokens % 2 == 1):
                break
            w += 1
            places.add((protocol.stage, problem_id, index, w, 0))
    return places


def test_every_probe_is_asked_once_in_growing_order_with_the_affinity_of_its_trace(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run")
    engine = ChanceEngine()
    assert follow(run, engine, Answers(), concurrency=1) == 3 * 2 * 4
    assert {place[1:] for place in contents(run, Answers())} == {
        (f"p{p}", i, step, replicate) for p in range(3) for i in range(2) for step in range(2) for replicate in range(2)
    }
    by_trace: dict[str, list[GenerationRequest]] = {}
    for request in engine.requests:
        by_trace.setdefault(request.affinity, []).append(request)
    assert len(by_trace) == 6
    for requests in by_trace.values():
        lengths = [len(request.prompt_token_ids) for request in requests]
        assert lengths == sorted(lengths)
        assert len({request.seed for request in requests}) == 4
    # One trace after the other, so that its prefix is still in the cache.
    order = [request.affinity for request in engine.requests]
    assert order == [affinity for affinity in dict.fromkeys(order) for _ in range(4)]
    assert follow(run, engine, Answers()) == 0


def test_only_the_first_samples_are_followed_when_so_promised(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run")
    assert follow(run, ChanceEngine(), Answers(samples=1)) == 3 * 4
    assert {place[2] for place in contents(run, Answers())} == {0}
    assert follow(run, ChanceEngine(), Answers(samples=2)) == 3 * 4


def test_a_chain_goes_on_from_its_own_pieces_and_ends_where_it_says(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run", count=6)
    engine = ChanceEngine()
    protocol = Chain()
    follow(run, engine, protocol, concurrency=5)
    assert set(contents(run, protocol)) == chain_by_hand(run, protocol)
    pieces = stored_pieces(run, protocol.stage)
    assert len({len(each) for each in pieces.values()}) > 1  # some end early
    traces = {item.key: item for item in run.completions()}
    for item in run.completions(protocol.stage):
        before = [piece.ids for piece in pieces[item.key][: (item.step or 0) - 1]]
        assert item.prefix_tokens == traces[item.key].n_tokens + sum(map(len, before))
        assert item.prompt_tokens == len(run.prompts()[item.problem_id]) + item.prefix_tokens
    assert list(missing_jobs(run, [protocol])) == []


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 13, 21, 34])
def test_stopped_anywhere_and_resumed_it_is_the_same_in_the_end(tmp_path: Path, limit: int) -> None:
    protocols = Answers(), Chain()
    whole, stopped = (sampled_run(tmp_path / name, count=3) for name in ("whole", "stopped"))
    follow(whole, ChanceEngine(), *protocols)
    first = follow(stopped, Script(limit=limit), *protocols)
    assert first == min(limit, len(contents(whole, *protocols)))
    missing = sum(1 for _ in missing_jobs(stopped, protocols))
    assert missing > 0
    follow(stopped, ChanceEngine(), *protocols)
    assert contents(stopped, *protocols) == contents(whole, *protocols)
    assert list(missing_jobs(stopped, protocols)) == []


def test_rollouts_start_first_and_what_follows_fills_their_tail(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=4, n=1)
    slow = {"p3/0"}
    engine = ChanceEngine(
        seconds=lambda request: 0.3 if request.affinity in slow and len(request.prompt_token_ids) < 40 else 0.002
    )
    protocol = Answers(samples=1)
    finished = follow(run, engine, protocol, rollouts=True, concurrency=4)
    assert finished == 4 + 16
    assert run.missing() == []
    order = [request.affinity for request in engine.requests]
    assert order[:4] == ["p0/0", "p1/0", "p2/0", "p3/0"]
    # The answers of the short ones are there before the long one has ended.
    done = [request.affinity for request in engine.returned]
    assert done.index("p3/0") >= 3 + 12


def test_a_run_that_was_sampled_in_part_is_finished_and_followed_in_one_graph(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=3, n=2)
    asyncio.run(sample_rollouts(run, Script(limit=3), concurrency=1, seeded=1))
    assert len(run.keys()) == 3
    protocols = Answers(), Chain()
    follow(run, ChanceEngine(), *protocols, rollouts=True)
    assert run.missing() == []
    assert set(contents(run, Chain())) == chain_by_hand(run, Chain())
    assert len(contents(run, Answers())) == 24


def test_a_chain_with_a_hole_is_refused(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run")
    follow(run, ChanceEngine(), Chain())
    journal = run.path / "completions" / "chain" / "journal.jsonl"
    items = list(run.completions("chain"))
    longest = max(items, key=lambda item: item.step or 0)
    assert (longest.step or 0) > 1
    for path in (run.path / "completions" / "chain").glob("part-*"):
        path.unlink()
    journal.write_bytes(b"")
    with run.writer("chain") as writer:
        writer.append([item for item in items if not (item.key == longest.key and item.step == 1)])
    with pytest.raises(UserError, match=r"piece 1 of sample . of problem .* is lost"):
        follow(run, ChanceEngine(), Chain())


def test_the_price_counts_shared_prefixes_once() -> None:
    trace = Trace("p", 0, np.arange(10, dtype=np.int32), np.arange(100, 130, dtype=np.int32), True)
    prompts = [np.concatenate([trace.prompt, trace.ids[:end], [1, 2, 3]]).astype(np.int32) for end in (0, 10, 30)]
    jobs = [
        make_job(trace, "s", prompt, 50, DRAW, step=step, prefix_tokens=0, replicate=replicate)
        for step, prompt in enumerate(prompts)
        for replicate in range(4)
    ]
    assert price_of(jobs) == Price(12, 4 * (13 + 23 + 43), 13 + (23 - 10) + (43 - 20), 600)
    assert price_of([]) == Price()
    assert Price(1, 2, 3, 4) + Price(1, 1, 1, 1) == Price(2, 3, 4, 5)

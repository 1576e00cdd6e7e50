from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import numpy as np
import pytest

from extrap_eval.engines.base import EngineError, Generation, GenerationRequest
from extrap_eval.sampling.progress import Tally
from extrap_eval.sampling.scheduler import GraphReport, Job, OnDone, run_graph
from tests.sampling.sampling import ChanceEngine


def job(name: str, index: int = 0, *, stage: str = "rollout") -> Job:
    request = GenerationRequest(np.arange(3, dtype=np.int32), 20, affinity=f"{name}/{index}/{stage}")
    return Job(name, index, request, stage)


async def nothing_follows(done: Job, generation: Generation) -> Iterable[Job]:
    return ()


async def run(
    jobs: Iterable[Job],
    engine: ChanceEngine,
    on_done: OnDone = nothing_follows,
    *,
    concurrency: int = 4,
    give_up_after: int = 20,
) -> GraphReport:
    return await run_graph(
        jobs, engine, on_done, concurrency=concurrency, watcher=Tally(total=0), give_up_after=give_up_after
    )


def names(engine: ChanceEngine) -> list[str]:
    return [request.affinity for request in engine.requests]


@pytest.mark.parametrize("concurrency", [1, 3, 7, 50])
async def test_all_jobs_are_done_with_a_bounded_number_in_flight(concurrency: int) -> None:
    rng = random.Random(1)
    engine = ChanceEngine(seconds=lambda request: rng.uniform(0, 0.003))
    jobs = [job("p", index) for index in range(40)]
    report = await run(iter(jobs), engine, concurrency=concurrency)
    assert report == GraphReport((), False)
    assert names(engine) == [item.request.affinity for item in jobs]  # started in their order
    assert engine.peak == min(concurrency, 40)
    assert engine.in_flight == 0


async def test_no_jobs_are_no_work() -> None:
    engine = ChanceEngine()
    assert await run([], engine) == GraphReport((), False)
    assert await run([], engine, concurrency=0) == GraphReport((), False)
    assert engine.requests == []


async def test_what_follows_goes_before_what_waits() -> None:
    async def two_probes(done: Job, generation: Generation) -> Iterable[Job]:
        if done.stage == "probe":
            return ()
        return [job(done.problem_id, index, stage="probe") for index in range(2)]

    engine = ChanceEngine()
    await run([job("a"), job("b")], engine, two_probes, concurrency=1)
    assert names(engine) == [
        "a/0/rollout", "a/0/probe", "a/1/probe", "b/0/rollout", "b/0/probe", "b/1/probe",
    ]  # fmt: skip


async def test_what_follows_starts_while_the_long_tail_runs() -> None:
    ended: list[str] = []

    async def probe(done: Job, generation: Generation) -> Iterable[Job]:
        ended.append(done.request.affinity)
        return [job(done.problem_id, stage="probe")] if done.stage == "rollout" else ()

    engine = ChanceEngine(seconds=lambda request: 0.2 if request.affinity == "long/0/rollout" else 0.001)
    await run([job("long"), job("short")], engine, probe, concurrency=2)
    assert ended == ["short/0/rollout", "short/0/probe", "long/0/rollout", "long/0/probe"]


async def test_idle_workers_take_up_what_follows() -> None:
    async def many(done: Job, generation: Generation) -> Iterable[Job]:
        return [job("a", index, stage="probe") for index in range(20)] if done.request.affinity == "a/0/rollout" else ()

    engine = ChanceEngine(seconds=lambda request: 0.1 if request.affinity == "long/0/rollout" else 0.01)
    await run([job("long"), job("a")], engine, many, concurrency=8)
    assert len(engine.requests) == 22
    assert engine.peak == 8
    assert names(engine)[-1] == "a/19/probe"


async def test_a_chain_of_any_length_comes_to_its_end() -> None:
    async def extend(done: Job, generation: Generation) -> Iterable[Job]:
        return [job("a", done.sample_index + 1)] if done.sample_index < 300 else ()

    engine = ChanceEngine()
    await run([job("a")], engine, extend, concurrency=5)
    assert len(engine.requests) == 301


async def test_a_failure_stops_nothing_else_and_is_reported() -> None:
    engine = ChanceEngine(fails=lambda request: "lost\n  connection" if request.affinity == "p/3/rollout" else None)
    jobs = [job("p", index) for index in range(10)]
    report = await run(jobs, engine)
    assert [(failure.job, failure.reason) for failure in report.failures] == [(jobs[3], "lost connection")]
    assert len(engine.returned) == 9
    assert not report.stopped


async def test_a_refused_completion_is_a_failure() -> None:
    async def refuse_odd(done: Job, generation: Generation) -> Iterable[Job]:
        if done.sample_index % 2:
            raise EngineError("odd")
        return ()

    report = await run([job("p", index) for index in range(6)], ChanceEngine(), refuse_odd)
    assert [failure.job.sample_index for failure in report.failures] == [1, 3, 5]


async def test_it_gives_up_after_many_failures_in_a_row() -> None:
    engine = ChanceEngine(fails=lambda request: "down")
    report = await run([job("p", index) for index in range(100)], engine, concurrency=3, give_up_after=10)
    assert report.stopped
    assert 10 <= len(engine.requests) <= 12
    assert len(report.failures) == len(engine.requests)


async def test_one_success_starts_the_count_anew() -> None:
    engine = ChanceEngine(fails=lambda request: None if request.affinity.split("/")[1].endswith("9") else "flaky")
    report = await run([job("p", index) for index in range(100)], engine, concurrency=1, give_up_after=10)
    assert not report.stopped
    assert len(report.failures) == 90


async def test_giving_up_awaits_what_is_under_way() -> None:
    engine = ChanceEngine(
        seconds=lambda request: 0.05 if request.affinity == "p/0/rollout" else 0.0,
        fails=lambda request: None if request.affinity == "p/0/rollout" else "down",
    )
    kept: list[Job] = []

    async def keep(done: Job, generation: Generation) -> Iterable[Job]:
        kept.append(done)
        return [job("never")]

    report = await run([job("p", index) for index in range(50)], engine, keep, concurrency=2, give_up_after=5)
    assert [item.sample_index for item in kept] == [0]
    assert report.stopped
    assert "never/0/rollout" not in names(engine)


async def test_any_other_error_cancels_the_rest_and_is_raised() -> None:
    class FullDisk(Exception):
        pass

    async def break_at_two(done: Job, generation: Generation) -> Iterable[Job]:
        if done.sample_index == 2:
            raise FullDisk
        return ()

    engine = ChanceEngine(seconds=lambda request: 0.001 if request.affinity == "p/2/rollout" else 60.0)
    with pytest.raises(FullDisk):
        await run([job("p", index) for index in range(10)], engine, break_at_two)
    assert len(engine.cancelled) == 3
    assert engine.in_flight == 0


async def test_cancellation_cancels_what_is_in_flight() -> None:
    engine = ChanceEngine(seconds=lambda request: 60.0)
    task = asyncio.create_task(run([job("p", index) for index in range(10)], engine))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(engine.cancelled) == 4
    assert engine.in_flight == 0


async def test_a_slow_keeper_slows_the_engine_down() -> None:
    held = 0
    most = 0

    async def keep(done: Job, generation: Generation) -> Iterable[Job]:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.005)
        held -= 1
        return ()

    await run([job("p", index) for index in range(30)], ChanceEngine(), keep, concurrency=5)
    assert most == 5


class SizedEngine(ChanceEngine):
    """Wants ``wanted`` requests, a number that may change while it works."""

    wanted = 3

    def in_flight_limit(self) -> int:
        return self.wanted

    def in_flight_most(self) -> int:
        return 50


async def test_an_engine_gets_as_many_as_it_wants_at_the_moment() -> None:
    engine = SizedEngine(seconds=lambda request: 0.01)
    seen: list[tuple[int, int]] = []

    async def resize(done: Job, generation: Generation) -> Iterable[Job]:
        seen.append((engine.wanted, engine.in_flight))
        engine.wanted = 3 if done.sample_index < 30 else 12 if done.sample_index < 150 else 5
        return ()

    report = await run((job("p", index) for index in range(300)), engine, resize, concurrency=50)
    assert report == GraphReport((), False)
    assert len(engine.returned) == 300
    assert max(inside for wanted, inside in seen[:30] if wanted == 3) <= 3
    assert max(inside for _, inside in seen) == 12 - 1  # the one that asks has just returned
    assert max(inside for _, inside in seen[200:]) <= 5


async def test_few_wanted_and_many_that_follow_all_end() -> None:
    engine = SizedEngine(seconds=lambda request: 0.001)
    engine.wanted = 2

    async def three_follow(done: Job, generation: Generation) -> Iterable[Job]:
        return [job(f"{done.problem_id}.{i}") for i in range(3)] if done.problem_id.count(".") < 3 else ()

    await run([job("a"), job("b")], engine, three_follow, concurrency=50)
    assert len(engine.returned) == 2 * (1 + 3 + 9 + 27)
    assert engine.peak == 2

from __future__ import annotations

import asyncio
import resource
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.base import EngineError, Generation, GenerationRequest
from extrap_eval.errors import UserError
from extrap_eval.sampling.collect import check
from extrap_eval.sampling.progress import Snapshot
from extrap_eval.sampling.rollouts import sample_rollouts, sample_seed
from extrap_eval.scoring.tokens import TokenTable
from extrap_eval.store import Run, open_run
from tests.sampling.sampling import ChanceEngine, drawn
from tests.store.making import SETTINGS, content, make_run, problems, prompts


def affinity(key: tuple[str, int]) -> str:
    return f"{key[0]}/{key[1]}"


def assert_as_drawn(run: Run, engine: ChanceEngine) -> None:
    """Everything stored is exactly what the engine returned."""
    by_affinity = {request.affinity: request for request in engine.requests}
    for item in run.completions():
        generation = drawn(by_affinity[affinity(item.key)])
        assert item.token_ids.tolist() == generation.token_ids.tolist()
        assert (item.finish_reason, item.stop_token_id) == (generation.finish_reason, generation.stop_token_id)
        assert (item.prompt_tokens, item.seconds) == (generation.prompt_tokens, 0.5)


async def test_it_samples_exactly_what_is_promised(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=5, n=8)
    engine = ChanceEngine(seconds=lambda request: 0.001 * (zlib.crc32(request.affinity.encode()) % 5))
    report = await sample_rollouts(run, engine, concurrency=7)
    assert report.finished == 40
    assert (report.missing, report.failures, report.gave_up) == ((), (), False)
    assert report.tokens == sum(item.n_tokens for item in run.completions())
    assert len(list(run.completions())) == 40
    assert 1 < engine.peak <= 7
    assert_as_drawn(run, engine)
    assert (run.path / "completions" / "rollout" / "part-00000.parquet").exists()
    again = await sample_rollouts(run, engine, concurrency=7)
    assert (again.finished, len(engine.requests)) == (0, 40)


async def test_requests_say_what_the_run_is_made_of(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=3, n=2)
    engine = ChanceEngine()
    await sample_rollouts(run, engine, concurrency=1)
    assert [request.affinity for request in engine.requests] == ["p0/0", "p1/0", "p2/0", "p0/1", "p1/1", "p2/1"]
    expected = prompts(problems(3))
    for request in engine.requests:
        assert request.prompt_token_ids.tolist() == expected[request.affinity.split("/")[0]].tolist()
        assert request.prompt_token_ids.dtype == np.int32
        assert (request.temperature, request.top_p, request.top_k) == (0.6, 0.95, -1)
        assert (request.max_tokens, request.stop_token_ids, request.stop_strings) == (400, (7,), ())
        assert request.seed is None


async def test_seeds_are_sent_only_when_asked_for_and_follow_the_key(tmp_path: Path) -> None:
    one, two = ChanceEngine(), ChanceEngine(seconds=lambda request: 0.001 * (len(request.affinity) % 3))
    await sample_rollouts(make_run(tmp_path / "one"), one, concurrency=1, seeded=3)
    await sample_rollouts(make_run(tmp_path / "two"), two, concurrency=5, seeded=3)
    seeds = {request.affinity: request.seed for request in one.requests}
    assert seeds == {request.affinity: request.seed for request in two.requests}
    assert len(set(seeds.values())) == len(seeds)
    first, second = (
        {item.key: content(item) for item in open_run(tmp_path / name).completions()} for name in ("one", "two")
    )
    assert first == second


@given(st.integers(), st.text(), st.integers(0, 10**6))
def test_a_seed_fits_into_31_bits(run_seed: int, problem_id: str, sample_index: int) -> None:
    assert 0 <= sample_seed(run_seed, problem_id, sample_index) < 2**31


def test_seeds_differ_in_every_part_and_never_change() -> None:
    assert sample_seed(0, "p", 0) == 1177307413
    assert len({sample_seed(s, p, i) for s in range(3) for p in ("p", "p0", "") for i in (0, 1, 10)}) == 27


IDS = np.arange(20, dtype=np.int32)


@pytest.mark.parametrize(
    ("generation", "reason"),
    [
        (Generation(IDS, "length"), None),
        (Generation(IDS[:3], "stop"), None),
        (Generation(IDS[:0], "stop"), None),
        (Generation(IDS.astype(np.int64), "length"), None),
        (Generation(IDS[:19], "length"), "cut the completion at 19 of 20 tokens: its context is too short"),
        (Generation(IDS[:0], "length"), "cut the completion at 0 of 20"),
        (Generation(np.arange(21), "length"), "returned 21 tokens where at most 20"),
        (Generation(np.arange(21), "stop"), "returned 21 tokens where at most 20"),
        (Generation(IDS[:5], "length", text="abc", token_source="retokenized"), None),
        (Generation(IDS - 1, "length"), "no list of token ids"),
        (Generation(IDS.astype(float), "length"), "no list of token ids"),
        (Generation(IDS.reshape(4, 5), "length"), "no list of token ids"),
    ],
)
def test_a_completion_that_must_not_count_is_refused(generation: Generation, reason: str | None) -> None:
    request = GenerationRequest(IDS, 20)
    if reason is None:
        check(generation, request)
    else:
        with pytest.raises(EngineError, match=reason):
            check(generation, request)


async def test_failures_leave_samples_missing_and_a_later_call_tops_them_up(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=4, n=5)
    broken = {("p1", 2), ("p3", 4)}
    engine = ChanceEngine(
        fails=lambda request: "500 from the server" if request.affinity in map(affinity, broken) else None
    )
    report = await sample_rollouts(run, engine, concurrency=3)
    assert report.finished == 18
    assert set(report.missing) == broken == set(run.missing())
    assert report.reasons() == [("500 from the server", 2)]
    assert {(failure.job.problem_id, failure.job.sample_index) for failure in report.failures} == broken
    healthy = ChanceEngine()
    assert (await sample_rollouts(run, healthy, concurrency=3)).missing == ()
    assert {request.affinity for request in healthy.requests} == set(map(affinity, broken))


async def test_a_dead_engine_is_given_up(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=10, n=10)
    report = await sample_rollouts(run, ChanceEngine(fails=lambda request: "connection refused"), concurrency=4)
    assert report.gave_up
    assert len(report.missing) == 100
    assert 20 <= len(report.failures) < 30


async def test_a_clamped_completion_never_counts(tmp_path: Path) -> None:
    class Clamping(ChanceEngine):
        async def generate(self, request: GenerationRequest) -> Generation:
            generation = await super().generate(request)
            return Generation(generation.token_ids[:300], "length")

    run = make_run(tmp_path / "run", count=2, n=2)
    report = await sample_rollouts(run, Clamping(), concurrency=1)
    assert run.keys() == set()
    assert len(report.missing) == 4
    assert all("its context is too short" in reason for reason, _ in report.reasons())


async def test_cancellation_keeps_what_has_finished_and_frees_the_lock(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=10, n=10)
    engine = ChanceEngine(seconds=lambda request: 60.0 if request.affinity.endswith("/5") else 0.001)
    task = asyncio.create_task(sample_rollouts(run, engine, concurrency=8))
    while engine.in_flight < 8 or len(engine.returned) < 50:  # until all that run are those that take a minute
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.keys() == {tuple_of(request) for request in engine.returned}
    assert len(engine.returned) == 50
    assert len(engine.cancelled) == 8
    assert engine.in_flight == 0
    rest = ChanceEngine()
    report = await sample_rollouts(open_run(run.path), rest, concurrency=8)
    assert report.missing == ()
    assert len(rest.requests) == 100 - len(engine.returned)


def tuple_of(request: GenerationRequest) -> tuple[str, int]:
    problem_id, index = request.affinity.split("/")
    return problem_id, int(index)


async def test_a_full_disk_stops_sampling_with_one_line_and_loses_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=10, n=10)
    engine = ChanceEngine()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"journal\.jsonl: cannot write: File too large: free some space"):
            await sample_rollouts(run, engine, concurrency=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = run.keys()
    assert 10 < len(kept) < 100
    assert_as_drawn(run, engine)
    assert (await sample_rollouts(run, ChanceEngine(), concurrency=4)).finished == 100 - len(kept)
    assert run.missing() == []


async def test_two_samplers_exclude_each_other(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    engine = ChanceEngine()
    with run.writer(), pytest.raises(UserError, match="another process is writing here"):
        await sample_rollouts(open_run(run.path), engine, concurrency=2)
    assert engine.requests == []


async def test_an_import_is_not_sampled_further(tmp_path: Path) -> None:
    engine = ChanceEngine()
    for name, changes in {
        "prompts": {"prompts": {}},
        "settings": {"settings": {**SETTINGS, "temperature": None}},
    }.items():
        run = make_run(tmp_path / name, **changes)
        with pytest.raises(UserError, match="cannot be sampled further"):
            await sample_rollouts(run, engine, concurrency=2)
    assert engine.requests == []


@pytest.mark.parametrize(
    ("table", "source", "text"),
    [
        (TokenTable(pieces=(b"a",)), "engine", None),
        (TokenTable(pieces=(b"a",)), "retokenized", "said"),
        (None, "engine", "said"),
    ],
)
async def test_text_is_kept_where_ids_alone_do_not_give_it(
    tmp_path: Path, table: Any, source: Any, text: str | None
) -> None:
    class Talking(ChanceEngine):
        async def generate(self, request: GenerationRequest) -> Generation:
            generation = await super().generate(request)
            return Generation(generation.token_ids, generation.finish_reason, text="said", token_source=source)

    run = make_run(tmp_path / "run", token_table=table)
    await sample_rollouts(run, Talking(), concurrency=2)
    assert {item.text for item in run.completions()} == {text}
    assert {item.token_source for item in run.completions()} == {source}


async def test_progress_hears_of_every_stored_completion(tmp_path: Path) -> None:
    await sample_rollouts(make_run(tmp_path / "run", count=5, n=1), ChanceEngine(), concurrency=2)
    run = make_run(tmp_path / "run", count=5, n=5)
    seen: list[Snapshot] = []
    report = await sample_rollouts(run, ChanceEngine(seconds=lambda request: 0.15), concurrency=5, progress=seen.append)
    assert len(seen) >= 2
    assert (seen[0].stored, seen[0].total, seen[0].finished) == (5, 25, 0)
    last = seen[-1]
    assert (last.stored, last.total, last.finished, last.running, last.failed) == (5, 25, 20, 0, 0)
    assert last.tokens == report.tokens
    assert last.eta_seconds == 0


async def test_an_error_of_the_progress_line_is_not_swallowed(tmp_path: Path) -> None:
    def broken(snapshot: Snapshot) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await sample_rollouts(make_run(tmp_path / "run"), ChanceEngine(), concurrency=2, progress=broken)

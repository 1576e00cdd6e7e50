"""Probing and forcing in a process that is killed again and again: in the end exactly what was promised is there."""

from __future__ import annotations

import random
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from extrap_eval.sampling.following import missing_jobs, stored_traces
from extrap_eval.steps.following import FollowPlan, follow
from extrap_eval.steps.forcing import plan_forcing
from extrap_eval.steps.probes import plan_probes
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import SEED, engine_of, sampled_run
from tests.store.writing import start

KILLS = 10
SLOW = 1e-3  # seconds per token: answers take hundredths of a second, extensions tenths


def plans_of(run: Run) -> list[FollowPlan]:
    return [
        plan_forcing(run, extensions=3, extension_tokens=150, answers_after=[0, 1, 3], replicates=2),
        plan_probes(run, group_size=2, replicates=3),
    ]


def work(path: Path, messages: Connection, seconds_per_token: float) -> None:
    """Ask for all that is missing, rollouts among it."""
    run = open_run(path)
    plans = plans_of(run)
    messages.send("ready")
    report = follow(run, plans, engine_of(run, seconds_per_token), rollouts=True, concurrency=24, seed=SEED)
    messages.send(report.missing)


def stored(run: Run) -> dict[tuple[object, ...], list[int]]:
    stages = ["rollout", *(stage for plan in plans_of(run) for stage in plan.protocol.stages)]
    found = [((stage, *item.place), item.token_ids.tolist()) for stage in stages for item in run.completions(stage)]
    assert len(found) == len(dict(found))  # nothing doubled
    return dict(found)


def journal_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "completions").glob("*/journal.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True], ids=["after sampling", "while sampling"])
def test_killed_ten_times_and_resumed_it_is_what_was_never_killed(together: bool, tmp_path: Path) -> None:
    whole = sampled_run(tmp_path, problems=8, n=3, budget_max=900, name="whole")
    report = follow(whole, plans_of(whole), engine_of(whole), concurrency=24, seed=SEED)
    assert report.missing == 0
    everything = len(stored(whole))

    killed = sampled_run(tmp_path, problems=8, n=3, budget_max=900, name="killed", sampled=not together)
    rng = random.Random(3)
    sizes = [0]
    for _ in range(KILLS):
        ours, theirs = Pipe(duplex=False)
        child = start(work, killed.path, theirs, SLOW)
        assert ours.recv() == "ready"
        size, until = journal_bytes(killed.path), time.monotonic() + 60
        grown = rng.randint(1, 8000)
        while journal_bytes(killed.path) < size + grown and child.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        child.kill()
        child.join()
        sizes.append(len(stored(open_run(killed.path))))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > KILLS / 2
    assert 0 < sizes[-1] < everything

    ours, theirs = Pipe(duplex=False)
    child = start(work, killed.path, theirs, 0.0)
    assert [ours.recv(), ours.recv()] == ["ready", 0]
    child.join()
    killed = open_run(killed.path)
    assert stored(killed) == stored(whole)
    assert list(missing_jobs(killed, [plan.protocol for plan in plans_of(killed)])) == []
    assert all(variant.complete for variant in killed.variants())
    # The promise, counted independently: every group of every trace, three answers each.
    probes = plans_of(killed)[1]
    expected = sum(probes.protocol.most(trace) for trace in stored_traces(killed))
    assert len(killed.places(probes.name)) == expected
    print(f"\nkept over {KILLS} kills: {sizes}, of {everything}")

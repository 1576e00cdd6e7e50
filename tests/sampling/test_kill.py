"""The whole way, with the stand-in model: cards, problems, prompts, engine, scheduler, store; killed and resumed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.cards.load import changed, load_benchmark_card, load_model_card
from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.problems.load import load_problems
from extrap_eval.prompts.chat import prompt_token_ids
from extrap_eval.prompts.tokenizer import end_token_ids, load_tokenizer
from extrap_eval.sampling.rollouts import sample_rollouts
from extrap_eval.scoring.tokens import TokenTable
from extrap_eval.store import Run, create_run
from tests.sampling.sampling import sample_markov
from tests.store.writing import start

KILLS = 12
MAX_TOKENS = 600
SLOW = 2e-4  # seconds per token: a tenth of a second for a request, so that kills meet it at work


def markov_run(path: Path, *, n: int) -> Run:
    card = changed(load_model_card("markov"), {"max_new_tokens": MAX_TOKENS})
    benchmark = load_benchmark_card("hidden_number")
    problems = load_problems(benchmark)[:20]
    tokenizer = load_tokenizer(card)
    return create_run(
        path,
        model_card=card,
        benchmark_card=benchmark,
        problems=problems,
        prompts={problem.id: prompt_token_ids(tokenizer, card, benchmark, problem) for problem in problems},
        token_table=TokenTable.from_tokenizer(tokenizer),
        settings={
            **card.sampling.model_dump(),
            "max_tokens": MAX_TOKENS,
            "stop_token_ids": end_token_ids(tokenizer, card),
        },
        n=n,
    )


def stored(run: Run) -> dict[tuple[str, int], list[int]]:
    found = [(item.key, item.token_ids.tolist()) for item in run.completions()]
    assert len(found) == len(dict(found))  # nothing doubled
    return dict(found)


def wait_for_growth(path: Path, grown: int) -> None:
    """Until the journal has grown by so many bytes, or a while has passed."""
    journal = path / "completions" / "rollout" / "journal.jsonl"

    def size() -> int:
        return journal.stat().st_size if journal.exists() else 0

    before, until = size(), time.monotonic() + 20
    while before <= size() < before + grown and time.monotonic() < until:
        time.sleep(0.001)


@pytest.mark.slow
def test_killed_many_times_and_resumed_it_is_the_run_that_was_never_killed(tmp_path: Path) -> None:
    whole = markov_run(tmp_path / "whole", n=24)
    assert whole.model_card.policy is not None
    engine = MarkovEngine(MarkovPolicy(**whole.model_card.policy))  # type: ignore[arg-type]
    report = asyncio.run(sample_rollouts(whole, engine, concurrency=16, seeded=5))
    assert report.missing == ()

    rng = random.Random(2)
    killed = markov_run(tmp_path / "killed", n=24)
    sizes = [0]
    for _ in range(KILLS):
        ours, theirs = Pipe(duplex=False)
        child = start(sample_markov, killed.path, theirs, SLOW)
        assert ours.recv() == "ready"
        wait_for_growth(killed.path, rng.randint(1, 20_000))
        child.kill()
        child.join()
        sizes.append(len(stored(killed)))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > KILLS / 2
    assert 0 < sizes[-1] < 480

    ours, theirs = Pipe(duplex=False)
    child = start(sample_markov, killed.path, theirs, 0.0)
    assert [ours.recv(), ours.recv()] == ["ready", "done"]
    child.join()
    assert killed.missing() == []
    assert stored(killed) == stored(whole)
    assert killed.digest() == whole.digest()


def test_ctrl_c_keeps_what_has_finished_and_frees_the_lock(tmp_path: Path) -> None:
    run = markov_run(tmp_path / "run", n=24)
    ours, theirs = Pipe(duplex=False)
    child = start(sample_markov, run.path, theirs, SLOW)
    assert ours.recv() == "ready"
    wait_for_growth(run.path, 10_000)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)
    assert ours.recv() == "interrupted"
    child.join()
    assert not (run.path / "lock.json").exists()
    assert 0 < len(stored(run)) < 480
    data = (run.path / "completions" / "rollout" / "journal.jsonl").read_bytes()
    assert data.endswith(b"\n")


def test_every_completion_of_the_stand_in_model_is_sound(tmp_path: Path) -> None:
    run = markov_run(tmp_path / "run", n=2)
    assert run.model_card.policy is not None
    engine = MarkovEngine(MarkovPolicy(**run.model_card.policy), seed=1)  # type: ignore[arg-type]
    asyncio.run(sample_rollouts(run, engine, concurrency=8))
    table = run.token_table()
    assert table is not None
    for item in run.completions():
        assert item.token_ids.dtype == np.int32
        assert item.n_tokens <= MAX_TOKENS
        assert (item.finish_reason == "length") == (item.stop_token_id is None)
        assert item.n_tokens == MAX_TOKENS or item.finish_reason == "stop"
        assert item.prompt_tokens == len(run.prompts()[item.problem_id])
        assert table.decode(item.token_ids)

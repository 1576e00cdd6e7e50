"""Runs to report on, sampled or written through the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from extrap_eval.cards.schema import BenchmarkCard, ModelCard
from extrap_eval.problems.problem import Problem
from extrap_eval.scoring.tokens import TokenTable
from extrap_eval.steps.forcing import plan_forcing
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.score import score
from extrap_eval.store import Completion, Run, create_run, open_run
from tests.steps.followed_runs import asked, sampled_run

BYTES = TokenTable(tuple(bytes([value]) for value in range(256)))  # one token per byte


def byte_run(
    path: Path,
    samples: Sequence[Sequence[bytes]],  # per problem, per sample
    *,
    texts: Sequence[str] = (),
    ids: Sequence[str] = (),
    golds: Sequence[str] = (),
    name: str = "Bytes",
    finished: bool = True,
    max_tokens: int = 2000,
) -> Run:
    """A scored run whose tokens are bytes, so that a completion may be any bytes at all."""
    problems = [
        Problem(ids[i] if ids else f"p{i}", texts[i] if texts else f"problem {i}", golds[i] if golds else "7", "math")
        for i in range(len(samples))
    ]
    run = create_run(
        path,
        model_card=ModelCard.model_validate(
            {
                "name": name,
                "hf_id": "org/bytes",
                "think": {"open": "<think>", "close": "</think>", "opened_by_prompt": True},
                "training_budget": {"tokens": 100, "source": "test"},
            }
        ),
        benchmark_card=BenchmarkCard.model_validate(
            {"name": "toy-math", "source": {"file": "toy.jsonl"}, "budgets": [50, 150, 400]}
        ),
        problems=problems,
        prompts={problem.id: np.arange(3, dtype=np.int32) for problem in problems},
        token_table=BYTES,
        settings={"temperature": 0.6, "top_p": 0.95, "top_k": -1, "max_tokens": max_tokens, "stop_token_ids": (0,)},
        n=max(map(len, samples)),
    )
    with run.writer() as writer:
        writer.append(
            [
                Completion(
                    problem.id,
                    index,
                    token_ids=np.frombuffer(data, dtype=np.uint8).astype(np.int32),
                    finish_reason="stop" if finished else "length",
                )
                for problem, of_problem in zip(problems, samples, strict=True)
                for index, data in enumerate(of_problem)
            ]
        )
        writer.seal()
    score(path)
    return open_run(path)


def markov_run(folder: Path, *, problems: int = 4, n: int = 3, name: str = "run", follow: bool = True) -> Run:
    """A run of the markov model, with probes along its traces and extensions of them."""
    run = sampled_run(folder, problems=problems, n=n, budget_max=1200, name=name)
    if follow:
        asked(
            run,
            plan_probes(run, group_size=2, replicates=4, answer_tokens=64),
            plan_forcing(
                run, extensions=2, extension_tokens=128, answers_after=(0, 1, 2), replicates=2, answer_tokens=64
            ),
        )
    return open_run(run.path)

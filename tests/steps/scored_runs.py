"""Scored run directories with chosen timelines, written through the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extrap_eval.cards.schema import BenchmarkCard, ModelCard
from extrap_eval.problems.problem import Problem
from extrap_eval.scoring.timeline import Timeline
from extrap_eval.store import AnswerRow, Completion, Run, create_run

VERSIONS = {"judge": "1", "timeline": 1}


@dataclass(frozen=True)
class Said:
    """A completion of ``n_tokens`` tokens; ``boxes``: (tokens at its end, answer). Right answers are "7"."""

    n_tokens: int
    boxes: Sequence[tuple[int, str]] = ()
    finished: bool = True
    think_end: int = 0
    loop_start: int = -1


def scored_run(
    path: Path,
    samples: Sequence[Sequence[Said | None]],  # per problem, per sample; None: not there
    *,
    model: dict[str, Any] | None = None,
    benchmark: dict[str, Any] | None = None,
    max_tokens: int | None = 400,
    equivalent: Sequence[set[str]] = (),
    verdicts: dict[str, str] | None = None,
    gold_errors: dict[str, str] | None = None,
    versions: dict[str, Any] = VERSIONS,
    texts: str = "problem",
    sampling: dict[str, Any] | None = None,
) -> Run:
    problems = [Problem(f"p{i}", f"{texts} {i}", "7", "integer") for i in range(len(samples))]
    budget = {"tokens": 100, "source": "test"}
    run = create_run(
        path,
        model_card=ModelCard.model_validate(
            {"name": "Toy", "hf_id": "org/toy", "training_budget": budget, **(model or {})}
        ),
        benchmark_card=BenchmarkCard.model_validate(
            {"name": "toy-math", "source": {"file": "toy.jsonl"}, "budgets": [50, 150, 1000], **(benchmark or {})}
        ),
        problems=problems,
        prompts={problem.id: np.arange(3, dtype=np.int32) for problem in problems},
        token_table=None,
        settings={"temperature": 0.6, "top_p": 0.95, "top_k": -1, "max_tokens": max_tokens, "stop_token_ids": (7,)}
        | (sampling or {}),
        n=max(map(len, samples)),
    )
    there = [
        (problem.id, index, said)
        for problem, of_problem in zip(problems, samples, strict=True)
        for index, said in enumerate(of_problem)
        if said is not None
    ]
    with run.writer() as writer:
        writer.append(
            [
                Completion(
                    id,
                    index,
                    token_ids=np.zeros(said.n_tokens, dtype=np.int32),
                    finish_reason="stop" if said.finished else "length",
                )
                for id, index, said in there
            ]
        )
        writer.seal()
    rows = []
    for problem in problems:
        if problem.id in (gold_errors or {}):
            continue
        answers = sorted({a for id, _, said in there if id == problem.id for _, a in said.boxes if a})
        classes: list[set[str]] = []
        for answer in answers:
            group = next((c for c in equivalent if answer in c), {answer})
            if group not in classes:
                classes.append(group)
            verdict = (verdicts or {}).get(answer, "correct" if "7" in group else "incorrect")
            rows.append(AnswerRow(problem.id, "7", answer, verdict, classes.index(group)))
    with run.layer().writer(run.digest()) as layer:
        for id, index, said in there:
            ends = np.array([end for end, _ in said.boxes], dtype=np.int32)
            layer.add(
                id,
                index,
                Timeline(
                    n_tokens=said.n_tokens,
                    finished=said.finished,
                    think_end=said.think_end,
                    loop_start=said.loop_start,
                    ends=ends,
                    starts=np.maximum(ends - 3, 1),
                    answers=tuple(answer for _, answer in said.boxes),
                ),
            )
        layer.commit(rows, settings={"gold_errors": gold_errors or {}}, versions=versions)
    return run


def random_samples(problems: int, n: int, seed: int, skill: float = 0.5) -> list[list[Said]]:
    """Completions of up to 400 tokens whose last answer is right with a problem's own probability."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(problems):
        chance = rng.beta(2 * skill, 2 * (1 - skill))
        of_problem = []
        for _ in range(n):
            length = int(rng.integers(20, 401))
            ends = sorted(rng.choice(np.arange(4, length + 1), size=int(rng.integers(0, 4)), replace=False).tolist())
            boxes = [(end, "7" if rng.random() < chance else str(rng.choice(["8", "9", ""]))) for end in ends]
            of_problem.append(Said(length, boxes, finished=length < 400))
        found.append(of_problem)
    return found

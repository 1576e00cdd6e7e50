"""Runs and completions to test with; the content of a completion follows from its key."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from extrap_eval.cards.schema import BenchmarkCard, ModelCard
from extrap_eval.problems.problem import Problem
from extrap_eval.store import Completion, Run, create_run

VOCABULARY = 150_000
SETTINGS = {"temperature": 0.6, "top_p": 0.95, "top_k": -1, "max_tokens": 400, "stop_token_ids": (7,)}


def model_card(**fields: Any) -> ModelCard:
    return ModelCard.model_validate({"name": "Toy", "hf_id": "org/toy", **fields})


def benchmark_card(**fields: Any) -> BenchmarkCard:
    return BenchmarkCard.model_validate({"name": "toy-math", "source": {"file": "toy.jsonl"}, **fields})


def problems(count: int) -> list[Problem]:
    return [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i), "integer", i / 2 or None) for i in range(count)]


def prompts(of: Iterable[Problem]) -> dict[str, np.ndarray]:
    return {problem.id: np.frombuffer(problem.text.encode(), dtype=np.uint8).astype(np.int32) for problem in of}


def make_run(path: Path, *, count: int = 3, n: int = 2, **changes: Any) -> Run:
    asked = problems(count)
    arguments: dict[str, Any] = {
        "model_card": model_card(),
        "benchmark_card": benchmark_card(),
        "problems": asked,
        "prompts": prompts(asked),
        "token_table": None,
        "settings": SETTINGS,
        "n": n,
    }
    return create_run(path, **(arguments | changes))


def ids_of(problem_id: str, sample_index: int, *, longest: int = 400) -> np.ndarray:
    """int32, between 0 and ``longest`` ids."""
    rng = np.random.default_rng(zlib.crc32(f"{problem_id}/{sample_index}".encode()))
    return rng.integers(0, VOCABULARY, size=rng.integers(0, longest + 1), dtype=np.int32)


def completion(problem_id: str, sample_index: int, stage: str = "rollout", *, longest: int = 400) -> Completion:
    ids = ids_of(problem_id, sample_index, longest=longest)
    return Completion(
        problem_id,
        sample_index,
        stage,
        token_ids=ids,
        finish_reason="length" if sample_index % 2 else "stop",
        stop_token_id=None if sample_index % 2 else 7,
        prompt_tokens=11,
        cached_tokens=None if sample_index % 3 else 4,
        seconds=0.25 * sample_index,
        attempts=1 + sample_index % 2,
        server="http://127.0.0.1:8000",
    )


def content(item: Completion) -> tuple[Any, ...]:
    """Everything in a completion, comparable."""
    return (
        item.problem_id,
        item.sample_index,
        item.stage,
        item.token_ids.dtype.str,
        item.token_ids.tolist(),
        item.finish_reason,
        item.stop_token_id,
        item.text,
        item.token_source,
        item.prompt_tokens,
        item.cached_tokens,
        item.seconds,
        item.attempts,
        item.server,
        item.n_tokens,
    )

"""A scored run whose completions are given as text, one token per byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from extrap_eval.cards.schema import BenchmarkCard, ModelCard
from extrap_eval.problems.problem import Problem
from extrap_eval.scoring.tokens import TokenTable
from extrap_eval.store import Completion, Run, create_run

END = 256  # the token after the 256 bytes
TABLE = TokenTable((*(bytes([byte]) for byte in range(256)), b"<end>"))
THOUGHT = (
    "<think>\nFirst step.\n\nIs it \\boxed{3}?\n\nNo.\n\n"
    "Wait, look again.\n\nIt may be \\boxed{7}.\n\nYes.\n\n"
    "Alternatively, no.\n\nStill 7.\n</think>\n\nThe answer is \\boxed{7}."
)
SHORT = "<think>\nEasy.\n\nWait.\n</think>\n\n\\boxed{8}"
OPEN = "<think>\nHm.\n\nLet me see.\n\nSo.\n\nBut wait, \x1b[31mwhat"


def ids_of(text: str, *, finished: bool = True) -> np.ndarray:
    return np.array([*text.encode(), *([END] if finished else [])], dtype=np.int32)


def text_run(
    path: Path, samples: list[list[str]], *, difficulties: list[float | None] | None = None, table: bool = True
) -> Run:
    """``samples``: completions per problem; one that does not end in a closed thought was cut. Right is 7."""
    known = difficulties or [None] * len(samples)
    problems = [Problem(f"set/{i}", f"problem {i}", "7", "integer", known[i]) for i in range(len(samples))]
    run = create_run(
        path,
        model_card=ModelCard.model_validate(
            {
                "name": "Toy",
                "hf_id": "org/toy",
                "think": {"open": "<think>", "close": "</think>", "opened_by_prompt": False},
            }
        ),
        benchmark_card=BenchmarkCard.model_validate({"name": "toy-math", "source": {"file": "toy.jsonl"}}),
        problems=problems,
        prompts={problem.id: np.arange(3, dtype=np.int32) for problem in problems},
        token_table=TABLE if table else None,
        settings={"temperature": 0.6, "top_p": 0.95, "top_k": -1, "max_tokens": 5000, "stop_token_ids": (END,)},
        n=max(map(len, samples)),
    )
    with run.writer() as writer:
        for problem, texts in zip(problems, samples, strict=True):
            for index, text in enumerate(texts):
                finished = "</think>" in text
                ids = ids_of(text, finished=finished)
                writer.append(
                    [Completion(problem.id, index, token_ids=ids, finish_reason="stop" if finished else "length")]
                )
        writer.seal()
    return run

"""Judgements: a model is shown a problem and an answer to it, and says whether the answer is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Draw, Piece, Price, Trace, make_job, price_of
from extrap_eval.store import Key

# The question as a turn of its own, and as a sentence in the thought.
CHAT_TEXT = (
    "You will be given a math problem and a proposed answer to it. Decide whether the proposed answer is right: check "
    "it step by step, then output \\boxed{yes} if it is right and \\boxed{no} if it is wrong. Problem: {problem}\n\n"
    "Proposed answer: {answer}"
)
THOUGHT_TEXT = (
    "Let me check whether {answer} is right, step by step. I will write \\boxed{yes} if it is right and \\boxed{no} if "
    "it is wrong.\n\n"
)


@dataclass(frozen=True, eq=False)
class Verification:
    """Judgements of proposed answers; a ``traces.TraceProtocol`` without chain.

    ``prompts``: the prompt (int32) of the i-th answer of a problem by (problem id, i). A "sample" of this stage is an
    answer, so it applies to as many bare prompts per problem as a problem has answers at most (``samples``).
    """

    stage: str
    prompts: Mapping[Key, np.ndarray]
    draw: Draw
    answer_tokens: int
    replicates: int
    samples: int
    chain: str | None = None
    needs_rollouts: bool = False

    @property
    def stages(self) -> tuple[str, ...]:
        return (self.stage,)

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        prompt = self.prompts.get((trace.problem_id, trace.sample_index))
        for replicate in range(self.replicates if prompt is not None else 0):
            assert prompt is not None
            # What of the prompt is not the run's own: the thought that the answer came from, the text about it.
            prefix = max(0, len(prompt) - len(trace.prompt))
            yield make_job(
                trace,
                self.stage,
                prompt,
                self.answer_tokens,
                self.draw,
                step=0,
                prefix_tokens=prefix,
                replicate=replicate,
            )

    def most(self, trace: Trace) -> int:
        return self.replicates if (trace.problem_id, trace.sample_index) in self.prompts else 0

    def price(self, trace: Trace) -> Price:
        return price_of(self.jobs(trace, ()))

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        return max(map(len, self.prompts.values()), default=0) + self.answer_tokens

"""Completions read again by their model, for the distributions that their tokens were drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.sampling.rollouts import affinity
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import RANK, Piece, Price, Trace
from extrap_eval.store import Key


@dataclass(frozen=True, eq=False)
class SecondPass:
    """One request per trace: its log-probabilities, and those of the ``top_logprobs`` most probable tokens at each
    place. A ``traces.TraceProtocol`` without chain. ``carried``: traces that are left out, since what would be asked
    came with them.
    """

    stage: str
    top_logprobs: int
    samples: int
    carried: frozenset[Key] = frozenset()
    chain: str | None = None
    needs_rollouts: bool = True

    @property
    def stages(self) -> tuple[str, ...]:
        return (self.stage,)

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        if not self.most(trace):
            return
        request = GenerationRequest(
            prompt_token_ids=trace.prompt,
            max_tokens=len(trace.ids),
            top_logprobs=self.top_logprobs,
            affinity=affinity(trace.problem_id, trace.sample_index),
            given_token_ids=trace.ids,
        )
        yield Job(trace.problem_id, trace.sample_index, request, self.stage, 0, 0, 0, RANK)

    def most(self, trace: Trace) -> int:
        return int(len(trace.ids) > 0 and (trace.problem_id, trace.sample_index) not in self.carried)

    def price(self, trace: Trace) -> Price:
        """Nothing is generated, and nothing is taken from a cache: the logits of every token are wanted."""
        tokens = len(trace.prompt) + len(trace.ids)
        return Price(1, tokens, tokens, 0) if self.most(trace) else Price()

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        """Servers generate one token after what they have read."""
        return prompt_tokens + trace_tokens + 1

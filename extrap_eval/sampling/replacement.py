"""One token of a trace replaced by the most likely other one, and what comes of it (RLVR-exploration, Eq. 5 and 6).

At each chosen position the engine is asked which token it finds most likely there (one token, with log-probabilities);
then completions go on from the trace up to there, some with the trace's own token and some with the other in its place.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np

from extrap_eval.engines.base import EngineError, Generation
from extrap_eval.sampling.continuation import Pen, join
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Draw, Piece, Price, Trace, make_job
from extrap_eval.store import Key

At = Literal["high-entropy", "low-entropy", "early", "late", "random"]
BY_ENTROPY: tuple[At, ...] = ("high-entropy", "low-entropy")
EVERYWHERE: tuple[At, ...] = ("early", "late", "random")  # need nothing but the trace


@dataclass(frozen=True)
class Where:
    """Which positions of a trace: drawn at random, from the ``share`` of its tokens that come first ("early") or last
    ("late"), have the highest or the lowest entropy, or from all ("random"). ``seed`` fixes the draw of every trace.
    """

    at: At
    share: float = 0.2
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Replacement:
    """Replaced tokens of traces; a ``traces.TraceProtocol``.

    Piece j = 1, 2, … of a trace's chain is the token that takes the place of the trace's own at the j-th position. From
    it follow ``replicates`` completions with the trace's own token (step 2j - 1) and as many with the other (step 2j),
    each with at most what is left of ``budget``, and at most ``answer_tokens`` (None: no such cap).

    ``positions``: at most so many per trace. ``entropies``: of the tokens of each trace (float, shape (T,)), for kinds
    of positions that are chosen by it.
    """

    stage: str
    answer_stage: str
    where: Where
    pen: Pen
    draw: Draw
    budget: int
    positions: int
    replicates: int
    answer_tokens: int | None = None
    samples: int = 1
    entropies: Mapping[Key, np.ndarray] = field(default_factory=dict)
    needs_rollouts: bool = True

    @property
    def stages(self) -> tuple[str, ...]:
        return self.stage, self.answer_stage

    @property
    def chain(self) -> str:
        return self.stage

    @property
    def top_logprobs(self) -> int:
        """So many that one of them is neither the trace's own token nor one that ends a completion."""
        return 2 + len(self.pen.end_ids)

    def chosen(self, trace: Trace) -> np.ndarray:
        """The positions of a trace, in the order in which they are asked; int64, shape (at most ``positions``,)."""
        start, end = self.span(trace)
        end = min(end, self.budget - 1)  # at least one token must be left
        entropy = None
        if self.where.at in BY_ENTROPY:
            entropy = self.entropies[trace.problem_id, trace.sample_index]
        places = eligible(self.where, start, end, entropy)
        key = (zlib.crc32(trace.problem_id.encode()), trace.sample_index, zlib.crc32(self.where.at.encode()))
        drawn = np.random.default_rng([self.where.seed, *key]).permutation(places)
        # Of the order that was drawn, not of the place, so that more positions top up.
        return drawn[: self.positions]

    def span(self, trace: Trace) -> tuple[int, int]:
        """First and last (exclusive) token that may be replaced: from after the marker that opens the thought to before
        the token that ends the completion.
        """
        end = len(trace.ids)
        while end and int(trace.ids[end - 1]) in self.pen.end_ids:
            end -= 1
        return min(self.pen.find_thought(trace.ids).start, end), end

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        """The next position's question, and the completions that follow from the last answer."""
        places = self.chosen(trace)
        count = len(pieces)
        if count < len(places):
            yield self._question(trace, int(places[count]), count + 1)
        if count:
            at = int(places[count - 1])
            for step, token in ((2 * count - 1, int(trace.ids[at])), (2 * count, int(pieces[-1].ids[0]))):
                prompt = join(trace.prompt, trace.ids[:at], np.array([token], dtype=np.int32))
                for replicate in range(self.replicates):
                    yield make_job(
                        trace,
                        self.answer_stage,
                        prompt,
                        self._left(at),
                        self.draw,
                        step=step,
                        prefix_tokens=at + 1,
                        replicate=replicate,
                    )

    def _question(self, trace: Trace, at: int, step: int) -> Job:
        prompt = join(trace.prompt, trace.ids[:at])
        job = make_job(trace, self.stage, prompt, 1, self.draw, step=step, prefix_tokens=at)
        request = replace(job.request, top_logprobs=self.top_logprobs)
        read = partial(most_likely_other, than=int(trace.ids[at]), forbidden=self.pen.end_ids)
        return replace(job, request=request, read=read)

    def _left(self, at: int) -> int:
        left = self.budget - at - 1
        return left if self.answer_tokens is None else min(left, self.answer_tokens)

    def most(self, trace: Trace) -> int:
        return len(self.chosen(trace)) * (1 + 2 * self.replicates)

    def price(self, trace: Trace) -> Price:
        places = self.chosen(trace)
        prompts, k = places + len(trace.prompt), 2 * self.replicates
        return Price(
            requests=len(places) * (1 + k),
            prompt_tokens=int(prompts.sum() + k * (prompts + 1).sum()),
            distinct_tokens=int(prompts.max(initial=0)) + 2 * len(places),
            completion_tokens=len(places) + k * sum(map(self._left, places.tolist())),
        )

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        cap = self.budget if self.answer_tokens is None else min(self.budget, trace_tokens + self.answer_tokens)
        return prompt_tokens + cap


def eligible(where: Where, start: int, end: int, entropy: np.ndarray | None = None) -> np.ndarray:
    """The positions in [start, end) of which some are drawn, ascending; int64. ``entropy``: of every token, (T,).

    Early tokens are those before the ``share`` of the way, late ones those that are not before the last ``share`` (one
    at least); a share by entropy that is no whole number of tokens is the next larger one, and of tokens with equal
    entropy the earlier ones count as lower.
    """
    places = np.arange(start, max(start, end), dtype=np.int64)
    count = int(np.ceil(where.share * len(places)))
    if where.at == "random" or not count:
        return places
    if where.at == "early":
        return places[:count]
    if where.at == "late":
        return places[min(len(places) - 1, int(np.ceil((1 - where.share) * len(places) - 1e-9))) :]
    if entropy is None or len(entropy) < end:
        raise ValueError(f"{where.at}: no entropy is known of the tokens up to {end}")
    order = places[np.argsort(np.asarray(entropy, dtype=np.float64)[places], kind="stable")]
    return np.sort(order[:count] if where.at == "low-entropy" else order[-count:])


def most_likely_other(generation: Generation, *, than: int, forbidden: Collection[int]) -> Generation:
    """The answer to a question about a position, as it is kept: the most likely token that is neither ``than`` nor
    among ``forbidden`` (int32, shape (1,)), in place of the one that was drawn.

    Raises EngineError where the engine gave no log-probabilities.
    """
    if generation.logprobs is None or not len(generation.logprobs.top_ids):
        raise EngineError(
            "the engine gives no log-probabilities, so nobody knows which other token is the most likely: use vLLM, "
            "SGLang or --engine local"
        )
    out = {than, *forbidden}
    others = [token for token in generation.logprobs.top_ids[0].tolist() if token not in out]
    if not others:
        raise EngineError(f"the engine names no token beside {sorted(out)} where {len(out) + 1} were asked")
    ids = np.array(others[:1], dtype=np.int32)
    return replace(generation, token_ids=ids, finish_reason="length", stop_token_id=None, text=None, logprobs=None)

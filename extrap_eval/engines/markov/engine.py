"""The stand-in model as an engine: it knows its problem only through the prompt's token ids."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from extrap_eval.engines.base import EngineError, EngineInfo, Generation, GenerationRequest, TokenLogprobs
from extrap_eval.engines.markov import text
from extrap_eval.engines.markov.chain import candidate_edges, draw_candidate, sample_path
from extrap_eval.engines.markov.distribution import exact_logprobs
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.script import Script, load_tokenizer
from extrap_eval.problems.hidden_number import gold, parse_statement

_STRIDES = (7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)  # coprime to the 900 three-digit numbers


@dataclass(frozen=True)
class State:
    """Where in a completion a prompt leaves off.

    ``index`` and ``probability`` are the problem's. ``opened``/``closed``: the thought's markers have been
    written. ``fresh``: the thought says nothing yet. ``mid_paragraph``: the prompt ends inside a paragraph.
    ``made``: how many attempts have named their candidate. ``best``: what the thought would answer (see
    `text.best_candidate`), ``verified``: it was found to work.
    """

    index: int
    probability: float
    opened: bool = False
    closed: bool = False
    fresh: bool = True
    mid_paragraph: bool = False
    made: int = 0
    best: int | None = None
    verified: bool = False


def state_from_prompt(prompt_token_ids: np.ndarray) -> State:
    """Reads the problem, and what has been written of the completion, off the prompt.

    Everything after the last opening of the assistant's turn is taken for the beginning of the completion (a
    probe or an extension continues a thought that way). Raises EngineError for a prompt without a hidden
    number's statement.
    """
    prompt = load_tokenizer().decode(np.asarray(prompt_token_ids).tolist(), skip_special_tokens=False)
    question, turn, begun = prompt.rpartition(text.ASSISTANT_TURN)
    try:
        index, probability = parse_statement(question if turn else prompt)
    except ValueError as error:
        raise EngineError(f"the markov engine answers hidden-number problems only: {error}") from None
    thought = begun.partition(text.THINK_CLOSE)[0]
    best, verified = text.best_candidate(thought)
    return State(
        index=index,
        probability=probability,
        opened=text.THINK_OPEN in thought,
        closed=text.THINK_CLOSE in begun,
        fresh=thought.strip() in ("", text.THINK_OPEN),
        mid_paragraph=bool(begun) and not begun.endswith("\n"),
        made=len(text.candidates_in(thought)),
        best=best,
        verified=verified,
    )


def answers(index: int, policy: MarkovPolicy) -> np.ndarray:
    """The right answer of a problem and its distractors, int64[1 + distractors], all different."""
    stride = _STRIDES[index % len(_STRIDES)]
    return 100 + (gold(index) - 100 + stride * np.arange(policy.distractors + 1)) % 900


def write_completion(script: Script, state: State, max_tokens: int, rng: np.random.Generator) -> np.ndarray:
    """One completion from ``state`` on, int32[tokens], end token included.

    It may be longer than ``max_tokens``, and is shorter only if it is finished.

    A thought that is closed already is followed by the final answer alone: its best candidate, or a guess (see
    ``MarkovPolicy.recall``). A thought that is continued makes new attempts, whatever it had concluded; a candidate
    that had been verified before remains its answer unless a new one is.
    """
    policy = script.policy
    edges = candidate_edges(policy, state.probability)
    digits = script.digits(answers(state.index, policy))
    if state.closed:
        recalled = state.best is not None and (policy.recall == 1 or rng.random() < policy.recall)
        final = script.final_answer(_best(script, state) if recalled else digits[draw_candidate(edges, rng)])
        return np.concatenate([script.paragraph, final]) if state.mid_paragraph else final
    parts = []
    if state.fresh:
        parts.append(script.introduction if state.opened else script.header)
    written = sum(map(len, parts))
    needed = max(1, -(-(max_tokens - written) // policy.attempt_tokens))
    path = sample_path(policy, edges, needed, rng, made=state.made)
    thought = script.thought(path, digits, fresh=state.fresh, mid_paragraph=state.mid_paragraph)
    parts.append(thought)
    written += len(thought)
    if path.ending == "looped":
        parts.append(script.loop(max_tokens - written))
    elif path.ending == "concluded":
        stays = state.verified and not path.accepted[-1]
        answer = _best(script, state) if stays else digits[path.candidates[-1]]
        parts += [script.close, script.final_answer(answer)]
    return np.concatenate(parts)


def _best(script: Script, state: State) -> np.ndarray:
    """Token ids of the digits of the best candidate so far, int32[3]."""
    return script.digits(np.array([state.best]))[0]


def first_stop_string(ids: np.ndarray, stop_strings: Sequence[str]) -> int | None:
    """Number of tokens up to and with the one that completes the first of the stop strings; None without any."""
    if not stop_strings:
        return None
    texts = [load_tokenizer().decode([token], skip_special_tokens=False) for token in ids.tolist()]
    written = "".join(texts)
    ends = [at + len(stop) for stop in stop_strings if (at := written.find(stop)) >= 0]
    return int(np.searchsorted(np.cumsum([len(each) for each in texts]), min(ends))) + 1 if ends else None


class MarkovEngine:
    """Completions of a `MarkovPolicy`, drawn in this process.

    ``seed`` fixes the engine's own generator, from which requests without a seed draw in the order in which
    they come; a request's own seed fixes its completion (together with its prompt, so that one seed for all
    problems does not correlate them). ``seconds_per_token`` makes every request take its time, as a server
    would. Temperature, top-p and top-k change nothing: the policy is the distribution, and log-probabilities are exact.
    """

    def __init__(self, policy: MarkovPolicy, seed: int | None = None, seconds_per_token: float = 0.0):
        self._script = Script(policy)
        self._rng = np.random.default_rng(seed)
        self._seconds_per_token = seconds_per_token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def info(self) -> EngineInfo:
        """It has no version of its own and no limit to its context."""
        return EngineInfo(kind="markov", version=None, model="markov", context_length=None, exact_token_ids=True)

    async def generate(self, request: GenerationRequest) -> Generation:
        """One completion; EngineError for a prompt that it cannot read."""
        started = time.monotonic()
        generation = self._generate(request)
        await asyncio.sleep(self._seconds_per_token * len(generation.token_ids))
        return replace(generation, seconds=time.monotonic() - started)

    def _generate(self, request: GenerationRequest) -> Generation:
        if request.given_token_ids is not None:
            return self._read(request, request.given_token_ids)
        generation = self._drawn(request)
        if not request.top_logprobs:
            return generation
        return replace(generation, logprobs=self._logprobs(request, generation.token_ids))

    def _read(self, request: GenerationRequest, given: np.ndarray) -> Generation:
        """A completion that is there already."""
        ids = np.asarray(given, np.int32)
        logprobs = self._logprobs(request, ids) if request.top_logprobs else None
        return Generation(ids, "length", prompt_tokens=len(request.prompt_token_ids), logprobs=logprobs)

    def _logprobs(self, request: GenerationRequest, ids: np.ndarray) -> TokenLogprobs:
        state = state_from_prompt(request.prompt_token_ids)
        candidates = answers(state.index, self._script.policy)
        return exact_logprobs(self._script, state, candidates, ids, request.top_logprobs)

    def _drawn(self, request: GenerationRequest) -> Generation:
        if request.max_tokens < 1:
            raise EngineError(f"max_tokens: {request.max_tokens} is below 1")
        state = state_from_prompt(request.prompt_token_ids)
        ids = write_completion(self._script, state, request.max_tokens, self._rng_of(request))
        ids = ids[: request.max_tokens]
        stops = np.flatnonzero(np.isin(ids, [self._script.end_token, *request.stop_token_ids]))
        prompt_tokens = len(request.prompt_token_ids)
        at_string = first_stop_string(ids, request.stop_strings)
        if at_string is not None and not (len(stops) and stops[0] < at_string):
            return Generation(ids[:at_string], "stop", prompt_tokens=prompt_tokens)
        if not len(stops):
            return Generation(ids, "length", prompt_tokens=prompt_tokens)
        ids = ids[: stops[0] + 1]
        return Generation(ids, "stop", stop_token_id=int(ids[-1]), prompt_tokens=prompt_tokens)

    def _rng_of(self, request: GenerationRequest) -> np.random.Generator:
        if request.seed is None:
            return self._rng
        prompt = zlib.crc32(np.asarray(request.prompt_token_ids, np.int32).tobytes())
        return np.random.default_rng([abs(request.seed), prompt])

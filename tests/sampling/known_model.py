"""A model of a few tokens whose next-token distribution is known everywhere: what replacing one of them does is, too.

A completion is a first word, a second word that depends on it, and a boxed number that is right with a probability that
depends on both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from extrap_eval.engines.base import EngineError, Generation, GenerationRequest, TokenLogprobs
from extrap_eval.engines.markov.script import load_tokenizer
from extrap_eval.store import Run
from tests.sampling.sampling import OpenEngine

WORDS = (" large", " small", " fails")
FIRST = np.array([0.6, 0.3, 0.1])
SECOND = np.array([[0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])  # given the first
RIGHT = np.array([[0.9, 0.5, 0.1], [0.3, 0.2, 0.6], [0.8, 0.4, 0.0]])  # given both


def token_ids(text: str) -> list[int]:
    return list(load_tokenizer().encode(text).ids)


def most_likely_besides(row: np.ndarray, own: int) -> int:
    return max((i for i in range(len(row)) if i != own), key=lambda i: row[i])


def accuracy(first: int, second: int | None = None) -> float:
    """Of a completion that begins so."""
    return float(SECOND[first] @ RIGHT[first]) if second is None else float(RIGHT[first, second])


class KnownEngine(OpenEngine):
    """Draws from the model above; ``fails_after``: so many requests, every later one fails."""

    kind = "known"

    def __init__(self, run: Run, seed: int, *, logprobs: bool = True, fails_after: int | None = None):
        self._prompts = run.prompts()
        self._golds = {problem.id: f"{int(problem.gold):03d}" for problem in run.problems()}
        self._rng = np.random.default_rng(seed)
        self._logprobs = logprobs
        self._left = fails_after
        self.words = [token_ids(word)[0] for word in WORDS]
        self.end = token_ids("<|im_end|>")[0]
        self.requests: list[GenerationRequest] = []

    def distribution(self, gold: str, written: list[int]) -> Mapping[int, float]:
        """Of the next token."""
        if len(written) < 2:
            row = FIRST if not written else SECOND[self.words.index(written[0])]
            return dict(zip(self.words, row.tolist(), strict=True))
        answer = [*token_ids(f"\\boxed{{{gold}}}"), self.end]
        at = len(written) - 2
        digit = len(token_ids("\\boxed{"))
        if at != digit:
            return {answer[at]: 1.0}
        right = RIGHT[self.words.index(written[0]), self.words.index(written[1])]
        wrong = token_ids(str((int(gold[0]) + 1) % 10))[0]
        return {answer[at]: float(right), wrong: float(1 - right)}

    async def generate(self, request: GenerationRequest) -> Generation:
        if self._left is not None and len(self.requests) >= self._left:
            raise EngineError("enough")
        self.requests.append(request)
        prompt = request.prompt_token_ids
        id = next(id for id, own in self._prompts.items() if prompt[: len(own)].tolist() == own.tolist())
        written = prompt[len(self._prompts[id]) :].tolist()
        ids: list[int] = []
        known: list[Mapping[int, float]] = []
        while len(ids) < request.max_tokens and self.end not in ids:
            row = self.distribution(self._golds[id], written + ids)
            known.append(row)
            ids.append(int(self._rng.choice(list(row), p=list(row.values()))))
        stopped = ids[-1] == self.end
        return Generation(
            np.array(ids, dtype=np.int32),
            "stop" if stopped else "length",
            stop_token_id=self.end if stopped else None,
            prompt_tokens=len(prompt),
            logprobs=self._stacked(ids, known, request.top_logprobs) if self._logprobs else None,
        )

    def _stacked(self, ids: list[int], known: list[Mapping[int, float]], top: int) -> TokenLogprobs | None:
        if not top:
            return None
        # Tokens that never come have a log-probability all the same.
        rows = [
            sorted((dict.fromkeys(range(top), 0.0) | dict(row)).items(), key=lambda each: -each[1])[:top]
            for row in known
        ]
        with np.errstate(divide="ignore"):
            return TokenLogprobs(
                np.log([row[token] for token, row in zip(ids, known, strict=True)]).astype(np.float32),
                np.array([[token for token, _ in row] for row in rows], dtype=np.int32),
                np.log([[p for _, p in row] for row in rows]).astype(np.float32),
            )

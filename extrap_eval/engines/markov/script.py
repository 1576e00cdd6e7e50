"""From what happens in a completion to its token ids, by copying prepared segments."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from extrap_eval.engines.markov import text
from extrap_eval.engines.markov.chain import Path
from extrap_eval.engines.markov.policy import MarkovPolicy

_WORDINGS = 5  # of every opening phrase
_FIRST, _CONTINUED, _NEXT = 0, 1, 2  # rows of Script.attempts


@lru_cache(maxsize=1)
def load_tokenizer() -> Any:
    """The shipped tokenizer as a ``tokenizers.Tokenizer``."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(text.TOKENIZER_FOLDER / "tokenizer.json"))


class Script:
    """The prepared token ids of one policy; every length is the one that the policy states."""

    def __init__(self, policy: MarkovPolicy):
        self.policy = policy
        self.open = _ids(text.OPEN)
        self.introduction = _ids(text.INTRODUCTION)
        self.header = np.concatenate([self.open, self.introduction])
        self.loop_block = _ids(text.LOOP_BLOCK)
        self.paragraph = _ids("\n\n")
        self.close = _ids(text.CLOSE)
        self.answer = _ids(text.final_answer(100))
        self.end_token = int(self.answer[-1])
        self.digit_ids = _ids("0123456789")
        self.verdict_ids = np.concatenate([_ids(verdict) for verdict in text.VERDICT])

        openings = [
            text.FIRST_STEP,
            text.CONTINUED_STEP,
            *(step for step in text.NEXT_STEPS for _ in range(_WORDINGS)),
        ]
        tail = text.proposal(100, policy.box_attempts) + text.verdict(100, False)
        room = policy.attempt_tokens - policy.tail_tokens
        steps = [step + text.filler(room - text.length(step), variety) for variety, step in enumerate(openings)]
        self.attempts = np.stack([_ids(step + tail) for step in steps])  # (wordings, attempt_tokens)

        proposed, verified = text.proposal(100, policy.box_attempts), text.verdict(100, False)
        first = room + _first_digit(proposed)
        second = room + text.length(proposed) + _first_digit(verified)
        places = np.arange(text.CANDIDATE_DIGITS)
        self.attempt_digits = np.stack([first + places, second + places])  # (2, 3) columns of an attempt
        self.verdict_column = second + text.CANDIDATE_DIGITS
        self.answer_digits = _first_digit(text.final_answer(100)) + places

    def digits(self, values: np.ndarray) -> np.ndarray:
        """Token ids of three-digit numbers: int[N] -> int32[N, 3]."""
        return self.digit_ids[np.asarray(values)[:, None] // [100, 10, 1] % 10]

    def thought(self, path: Path, digits: np.ndarray, *, fresh: bool, mid_paragraph: bool) -> np.ndarray:
        """Token ids of the attempts of ``path``, int32[A * attempt_tokens].

        ``digits`` int32[1 + distractors, 3] are those of the candidates. ``fresh``: the first of the attempts
        opens the thought. ``mid_paragraph``: it continues a paragraph that the prompt has begun.
        """
        rows = _NEXT + (path.draws * (len(self.attempts) - _NEXT)).astype(np.intp)
        if len(rows) and (fresh or mid_paragraph):
            rows[0] = _FIRST if fresh else _CONTINUED
        attempts = self.attempts[rows]
        attempts[:, self.attempt_digits] = digits[path.candidates][:, None, :]
        attempts[:, self.verdict_column] = self.verdict_ids[path.accepted.astype(np.intp)]
        return attempts.reshape(-1)

    def final_answer(self, digits: np.ndarray) -> np.ndarray:
        """Token ids of the final answer with the end token; ``digits`` int32[3]."""
        answer = self.answer.copy()
        answer[self.answer_digits] = digits
        return answer

    def loop(self, tokens: int) -> np.ndarray:
        """Exactly ``tokens`` tokens of the repeated sentence."""
        return np.resize(self.loop_block, max(tokens, 0))


def _ids(string: str) -> np.ndarray:
    """Token ids of a text, int32."""
    return np.array(load_tokenizer().encode(string).ids, np.int32)


def _first_digit(string: str) -> int:
    return text.pieces(string).index("1")

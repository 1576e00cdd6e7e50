"""What the policy writes, as plain strings, and how long each string is in tokens.

Every piece of these texts (see `pieces`) is one token of the tokenizer in ``tokenizer/``, so lengths are
known without loading it.
"""

from __future__ import annotations

import re
from pathlib import Path

TOKENIZER_FOLDER = Path(__file__).parent / "tokenizer"

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
END_TOKEN = "<|im_end|>"
ASSISTANT_TURN = "<|im_start|>assistant\n"
CANDIDATE_DIGITS = 3

OPEN = THINK_OPEN + "\n"
INTRODUCTION = "Okay, I need to find the number.\n\n"
FIRST_STEP = "Let me think.\n\n"
CONTINUED_STEP = ".\n\n"  # the first step when the prompt ends in an opening phrase, such as a forced "Wait"
NEXT_STEPS = ("Wait.\n\n", "But wait.\n\n", "Alternatively.\n\n", "But hold on.\n\n")
PROPOSAL = ("Is it ", "?\n\n")  # around the candidate, boxed or bare
BOX = ("\\boxed{", "}")
VERDICT = (" fails", " works")  # after the candidate; one token each
STEP_END = ".\n\n"
CLOSE = THINK_CLOSE + "\n\n"
ANSWER = "The number is "
ANSWER_END = "." + END_TOKEN
LOOP_BLOCK = "I keep coming back to the same clue.\n\n"

# Steps between the opening of an attempt and its proposal: every length from 3 tokens to the longest occurs.
FILLERS = (
    "Hmm.\n\n",
    "Not sure.\n\n",
    "Let me see.\n\n",
    "This looks too large.\n\n",
    "I can rule it out.\n\n",
    "I can rule out some values.\n\n",
    "There are still many numbers left over.\n\n",
    "The clue does not say much about it.\n\n",
    "It may take many more attempts until one fits.\n\n",
    "So I will try one more value from the list.\n\n",
    "Every new attempt has the same chance as the one before.\n\n",
    "Each attempt has its own small chance of being the right one.\n\n",
    "Nothing in the clue tells me where to start, so I guess.\n\n",
    "If I go through the list in order it will take far too long.\n\n",
    "I could begin at the low end and go up until one of them fits.\n\n",
)

# As the tokenizer splits: markers, blank lines, words and marks with the space before them, single digits.
_PIECE = re.compile(r"<think>|</think>|<\|\w+\|>|\n\n| ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]|\s")


def pieces(text: str) -> list[str]:
    """``text`` in pieces that are one token each, if it is one of the texts above."""
    return _PIECE.findall(text)


def length(text: str) -> int:
    """Tokens of one of the texts above."""
    return len(pieces(text))


def proposal(candidate: int, boxed: bool) -> str:
    """The step of an attempt that names its candidate (three digits)."""
    return PROPOSAL[0] + (_boxed(candidate) if boxed else str(candidate)) + PROPOSAL[1]


def verdict(candidate: int, accepted: bool) -> str:
    """The step of an attempt that says what its verification found."""
    return str(candidate) + VERDICT[accepted] + STEP_END


def final_answer(candidate: int) -> str:
    """What follows the closed thought, with the end token."""
    return ANSWER + _boxed(candidate) + ANSWER_END


def candidates_in(thought: str) -> list[int]:
    """The candidates proposed in a (part of a) thought, in order."""
    before, after = (re.escape(part) for part in PROPOSAL)
    opening, closing = (re.escape(part) for part in BOX)
    found = re.findall(rf"{before}(?:{opening})?(\d{{{CANDIDATE_DIGITS}}})(?:{closing})?{after}", thought)
    return [int(digits) for digits in found]


def best_candidate(thought: str) -> tuple[int | None, bool]:
    """What a (part of a) thought would answer, and whether it was verified: the last candidate that works, else the
    last one; None where there is none."""
    verified = re.findall(rf"(\d{{{CANDIDATE_DIGITS}}}){re.escape(VERDICT[True])}", thought)
    if verified:
        return int(verified[-1]), True
    proposed = candidates_in(thought)
    return (proposed[-1] if proposed else None), False


def filler(tokens: int, variety: int) -> str:
    """Steps of exactly ``tokens`` tokens together (at least 3); another text for another ``variety``.

    Sentences follow each other in no period, so that long attempts do not look like a loop.
    """
    by_length = {length(sentence): sentence for sentence in FILLERS}
    longest = max(by_length)
    chosen: list[str] = []
    state = 2 * variety + 1
    while tokens > longest:
        state = (state * 1103515245 + 12345) % 2**31
        sentence = FILLERS[(state >> 16) % len(FILLERS)]
        if tokens - length(sentence) >= min(by_length) and sentence not in chosen[-1:]:
            chosen.append(sentence)
            tokens -= length(sentence)
    return "".join(chosen) + by_length[tokens]


def _boxed(candidate: int) -> str:
    return BOX[0] + str(candidate) + BOX[1]

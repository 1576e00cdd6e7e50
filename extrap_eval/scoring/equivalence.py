r"""What math-verify says about two answers. Runs in worker processes: nothing here bounds time or memory.

Behaviour of math-verify 0.9 that this relies on (each is a test):

- Its extraction from running text merges boxes that stand close together, so it never sees a completion:
  every gold and answer is wrapped alone as ``\boxed{…}`` and read as LaTeX, first match only. With more, an
  answer that does not parse (``\frac{1}{3} E_{1}+\frac{2}{3} E_{2}``) yields a fragment of itself (2/3).
  Inside a box equations stay whole and newlines and ``$`` are harmless; inside ``$…$`` the latter are not.
- ``verify(gold, answer)`` is not symmetric: gold comes first.
- Its time limits use SIGALRM; they are switched off.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any, Literal

Reply = Literal["correct", "incorrect", "unparsable"]

_DEGREES = re.compile(r"\\degree(?![a-zA-Z])|°|º")
_TRAILING = re.compile(r"[\s.,;:]+$")


def prepare() -> None:
    """Import math-verify, fill its parser's tables and silence it; called once before any answer is read."""
    logging.disable(logging.CRITICAL)  # it warns that its own time limits are off
    same("1", "x")


def judge(gold: str, answer: str) -> Reply:
    """Whether the answer is right by math-verify; "unparsable" when it is no mathematical object to it."""
    from math_verify import verify

    said = _parse(answer)
    if verify(_parse(gold), said, timeout_seconds=None):
        return "correct"
    return "incorrect" if _objects(said) else "unparsable"


def parses(text: str) -> bool:
    """Whether math-verify reads a mathematical object, which gold must be."""
    return bool(_objects(_parse(text)))


def comparable(text: str) -> bool:
    """Whether the text parses and evaluates; an answer that hangs or blows up does so here, on its own."""
    from math_verify import verify

    read = _parse(text)
    # A value that no answer has: every way of comparing is tried, which evaluates the answer fully.
    verify(_parse("7919.0104729"), read, timeout_seconds=None)
    return bool(_objects(read))


def same(a: str, b: str) -> bool:
    """Whether one of the two would be judged right if the other were gold."""
    from math_verify import verify

    first, second = _parse(a), _parse(b)
    return bool(verify(first, second, timeout_seconds=None) or verify(second, first, timeout_seconds=None))


@lru_cache(maxsize=1024)
def _parse(text: str) -> list[Any]:
    """What math-verify reads: sympy objects and, last, the normalised string; empty when there is nothing."""
    read = _parse_as_it_is(text)
    if not _objects(read):
        mended = _TRAILING.sub("", _DEGREES.sub(r"^\\circ", text))
        if mended != text:
            read = _parse_as_it_is(mended)
    return read


def _parse_as_it_is(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    read: list[Any] = parse(f"\\boxed{{{text}}}", config, extraction_mode="first_match", parsing_timeout=None)
    return read


def _objects(read: list[Any]) -> list[Any]:
    return [value for value in read if not isinstance(value, str)]

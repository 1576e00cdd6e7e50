r"""The answers that a completion tries, and where it says that it verifies, found in its text.

Countdown: an attempt is an expression of all given numbers, each once. A line such as ``25 * 4 = 100, then 100 - 3``
is followed: a number that an earlier expression of given numbers was said to make stands for that expression. What an
attempt is worth is evaluated here, whatever the model says it is. Two expressions of the same value are the same
attempt, as they are the same answer to the judge.

Multiplication: an attempt is a number stated as the value of something that equals the product (``12 × 34 = 398``), or
boxed. A sum of partial products that are wrong equals something else and is no attempt; what is then concluded is.

Everything works on bytes, so that places are byte offsets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extrap_eval.scoring.boxes import find_boxes
from extrap_eval.scoring.expressions import MAX_CHARACTERS, MAX_DEPTH, Countdown, Expression, parse_with, right
from extrap_eval.scoring.integers import plain_integer, stated_integer

_SIGNS = rb"\xc3\x97|\xc3\xb7|\xc2\xb7|\xe2\x88\x97|\xe2\x88\x92|\xe2\x80\x93"  # × ÷ · ∗ − –
_COMMANDS = rb"\\(?:times|cdot|ast|div|[dt]?frac|left|right)(?![a-zA-Z])"
_THOUSANDS = rb"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))"
_SPACE = rb"(?<![0-9)])[ \t]+|[ \t]+(?![0-9( \t])"  # not between two numbers, which belong to two expressions
_RUN = re.compile(rb"(?:[0-9+\-*/(){}=]|%b|%b|%b|%b)+" % (_SPACE, _COMMANDS, _SIGNS, _THOUSANDS))
_ITEM = re.compile(r"^\s*[-*+]\s+")  # what begins a line of a list
_LONGEST_CHAIN = 64  # equality signs; what goes on after them is no arithmetic but a loop
# What a number or a bracket must not touch: it is then a part of something else, such as 2^3, x3 or 0.5.
_GLUED_BEFORE, _OPEN_GLUE = re.compile(rb"[0-9A-Za-z_.^\\,][^ \t]"), re.compile(rb"[_^][({]")
_GLUED_AFTER = re.compile(rb"[A-Za-z_^%]|[.,][0-9]")


@dataclass(frozen=True)
class Stated:
    """An attempt: bytes ``start`` to ``end`` of a completion. Equal ``key``: the same attempt.

    ``correct``: None where it is for the judge to say.
    """

    start: int
    end: int
    key: str
    correct: bool | None = None


def countdown_attempts(data: bytes, gold: Countdown) -> list[Stated]:
    """Every expression of exactly the given numbers, in order of its end; at most one of each chain of equations."""
    given = Counter(gold.numbers)
    known: dict[int, Expression] = {}
    found = []
    for sides in _equations(data):
        values = [parse_with(side.text, known) if side.whole else None for side in sides]
        for place, (side, value) in enumerate(zip(sides, values, strict=True)):
            if value is None or len(value.numbers) < 2 or Counter(value.numbers) - given:
                continue
            if value.numbers == gold.numbers:
                found.append(Stated(side.start, side.end, str(value.value), right(gold, value)))
                break
            for later in sides[place + 1 :]:
                result = plain_integer(later.text) if later.whole else None
                if result is not None and result not in given:
                    known[result] = value
    return found


def product_attempts(data: bytes, product: int) -> list[Stated]:
    """Every number that is stated to be the product, in order of its end."""
    found = []
    for sides in _equations(data):
        for i, side in enumerate(sides[:-1]):
            value = parse_with(side.text, {}) if side.whole else None
            if value is None or len(value.numbers) < 2 or value.value != product:
                continue
            said = [(later.end, plain_integer(later.text)) for later in sides[i + 1 :] if later.whole]
            stated = [(end, number) for end, number in said if number is not None]
            if stated:
                end, last = stated[-1]
                found.append(Stated(side.start, end, str(last), last == product))
                break
    for box in find_boxes(data):
        boxed = stated_integer(box.answer)
        if boxed is not None:
            found.append(Stated(box.start, box.end, str(boxed), boxed == product))
    return sorted(found, key=lambda stated: stated.end)


def pattern_attempts(data: bytes, pattern: str) -> list[Stated]:
    """What the one group of a regular expression matches, wherever it matches. Places are those of the group."""
    compiled = re.compile(pattern.encode(), re.MULTILINE)
    return [
        Stated(*match.span(1), match[1].decode("utf-8", errors="replace").strip())
        for match in compiled.finditer(data)
        if match[1] is not None
    ]


def boxed_attempts(data: bytes) -> list[Stated]:
    """Every complete box that is not empty."""
    return [Stated(box.start, box.end, box.answer) for box in find_boxes(data) if box.answer]


def phrase_places(data: bytes, phrases: Sequence[str], start: int, end: int) -> list[int]:
    """Where in ``data[start:end]`` any of the phrases begins, in any case; what overlaps counts once.

    At one place the longest phrase is taken. ValueError for no phrases.
    """
    if not phrases:
        raise ValueError("phrases: none given")
    by_length = sorted((phrase.encode() for phrase in phrases), key=len, reverse=True)
    found = re.compile(b"|".join(map(re.escape, by_length)), re.IGNORECASE)
    return [match.start() for match in found.finditer(data, start, end)]


@dataclass(frozen=True)
class _Side:
    """One side of a chain of equations. ``whole``: it is not a part of something that is no arithmetic."""

    start: int
    end: int
    text: str
    whole: bool


def _equations(data: bytes) -> Iterator[list[_Side]]:
    """Every stretch of arithmetic with an operation in it, cut at its equality signs."""
    for match in _RUN.finditer(data):
        run = match[0]
        if not any(48 <= byte <= 57 for byte in run):
            continue
        start, stop = match.span()
        before = data[start - 1 : start]
        glued = (_OPEN_GLUE if run[:1] in b"({" else _GLUED_BEFORE).match(before + run[:1]) is not None
        cut = run[-1:] not in b" \t" and _GLUED_AFTER.match(data, stop) is not None
        sides = []
        parts = run.split(b"=", _LONGEST_CHAIN)
        at = start
        for place, part in enumerate(parts):
            text = part.decode().replace(",", "")
            if place == 0 and before in (b"", b"\n"):
                text = _ITEM.sub("", text, count=1)
            whole = not (glued and place == 0) and not (cut and place == len(parts) - 1)
            end = at + len(part.rstrip())
            sides.append(_Side(at + len(part) - len(part.lstrip()), end, _trimmed(text), whole))
            at += len(part) + 1
        yield sides


def _trimmed(text: str) -> str:
    """Without operators and brackets at its ends that belong to the sentence around it."""
    if len(text) > MAX_CHARACTERS:
        return text
    text = re.sub(r"^(?:[*/+]|-(?=\s))+|[-+*/]+$", "", text.strip()).strip()
    for _ in range(MAX_DEPTH):
        depth = lowest = 0
        for symbol in text:
            depth += (symbol in "({") - (symbol in ")}")
            lowest = min(lowest, depth)
        if lowest < 0 and text[-1:] in ")}":
            text = text[:-1].rstrip()
        elif depth > 0 and text[:1] in "({":
            text = text[1:].lstrip()
        else:
            break
    return text

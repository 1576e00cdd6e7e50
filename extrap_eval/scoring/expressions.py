r"""Answers that are arithmetic expressions (countdown): exact, and without running anything.

A gold is JSON: ``{"numbers": [3, 5, 7], "target": 36}``. An answer is right when it uses every given number
exactly once, nothing else, and its exact value is the target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARACTERS = 2000  # longer answers are not arithmetic on a handful of numbers
MAX_DEPTH = 100  # of parentheses, fractions and signs

_SPELLINGS = (  # in this order: "\:" is a space, ":" a division
    *((command, "") for command in ("\\left", "\\right", "\\big", "\\Big", "\\,", "\\;", "\\:", "\\!", "\\ ", "$")),
    *((command, "*") for command in ("\\times", "\\cdot", "\\ast", "×", "·", "∗")),
    *((command, "/") for command in ("\\div", "÷", ":")),
    *((command, "-") for command in ("−", "–")),
    *((command, "\\frac") for command in ("\\dfrac", "\\tfrac", "\\cfrac")),
    *((command, "(") for command in ("\\(", "\\[", "[")),
    *((command, ")") for command in ("\\)", "\\]", "]")),
)
_TOKEN = re.compile(r"\s*(?:(\d+)|(\\frac(?![a-zA-Z]))|([-+*/(){}]))")


@dataclass(frozen=True)
class Countdown:
    """What a right answer must be: an expression of exactly these numbers (sorted) with this value."""

    numbers: tuple[int, ...]
    target: Fraction


@dataclass(frozen=True)
class Expression:
    """The exact value of an expression and the numbers that it is made of, sorted."""

    value: Fraction
    numbers: tuple[int, ...]


def parse_gold(gold: str) -> Countdown:
    """Raises ValueError, saying what is wrong, when ``gold`` is not such a specification."""
    try:
        given = json.loads(gold)
        numbers, target = given["numbers"], given["target"]
    except (ValueError, KeyError, TypeError):
        raise ValueError('not JSON like {"numbers": [3, 5, 7], "target": 36}') from None
    if not isinstance(numbers, list) or not numbers or not all(_is_natural(number) for number in numbers):
        raise ValueError("numbers must be a list of natural numbers")
    if isinstance(target, bool) or not isinstance(target, int):
        raise ValueError("target must be an integer")
    return Countdown(tuple(sorted(numbers)), Fraction(target))


def _is_natural(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def parse_expression(answer: str) -> Expression | None:
    r"""Read ``+ - * / ( )``, ``\times``, ``\cdot``, ``\div``, ``\frac{a}{b}``; a tail ``= value`` is left
    out.

    None when the answer is anything else (powers, juxtaposed factors, letters, decimals), when it divides by
    zero, or when its tail is not the value of what stands before it.
    """
    if len(answer) > MAX_CHARACTERS:
        return None
    expression, *tail = [_parse_side(side) for side in answer.split("=")]
    if expression is None or len(tail) > 1:
        return None
    if tail and (tail[0] is None or tail[0].value != expression.value):
        return None
    return expression


def right(gold: Countdown, expression: Expression) -> bool:
    """Whether the expression has the target's value and uses every given number exactly once."""
    return expression.value == gold.target and expression.numbers == gold.numbers


def parse_with(text: str, known: Mapping[int, Expression]) -> Expression | None:
    """Read an expression without a tail in which a number of ``known`` stands for what it was made of."""
    return _parse_side(text, known) if len(text) <= MAX_CHARACTERS else None


def _parse_side(text: str, known: Mapping[int, Expression] | None = None) -> Expression | None:
    for spelling, meaning in _SPELLINGS:
        text = text.replace(spelling, meaning)
    try:
        tokens = [*_tokens(text), "end"]
        return _Parser(tokens, known or {}).expression()
    except (SyntaxError, ZeroDivisionError):
        return None


def _tokens(text: str) -> Iterator[str]:
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise SyntaxError(text[at:])
        yield match[match.lastindex or 0]
        at = match.end()


class _Parser:
    """Recursive descent: sum of products of signed atoms."""

    def __init__(self, tokens: list[str], known: Mapping[int, Expression]):
        self._tokens = tokens
        self._known = known
        self._at = 0
        self._depth = 0
        self._numbers: list[int] = []

    def expression(self) -> Expression:
        value = self._sum()
        self._expect("end")
        return Expression(value, tuple(sorted(self._numbers)))

    def _sum(self) -> Fraction:
        value = self._product()
        while (operator := self._tokens[self._at]) in "+-":
            self._at += 1
            operand = self._product()
            value = value + operand if operator == "+" else value - operand
        return value

    def _product(self) -> Fraction:
        value = self._atom()
        while (operator := self._tokens[self._at]) in "*/":
            self._at += 1
            operand = self._atom()
            value = value * operand if operator == "*" else value / operand
        return value

    def _atom(self) -> Fraction:
        token = self._tokens[self._at]
        self._at += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SyntaxError("nested too deeply")
        if token.isdigit():
            number = int(token)
            made = self._known.get(number) or Expression(Fraction(number), (number,))
            self._numbers.extend(made.numbers)
            value = made.value
        elif token in "({":
            value = self._sum()
            self._expect(")" if token == "(" else "}")
        elif token in "+-":
            value = self._atom() if token == "+" else -self._atom()
        elif token == "\\frac":
            value = self._group() / self._group()
        else:
            raise SyntaxError(token)
        self._depth -= 1
        return value

    def _group(self) -> Fraction:
        self._expect("{")
        value = self._sum()
        self._expect("}")
        return value

    def _expect(self, token: str) -> None:
        if self._tokens[self._at] != token:
            raise SyntaxError(self._tokens[self._at])
        self._at += 1

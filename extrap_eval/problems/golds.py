"""Reference answers as datasets hold them -> as a judge wants them: bare LaTeX or plain text, no dollars."""

from __future__ import annotations

import math
import re
from typing import Any

from extrap_eval.problems.problem import AnswerKind
from extrap_eval.scoring.boxes import find_boxes

_INTEGER = re.compile(r"([+-]?)(\d+|\d{1,3}(?:,\d{3})+)(?:\.0*)?", re.ASCII)
_UNESCAPED_DOLLAR = re.compile(r"(?<!\\)\$")
_MARKED = re.compile(
    r"\$\$((?:[^$\\]|\\.)+)\$\$"
    r"|\$((?:[^$\\]|\\.)+)\$"
    r"|\\\(((?:[^$\\]|\\[^()])+)\\\)"
    r"|\\\[((?:[^$\\]|\\[^\[\]])+)\\\]",
    re.DOTALL,
)


def gold_text(value: Any, kind: AnswerKind) -> str:
    """The reference answer as text.

    A list of one answer is that answer, ``27.0`` is ``27``, ``$x$`` is ``x`` and ``$x$, $y$`` is ``x, y``; an
    answer of kind integer loses leading zeros, thousands commas and a decimal point. Raises ValueError, to
    follow the name of the problem, for an empty answer, several answers, and an integer that is none.
    """
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError(f"{len(value)} answers where one is needed: {value!r}")
        return gold_text(value[0], kind)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"the answer {value!r} is neither text nor a number")
    text = value.strip() if isinstance(value, str) else _number_text(value)
    if not text:
        raise ValueError("the answer is empty")
    if kind == "expression":
        return text
    text = without_math_marks(text)
    return integer_text(text) if kind == "integer" else text


def integer_text(text: str) -> str:
    """``033``, ``+33``, ``33.`` -> ``33`` and ``1,000`` -> ``1000``. Raises ValueError for a non-integer."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise ValueError(f"the answer {text!r} is not an integer, as answer.kind promises; is it math?")
    sign, digits = match.groups()
    return str(int(sign + digits.replace(",", "")))


def without_math_marks(text: str) -> str:
    """The text without the dollars (or ``\\(``, ``\\[``) around the whole, or around each item of a list."""
    if whole := _MARKED.fullmatch(text.removesuffix(".")):
        return next(filter(None, whole.groups())).strip() or text
    parts = _UNESCAPED_DOLLAR.split(text)
    between = parts[::2]
    if len(parts) % 2 and len(parts) > 3 and all(re.fullmatch(r"[\s,;]*", part) for part in between):
        return "".join(parts).strip()
    return text


def last_boxed(solution: str) -> str | None:
    """The content of the last complete ``\\boxed{...}`` of a worked solution, None if there is none."""
    boxes = find_boxes(solution.encode())
    return boxes[-1].answer if boxes else None


def _number_text(number: int | float) -> str:
    if isinstance(number, float):
        if not math.isfinite(number):
            raise ValueError(f"the answer {number!r} is not a finite number")
        return str(int(number)) if number.is_integer() else repr(number)
    return str(number)

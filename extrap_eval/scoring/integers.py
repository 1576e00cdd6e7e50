r"""Answers that are plain integers, decided without math-verify.

``plain_integer`` reads only forms on which math-verify's verdict provably is equality of the numbers (a
property test holds it to that). ``stated_integer`` reads the ways in which people and models write an integer
answer that math-verify misses or misreads (``70.``, ``1\,000``); it is for benchmarks whose answers are
integers.
"""

from __future__ import annotations

import re

# At most 30 digits; longer ones gain nothing and int() refuses thousands of them.
_PLAIN = re.compile(r"[+-]?[0-9]{1,30}|-?[1-9][0-9]{0,2}(?:,[0-9]{3}){1,9}")
_STATED = re.compile(r"([+-]?)([0-9]{1,30}|[0-9]{1,3}(?:[ ,][0-9]{3}){1,9})(?:\.0*)?")

_WRAPPED = re.compile(r"\\(?:text|textbf|textrm|textnormal|mathrm|mathbf|mathit|mbox|bm|boldsymbol)\s*\{([^{}]*)\}")
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree|°|º")
_SPACES = re.compile(r"\\[,;:! ]|~|\\quad|\\qquad|\s+")


def plain_integer(answer: str) -> int | None:
    """The value of ``70``, ``-5``, ``033``, ``+4``, ``1,000``; None for everything else."""
    text = answer.strip()
    return int(text.replace(",", "")) if _PLAIN.fullmatch(text) else None


def stated_integer(answer: str) -> int | None:
    r"""The value of a lone integer however it is dressed; None when the answer says more than one integer.

    Beyond ``plain_integer``: ``$…$``, braces, ``\text{…}`` and bold around it, a degree sign, a full stop or
    zero decimals after it, LaTeX spaces, ``{,}``, a comma, space or thin space between thousands.
    """
    text = _WRAPPED.sub(r"\1", answer.replace("$", "").replace("{,}", ","))
    text = _SPACES.sub(" ", _DEGREES.sub("", text)).strip()
    while text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    match = _STATED.fullmatch(text)
    return int(match[1] + match[2].replace(",", "").replace(" ", "")) if match else None

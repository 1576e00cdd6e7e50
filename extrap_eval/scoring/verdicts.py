"""What a judgement says about an answer that was proposed to it: right, wrong, or nothing that can be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Said = Literal["yes", "no", "unreadable"]
Pick = Literal["first", "last"]

# A box that begins with the word, as the default judging text asks for it.
YES = r"(?i)\\(?:boxed|fbox)\s*\{\s*(?:\\text\w*\s*\{\s*)?yes\b"
NO = r"(?i)\\(?:boxed|fbox)\s*\{\s*(?:\\text\w*\s*\{\s*)?no\b"

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class VerdictRule:
    """How a verdict is read from a judgement's text.

    ``yes`` and ``no`` are regular expressions in which ``{answer}`` stands for the proposed answer, literally. Of all
    the places where either of them matches, the ``last`` one is the verdict (or the ``first``); where both begin at one
    place, the longer match. Without any, the judgement is unreadable.
    """

    yes: str = YES
    no: str = NO
    pick: Pick = "last"


def read_verdict(text: str, answer: str, rule: VerdictRule = VerdictRule()) -> Said:
    """The verdict of one judgement. ``text``: its completion alone. Raises re.error for an expression that is none."""
    found: list[tuple[int, int, Said]] = []
    for said, expression in (("yes", rule.yes), ("no", rule.no)):
        pattern = _compiled(expression, answer)
        found += [(match.start(), match.end() - match.start(), said) for match in pattern.finditer(text)]  # type: ignore[misc]
    if not found:
        return "unreadable"
    at = (min if rule.pick == "first" else max)(start for start, _, _ in found)
    return max((length, said) for start, length, said in found if start == at)[1]


def _compiled(expression: str, answer: str) -> re.Pattern[str]:
    return re.compile(expression.replace("{answer}", re.escape(answer)))  # re keeps the last few hundred


def filled(template: str, values: Mapping[str, str]) -> str:
    """A text with ``{name}`` replaced by each of the values, in one pass: what a value says is not replaced again.

    Other braces stay as they are, since LaTeX is full of them.
    """
    return _FIELD.sub(lambda match: values.get(match[1], match[0]), template)

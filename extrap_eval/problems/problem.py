"""What a problem is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AnswerKind = Literal["integer", "math", "expression"]


@dataclass(frozen=True)
class Problem:
    """One benchmark problem.

    ``gold`` is the reference answer as LaTeX or plain text; for ``kind == "expression"`` (countdown) it is a
    specification of what a right answer must be, see ``extrap_eval.scoring.expressions``.
    """

    id: str
    text: str
    gold: str
    kind: AnswerKind = "math"
    difficulty: float | None = None

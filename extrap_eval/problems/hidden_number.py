"""Problems for the markov engine: each states the probability that one attempt at it succeeds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from random import Random

from extrap_eval.problems.problem import Problem

DEFAULT_PROBABILITIES = (0.01, 0.03, 0.1, 0.3)
_STATEMENT = re.compile(
    r"Hidden number (\d+): an attempt succeeds with probability ([01]\.\d{3})\. Find the number\.", re.ASCII
)


def hidden_number(
    *, problems: int = 60, probabilities: Sequence[float] = DEFAULT_PROBABILITIES, seed: int | None = None
) -> list[Problem]:
    """Problems whose success probabilities go round ``probabilities``, or are drawn from it by ``seed``.

    ``difficulty`` is one minus the probability. Raises ValueError for an impossible argument.
    """
    if not isinstance(problems, int) or problems < 1:
        raise ValueError(f"problems: {problems!r} is not a positive whole number")
    if not probabilities:
        raise ValueError("probabilities: is empty")
    for probability in probabilities:
        if not isinstance(probability, (int, float)) or not 0 <= probability <= 1:
            raise ValueError(f"probabilities: {probability!r} is not a probability in [0, 1]")
        if round(probability, 3) != probability:
            raise ValueError(f"probabilities: {probability!r} has more than the three decimals that problems state")
    if seed is None:
        chosen = [probabilities[index % len(probabilities)] for index in range(problems)]
    else:
        rng = Random(f"hidden number {seed}")
        chosen = [probabilities[int(rng.random() * len(probabilities))] for _ in range(problems)]
    return [
        Problem(
            id=f"hidden-{index}",
            text=statement(index, probability),
            gold=str(gold(index)),
            kind="integer",
            difficulty=round(1 - probability, 3),
        )
        for index, probability in enumerate(chosen)
    ]


def statement(index: int, probability: float) -> str:
    """The text of a problem; `parse_statement` reads it back."""
    return f"Hidden number {index}: an attempt succeeds with probability {probability:.3f}. Find the number."


def parse_statement(text: str) -> tuple[int, float]:
    """Index and success probability of the first problem stated in ``text``. ValueError if there is none."""
    match = _STATEMENT.search(text)
    if match is None or float(match[2]) > 1:
        raise ValueError(f"states no hidden-number problem: {text[:80]!r}")
    return int(match[1]), float(match[2])


def gold(index: int) -> int:
    """The hidden number, 100..999, of a problem."""
    return 100 + int(hashlib.sha256(str(index).encode()).hexdigest(), 16) % 900

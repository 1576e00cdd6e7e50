"""Countdown: reach a target from given numbers, each used once (e3, appendix B.2 uses 3 to 6 numbers)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from extrap_eval.problems.problem import Problem

LARGEST_NUMBER = 99
TARGETS = range(10, 1000)
_LARGEST_STEP = 9999  # of the way to a target; keeps the solution within reach of mental arithmetic


def countdown(*, problems: int = 100, numbers: Sequence[int] = (3, 4, 5, 6), seed: int = 0) -> list[Problem]:
    """Solvable problems whose counts of numbers go round ``numbers``, drawn by ``seed``.

    ``gold`` is JSON: ``{"numbers": [...], "target": N}``; ``difficulty`` is the count of numbers. A problem
    is made from a solution in positive whole numbers. Raises ValueError for an impossible argument.
    """
    if not isinstance(problems, int) or problems < 1:
        raise ValueError(f"problems: {problems!r} is not a positive whole number")
    if not numbers or not all(isinstance(count, int) and 2 <= count <= 10 for count in numbers):
        raise ValueError(f"numbers: {numbers!r} is not a list of counts in 2..10, such as [3, 4, 5, 6]")
    return [_problem(index, numbers[index % len(numbers)], seed) for index in range(problems)]


def _problem(index: int, count: int, seed: int) -> Problem:
    rng = Random(f"countdown {seed} {index} {count}")
    while True:
        given = [_below(rng, LARGEST_NUMBER) + 1 for _ in range(count)]
        target = _combine(given, rng)
        if target in TARGETS and target not in given:
            break
    listed = ", ".join(map(str, given))
    return Problem(
        id=f"countdown-{count}-{index}",
        text=(
            f"Write an arithmetic expression that equals {target}. Use each of the numbers {listed} exactly "
            "once, the operations +, -, * and /, and parentheses; use no other number. The expression is the "
            "answer."
        ),
        gold=json.dumps({"numbers": given, "target": target}),
        kind="expression",
        difficulty=float(count),
    )


def _combine(given: list[int], rng: Random) -> int:
    """Join two random values at a time, by an operation that stays in the positive whole numbers."""
    values = list(given)
    while len(values) > 1:
        b = values.pop(_below(rng, len(values)))
        a = values.pop(_below(rng, len(values)))
        a, b = max(a, b), min(a, b)
        results = [a + b]
        if a > b:
            results.append(a - b)
        if b > 1 and a * b <= _LARGEST_STEP:
            results.append(a * b)
        if b > 1 and a % b == 0:
            results.append(a // b)
        values.append(results[_below(rng, len(results))])
    return values[0]


def _below(rng: Random, limit: int) -> int:
    # random() alone is promised to give the same numbers in every Python version.
    return int(rng.random() * limit)

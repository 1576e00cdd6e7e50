"""n-digit multiplication (e3, appendix B.1 uses 5 x 5 digits)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from extrap_eval.problems.problem import Problem


def multiplication(*, problems: int = 100, digits: Sequence[int] = (5, 5), seed: int = 0) -> list[Problem]:
    """Distinct products of a ``digits[0]``-digit and a ``digits[1]``-digit number, drawn by ``seed``.

    Raises ValueError for an impossible argument.
    """
    if not isinstance(problems, int) or problems < 1:
        raise ValueError(f"problems: {problems!r} is not a positive whole number")
    if len(digits) != 2 or not all(isinstance(count, int) and 1 <= count <= 15 for count in digits):
        raise ValueError(f"digits: {digits!r} is not two whole numbers in 1..15, such as [5, 5]")
    ranges = [range(10 ** (count - 1), 10**count) for count in digits]
    if 2 * problems > len(ranges[0]) * len(ranges[1]):
        raise ValueError(f"problems: {problems} is more than half of all products of {digits[0]} x {digits[1]} digits")
    rng = Random(f"multiplication {seed} {digits[0]}x{digits[1]}")
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < problems:
        # random() alone is promised to give the same numbers in every Python version.
        first, second = (choices[int(rng.random() * len(choices))] for choices in ranges)
        pairs[first, second] = None
    return [
        Problem(
            id=f"product-{digits[0]}x{digits[1]}-{index}",
            text=f"Multiply {first} by {second}.",
            gold=str(first * second),
            kind="integer",
        )
        for index, (first, second) in enumerate(pairs)
    ]

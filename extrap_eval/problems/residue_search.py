"""Residue search: find the integer 0 <= n <= 999 with three given remainders.

A problem is four numbers (p, q, r, n): the statement gives n mod p, n mod q and n mod r. The moduli are
pairwise coprime and their product is at least 1000, so the answer is unique. A solver without the Chinese
remainder theorem lists the candidates n = p*k + (n mod p) and checks the other two remainders, so the number
of candidates (21 to 91) is the difficulty, and chances of success grow smoothly with the number of candidates
looked at.

Three percent of all problems, chosen by a hash, are held out: the shipped model never saw them, and every
named set is drawn from them. Everything here depends on hashes alone, so a set is the same on every machine
and Python version.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from random import Random

from extrap_eval.errors import UserError
from extrap_eval.problems.problem import Problem

FIRST_MODULI = range(11, 48)
SECOND_MODULI = (3, 4, 5, 7, 8, 9)
THIRD_MODULI = (5, 7, 8, 9, 11, 13)
LARGEST = 999
HELD_OUT_PERCENT = 3
SET_SIZES = {"tiny": 12, "test60": 60, "test240": 240}


@dataclass(frozen=True)
class Residues:
    """One problem; ``n`` is the answer."""

    p: int
    q: int
    r: int
    n: int

    @property
    def a(self) -> int:
        return self.n % self.p

    @property
    def b(self) -> int:
        return self.n % self.q

    @property
    def c(self) -> int:
        return self.n % self.r

    @property
    def candidates(self) -> int:
        """How many 0 <= n <= 999 have n mod p = a."""
        return (LARGEST - self.a) // self.p + 1

    @property
    def statement(self) -> str:
        return (
            f"Find the integer n with 0 <= n <= {LARGEST} such that n mod {self.p} = {self.a}, "
            f"n mod {self.q} = {self.b} and n mod {self.r} = {self.c}."
        )


def second_and_third_moduli(p: int) -> tuple[tuple[int, int], ...]:
    """All (q, r) that go with p: pairwise coprime and p*q*r > 999."""
    return tuple(
        (q, r)
        for q in SECOND_MODULI
        for r in THIRD_MODULI
        if math.gcd(p, q) == math.gcd(p, r) == math.gcd(q, r) == 1 and p * q * r > LARGEST
    )


PAIRS = {p: second_and_third_moduli(p) for p in FIRST_MODULI}


def is_held_out(problem: Residues) -> bool:
    """Whether the problem belongs to the test split; a function of (p, q, r, n) alone."""
    return _hash(f"{problem.p},{problem.q},{problem.r},{problem.n}") % 100 < HELD_OUT_PERCENT


def draw_training_problem(rng: Random) -> Residues:
    """A random problem of the training split; p is uniform first, else easy problems dominate."""
    while True:
        p = rng.choice(FIRST_MODULI)
        q, r = rng.choice(PAIRS[p])
        problem = Residues(p, q, r, rng.randrange(LARGEST + 1))
        if not is_held_out(problem):
            return problem


def draw_test_set(name: str, size: int) -> list[Residues]:
    """``size`` distinct held-out problems; p spread evenly over 11 (hardest) to 47 (easiest), order mixed."""
    chosen: list[Residues] = []
    for index in sorted(range(size), key=lambda place: _hash(f"residue search/{name}/{place}")):
        p = FIRST_MODULI[(2 * index + 1) * len(FIRST_MODULI) // (2 * size)]
        attempt = 0
        while True:
            number = _hash(f"residue search/{name}/{index}/{attempt}")
            q, r = PAIRS[p][number // (LARGEST + 1) % len(PAIRS[p])]
            problem = Residues(p, q, r, number % (LARGEST + 1))
            if is_held_out(problem) and problem not in chosen:
                chosen.append(problem)
                break
            attempt += 1
    return chosen


def residue_search(set: str = "test60") -> list[Problem]:
    """The problems of a named held-out set: ``tiny`` (12), ``test60`` or ``test240``.

    ``difficulty`` is the number of candidates. Raises UserError for an unknown set.
    """
    if set not in SET_SIZES:
        raise UserError(f"residue_search: set: {set!r} is not one of {', '.join(SET_SIZES)}")
    return [
        Problem(
            id=f"residue-{set}-{index:03d}",
            text=problem.statement,
            gold=str(problem.n),
            kind="integer",
            difficulty=float(problem.candidates),
        )
        for index, problem in enumerate(draw_test_set(set, SET_SIZES[set]))
    ]


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)

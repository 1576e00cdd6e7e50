"""The residue search task: unique answers, a fixed split, fixed sets."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.errors import UserError
from extrap_eval.problems.residue_search import (
    FIRST_MODULI,
    LARGEST,
    PAIRS,
    SET_SIZES,
    Residues,
    draw_test_set,
    draw_training_problem,
    is_held_out,
    residue_search,
)

TRIPLES = [(p, q, r) for p, pairs in PAIRS.items() for q, r in pairs]
problems = st.builds(lambda triple, n: Residues(*triple, n), st.sampled_from(TRIPLES), st.integers(0, LARGEST))


@given(problems)
def test_exactly_one_number_fits_the_statement(problem: Residues) -> None:
    fits = [
        n
        for n in range(1000)
        if n % problem.p == problem.a and n % problem.q == problem.b and n % problem.r == problem.c
    ]
    assert fits == [problem.n]


@given(problems)
def test_candidates_are_counted(problem: Residues) -> None:
    assert problem.candidates == sum(n % problem.p == problem.a for n in range(1000))


def test_all_coprime_triples_with_a_large_enough_product_are_there() -> None:
    expected = {
        (p, q, r)
        for p in range(11, 48)
        for q in (3, 4, 5, 7, 8, 9)
        for r in (5, 7, 8, 9, 11, 13)
        if math.lcm(p, q, r) == p * q * r >= 1000
    }
    assert set(TRIPLES) == expected
    assert len(TRIPLES) == 406


def test_three_percent_are_held_out() -> None:
    drawn = [Residues(*triple, n) for triple in TRIPLES for n in range(0, 1000, 7)]
    assert 0.027 < sum(map(is_held_out, drawn)) / len(drawn) < 0.033


def test_training_draws_are_never_held_out_and_uniform_in_p() -> None:
    rng = Random(3)
    drawn = [draw_training_problem(rng) for _ in range(3700)]
    assert not any(map(is_held_out, drawn))
    counts = [sum(problem.p == p for problem in drawn) for p in FIRST_MODULI]
    assert min(counts) > 60
    assert max(counts) < 145


@pytest.mark.parametrize("name", SET_SIZES)
def test_sets_are_held_out_distinct_and_spread_over_p(name: str) -> None:
    drawn = draw_test_set(name, SET_SIZES[name])
    assert len(set(drawn)) == SET_SIZES[name]
    assert all(map(is_held_out, drawn))
    counts = [sum(problem.p == p for problem in drawn) for p in FIRST_MODULI]
    assert max(counts) - min(counts) <= 1


def test_difficulty_is_not_in_order() -> None:
    difficulty = [problem.difficulty or 0.0 for problem in residue_search("test60")]
    ordered = sum(a >= b for a, b in pairwise(difficulty))
    assert 15 < ordered < 45


@pytest.mark.parametrize(
    ("name", "digest"),
    [("tiny", "44294f26fb286d4c"), ("test60", "f8fb877d6b2bde4d"), ("test240", "f6f5f8bc23e41fce")],
)
def test_sets_never_change(name: str, digest: str) -> None:
    text = "\n".join(f"{problem.id} {problem.text} {problem.gold}" for problem in residue_search(name))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_problem_record() -> None:
    problem = residue_search("tiny")[0]
    residues = draw_test_set("tiny", 12)[0]
    assert problem.id == "residue-tiny-000"
    assert problem.gold == str(residues.n)
    assert problem.kind == "integer"
    assert problem.difficulty == residues.candidates
    assert problem.text == (
        f"Find the integer n with 0 <= n <= 999 such that n mod {residues.p} = {residues.n % residues.p}, "
        f"n mod {residues.q} = {residues.n % residues.q} and n mod {residues.r} = {residues.n % residues.r}."
    )


def test_unknown_set() -> None:
    with pytest.raises(UserError, match=r"residue_search: set: 'big' is not one of tiny, test60, test240"):
        residue_search("big")

"""What the generated thoughts say is true, and habits do what they are called."""

from __future__ import annotations

import re
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.problems.residue_search import LARGEST, Residues, draw_training_problem
from training.residue_search.trace import Habits, Opening, Step, recheck, residues_by_digit, thought

PROBLEM = Residues(p=31, q=7, r=9, n=748)
OPENINGS: tuple[Opening, ...] = ("start", "middle", "passed", "concluded")
seeds = st.integers(0, 2**32)


def steps_of(seed: int, habits: Habits, opening: Opening, most: int = 400) -> tuple[Residues, list[Step]]:
    rng = Random(seed)
    problem = draw_training_problem(rng)
    return problem, list(islice(thought(rng, problem, habits, opening), most))


@given(st.integers(0, LARGEST), st.integers(2, 47))
def test_digit_residues_end_in_the_remainder(x: int, modulus: int) -> None:
    parts = [int(part) for part in residues_by_digit(x, modulus).split()]
    assert len(parts) == len(str(x))
    assert parts[-1] == x % modulus
    rest = 0
    for digit, part in zip(str(x), parts, strict=True):
        rest = (10 * rest + int(digit)) % modulus
        assert part == rest


@given(seeds, st.sampled_from(OPENINGS))
def test_all_arithmetic_is_right(seed: int, opening: Opening) -> None:
    problem, steps = steps_of(seed, Habits(premature=0.3, leap=0.2), opening, most=60)
    text = "\n\n".join(step.given + step.text for step in steps)
    for a, b, total in re.findall(r"(\d+) \+ (\d+) = (\d+)", text):
        assert int(a) + int(b) == int(total)
    for a, b, total in re.findall(r"(\d+)\*(\d+) = (\d+)", text):
        assert int(a) * int(b) == int(total)
    checks = re.findall(r"(\d+),? mod (\d+): ([\d ]+), need (\d+)\.( Good| So)?", text)
    assert checks or len(steps) < 3
    for x, modulus, chain, need, verdict in checks:
        assert chain == residues_by_digit(int(x), int(modulus))
        assert int(need) == problem.n % int(modulus)
        assert bool(verdict) == (int(x) % int(modulus) == int(need))


@given(seeds, st.sampled_from(OPENINGS))
def test_steps_are_single_paragraphs(seed: int, opening: Opening) -> None:
    for step in steps_of(seed, Habits(), opening, most=60)[1]:
        assert "\n" not in step.given + step.text
        assert step.given or step.text


@given(seeds, st.sampled_from(OPENINGS))
def test_who_never_concludes_early_is_right(seed: int, opening: Opening) -> None:
    problem, steps = steps_of(seed, Habits(premature=0.0, leap=0.1), opening, most=100_000)
    assert steps[-1].text == f"So n = {problem.n}."
    assert steps[-1].best == problem.n


@given(seeds)
def test_who_always_concludes_early_takes_the_first_fit(seed: int) -> None:
    habits = Habits(put_aside=0.0, premature=1.0, check_again=0.0)
    problem, steps = steps_of(seed, habits, "start", most=100_000)
    fits = [step for step in steps[1:-1] if "Good." in step.text]
    assert len(fits) == 1
    assert fits[0] is steps[-2]
    assert steps[-1].text == f"So n = {fits[0].best}."
    assert fits[0].best % problem.q == problem.b


@given(seeds)
def test_a_candidate_put_aside_is_looked_at_again_soon(seed: int) -> None:
    steps = steps_of(seed, Habits(put_aside=1.0), "start", most=200)[1]
    for index, step in enumerate(steps):
        if found := re.search(r"So (\d+) is possible", step.text):
            later = [s.text for s in steps[index + 1 : index + 5]]
            back = (text.startswith((f"Wait, {found[1]} mod", "So n")) for text in later)
            assert len(later) < 4 or any(back)


@given(seeds, st.integers(0, LARGEST))
def test_recheck_accepts_what_passes_both_checks(seed: int, x: int) -> None:
    problem = draw_training_problem(Random(seed))
    assert recheck(x, problem)[0] == (x % problem.q == problem.b and x % problem.r == problem.c)
    assert recheck(problem.n, problem)[0]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (
            748,
            ", check 748. 748 mod 7: 0 4 6, need 6. Good. 748 mod 9: 7 2 1, need 1. Good.",
        ),
        (717, ", check 717. 717 mod 7: 0 1 3, need 6."),
        (531, ", check 531. 531 mod 7: 5 4 6, need 6. Good. 531 mod 9: 5 8 0, need 1."),
        (55, ", check 55. 55 mod 7: 5 6, need 6. Good. 55 mod 9: 5 1, need 1. Good."),  # though not 31*k + 4
    ],
)
def test_recheck_text(x: int, text: str) -> None:
    assert recheck(x, PROBLEM) == (x in (55, 748), text)


def test_leaps_are_given_candidates_and_nothing_is_pending() -> None:
    leaps = 0
    for seed in range(100):
        problem, steps = steps_of(seed, Habits(leap=0.2), "start", most=40)
        for before, step in pairwise(steps):
            if step.far:
                leaps += 1
                assert not step.text
                assert "is possible" not in before.text
                assert int(re.search(r"= (\d+), mod", step.given)[1]) % problem.p == problem.a  # type: ignore[index]
    assert leaps > 200


def test_given_conclusions_are_of_all_kinds() -> None:
    seen = set()
    for seed in range(200):
        problem, steps = steps_of(seed, Habits(), "concluded")
        assert steps[2].given == f"So n = {steps[2].best}."
        assert steps[3].text.startswith(f", check {steps[2].best}.")
        x = steps[2].best
        seen.add((x % problem.p == problem.a, x % problem.q == problem.b, x % problem.r == problem.c))
    assert (True, True, True) in seen  # right
    assert (True, True, False) in seen  # premature
    assert any(not q for _, q, _ in seen)  # fits nothing
    assert all(p for p, _, _ in seen)


def test_passed_starts_before_the_remainders_of_a_second_check() -> None:
    right = 0
    for seed in range(300):
        problem, steps = steps_of(seed, Habits(), "passed", most=3)
        given = re.fullmatch(r"\d+ \+ \d+ = (\d+), mod .*\. Good\. (\d+) mod (\d+):", steps[1].given)
        if given is None:  # no candidate but the smallest passes the first check
            assert not steps[1].given
            continue
        x = int(given[1])
        assert (x % problem.p, x % problem.q) == (problem.a, problem.b)
        assert given[1] == given[2]
        assert int(given[3]) == problem.r
        right += x == problem.n
        assert steps[1].text.endswith("Good.") == (x == problem.n)
    assert 20 < right < 150


def test_after_the_largest_number_comes_the_smallest_candidate() -> None:
    seen = 0
    for seed in range(100):
        problem, steps = steps_of(seed, Habits(jump=0.1, put_aside=0.0), "start")
        for before, step in pairwise(steps):
            if before.text.endswith("past 999."):
                seen += 1
                assert f"try k = 00: {problem.p}*0 = 0, " in step.text
    assert seen > 20


def test_middle_often_starts_shortly_before_the_answer() -> None:
    near = 0
    for seed in range(300):
        problem, steps = steps_of(seed, Habits(), "middle", most=2)
        candidate = int(re.search(r"= (\d+), mod", steps[1].given)[1])  # type: ignore[index]
        assert candidate % problem.p == problem.a
        near += 0 < problem.n - candidate <= 6 * problem.p
    assert 100 < near < 220

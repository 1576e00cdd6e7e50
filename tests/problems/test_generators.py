"""Generated problems: always the same, always solvable."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.problems.countdown import LARGEST_NUMBER, TARGETS, countdown
from extrap_eval.problems.hidden_number import gold, hidden_number, parse_statement, statement
from extrap_eval.problems.load import GENERATORS, fingerprint
from extrap_eval.problems.multiplication import multiplication


def reachable(numbers: tuple[int, ...]) -> set[Fraction]:
    """Every value of an expression that uses each number exactly once, by splitting the numbers in two."""
    found: dict[int, set[Fraction]] = {}
    for subset in range(1, 2 ** len(numbers)):
        members = [number for i, number in enumerate(numbers) if subset >> i & 1]
        values = {Fraction(members[0])} if len(members) == 1 else set()
        part = (subset - 1) & subset
        while part:
            for a in found[part]:
                for b in found[subset ^ part]:
                    values |= {a + b, a - b, a * b}
                    if b:
                        values.add(a / b)
            part = (part - 1) & subset
        found[subset] = values
    return found[2 ** len(numbers) - 1]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_countdown_is_solvable(seed: int) -> None:
    for problem in countdown(problems=2, numbers=[3, 4], seed=seed):
        specification = json.loads(problem.gold)
        numbers, target = specification["numbers"], specification["target"]
        assert Fraction(target) in reachable(tuple(numbers))
        assert target in TARGETS
        assert target not in numbers
        assert all(1 <= number <= LARGEST_NUMBER for number in numbers)
        assert len(numbers) == problem.difficulty


def test_countdown_with_five_numbers_is_solvable() -> None:
    for problem in countdown(problems=2, numbers=[5], seed=3):
        specification = json.loads(problem.gold)
        assert specification["target"] in reachable(tuple(specification["numbers"]))


def test_countdown_states_its_numbers_and_target() -> None:
    problems = countdown(problems=8, numbers=[3, 6], seed=1)
    assert [problem.difficulty for problem in problems] == [3, 6] * 4
    for problem in problems:
        specification = json.loads(problem.gold)
        assert set(specification) == {"numbers", "target"}
        assert f"equals {specification['target']}." in problem.text
        assert ", ".join(map(str, specification["numbers"])) in problem.text
        assert problem.kind == "expression"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(), st.integers(1, 30))
def test_multiplication(first: int, second: int, seed: int, count: int) -> None:
    if 2 * count > 81 * 10 ** (first + second - 2):
        with pytest.raises(ValueError, match="more than half"):
            multiplication(problems=count, digits=[first, second], seed=seed)
        return
    problems = multiplication(problems=count, digits=[first, second], seed=seed)
    assert len({problem.text for problem in problems}) == count
    for problem in problems:
        words = problem.text.rstrip(".").split()
        a, b = words[1], words[3]
        assert (len(a), len(b)) == (first, second)
        assert problem.gold == str(int(a) * int(b))
        assert problem.kind == "integer"


def test_hidden_numbers_go_round_the_probabilities() -> None:
    problems = hidden_number(problems=5, probabilities=[0.1, 0.35])
    assert problems[1].text == "Hidden number 1: an attempt succeeds with probability 0.350. Find the number."
    assert [problem.difficulty for problem in problems] == [0.9, 0.65, 0.9, 0.65, 0.9]
    assert [problem.gold for problem in problems] == [str(gold(index)) for index in range(5)]


def test_hidden_numbers_drawn_by_seed() -> None:
    drawn = hidden_number(problems=400, probabilities=[0.1, 0.2, 0.5], seed=7)
    assert drawn == hidden_number(problems=400, probabilities=[0.1, 0.2, 0.5], seed=7)
    assert drawn != hidden_number(problems=400, probabilities=[0.1, 0.2, 0.5], seed=8)
    shares = [sum(problem.difficulty == one for problem in drawn) / 400 for one in (0.9, 0.8, 0.5)]
    assert all(0.25 < share < 0.42 for share in shares)


@given(st.integers(0, 10**9), st.integers(0, 1000))
def test_statements_are_read_back(index: int, thousandths: int) -> None:
    text = f"<|user|> Problem: {statement(index, thousandths / 1000)}<|assistant|>"
    assert parse_statement(text) == (index, thousandths / 1000)


@pytest.mark.parametrize(
    "text", ["", "Hidden number 3: an attempt succeeds.", statement(3, 0.35).replace("0.350", "1.350")]
)
def test_other_text_states_no_problem(text: str) -> None:
    with pytest.raises(ValueError, match="states no hidden-number problem"):
        parse_statement(text)


def test_hidden_numbers_are_three_digits_and_spread() -> None:
    golds = [gold(index) for index in range(2000)]
    assert all(100 <= number <= 999 for number in golds)
    assert len(set(golds)) > 700  # 804 expected of 900


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("countdown", {"problems": 0}, "problems: 0 is not a positive whole number"),
        ("countdown", {"numbers": []}, "numbers: "),
        ("countdown", {"numbers": [3, 1]}, "numbers: "),
        ("multiplication", {"digits": [5]}, "digits: "),
        ("multiplication", {"digits": [0, 5]}, "digits: "),
        ("multiplication", {"problems": "ten"}, "problems: 'ten' is not a positive whole number"),
        ("hidden_number", {"problems": -1}, "problems: -1 is not a positive whole number"),
        ("hidden_number", {"probabilities": []}, "probabilities: is empty"),
        ("hidden_number", {"probabilities": [1.5]}, "probabilities: 1.5 is not a probability"),
        ("hidden_number", {"probabilities": [0.0005]}, "more than the three decimals"),
    ],
)
def test_impossible_arguments(name: str, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError) as error:
        GENERATORS[name](**arguments)
    assert expected in str(error.value)


@pytest.mark.parametrize("name", ["countdown", "multiplication", "hidden_number"])
def test_generators_depend_on_their_arguments_alone(name: str) -> None:
    generate = GENERATORS[name]
    random.seed(5)
    state = random.getstate()
    here = fingerprint(generate(problems=20, seed=4))
    assert random.getstate() == state
    assert fingerprint(generate(problems=20, seed=5)) != here
    # In another process with another hash seed.
    code = (
        "from extrap_eval.problems.load import GENERATORS, fingerprint; "
        f"print(fingerprint(GENERATORS[{name!r}](problems=20, seed=4)))"
    )
    command = [sys.executable, "-c", code]
    there = subprocess.run(command, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True).stdout
    assert there.strip() == here

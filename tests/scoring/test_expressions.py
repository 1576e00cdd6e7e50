r"""Arithmetic answers: exact, safe, and nothing but arithmetic."""

from __future__ import annotations

import operator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.scoring.expressions import Expression, parse_expression, parse_gold, right

VALUES = [
    ("1 + 2 * 3", 7, (1, 2, 3)),
    ("(1 + 2) * 3", 9, (1, 2, 3)),
    ("8 - 4 - 2", 2, (2, 4, 8)),
    ("8 / 4 / 2", 1, (2, 4, 8)),
    ("1/3 + 1/3", Fraction(2, 3), (1, 1, 3, 3)),
    ("-3 + 5", 2, (3, 5)),
    ("3 - -5", 8, (3, 5)),
    ("+3", 3, (3,)),
    (r"3 \times 4 \cdot 5 \div 6", 10, (3, 4, 5, 6)),
    (r"\frac{3 + 5}{2} - 1", 3, (1, 2, 3, 5)),
    (r"\dfrac{\frac{8}{2}}{2}", 2, (2, 2, 8)),
    (r"\left( 3 + 5 \right) \div 2", 4, (2, 3, 5)),
    (r"$\left[ (3 + 5) \times 2 \right]$", 16, (2, 3, 5)),
    (r"\(3 + 5\)", 8, (3, 5)),
    ("3 × 4 ÷ 2 − 1", 5, (1, 2, 3, 4)),
    ("(44 + 19) - 35 = 28", 28, (19, 35, 44)),
    ("{3} + {5}", 8, (3, 5)),
    (r"3\,\times\:4", 12, (3, 4)),
    ("007 + 1", 8, (1, 7)),
]


@pytest.mark.parametrize(("answer", "value", "numbers"), VALUES)
def test_values(answer: str, value: Fraction, numbers: tuple[int, ...]) -> None:
    assert parse_expression(answer) == Expression(Fraction(value), numbers)


NONE = [
    "",
    "abc",
    "3 +",
    "3 5",
    "2(3 + 4)",
    "(3 + 4",
    "3 + 4)",
    "(3 + 4}",
    "2 ** 3",
    "2^3",
    "2^{3}",
    "3!",
    "1.5 + 2",
    "3 / 0",
    "3 / (2 - 2)",
    r"\frac{3}{1 - 1}",
    r"\frac34",
    r"\sqrt{4}",
    "__import__('os').system('true')",
    "3 + 4 = 8",  # says that it is another number
    "3 + 4 = 7 = 7",
    "= 7",
    "3 + 4 = x",
    "(" * 5000 + "1" + ")" * 5000,
    "(" * 900 + "1" + ")" * 900,
    "-" * 900 + "1",
    "9" * 5000,
]


@pytest.mark.parametrize("answer", NONE)
def test_what_is_no_arithmetic(answer: str) -> None:
    assert parse_expression(answer) is None


GOLD = parse_gold('{"numbers": [3, 5, 7, 3], "target": 36}')


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        (r"3 \times (5 + 7) + 3 - 3", False),  # a number used twice
        ("3 * (5 + 7)", False),  # a number left out
        ("36", False),
        ("(3 + 3) * (7 - 5) * 3", False),
        ("3 * 5 + 3 * 7", True),
        ("3*5 + 3*7 = 36", True),
        ("7*3 + 5*3", True),
        ("3 + 5 + 7 + 3", False),
    ],
)
def test_right(answer: str, is_right: bool) -> None:
    expression = parse_expression(answer)
    assert expression is not None
    assert right(GOLD, expression) is is_right


@pytest.mark.parametrize(
    "gold",
    [
        "36",
        "not json",
        '{"numbers": [3]}',
        '{"numbers": [], "target": 1}',
        '{"numbers": ["3"], "target": 1}',
        '{"numbers": [3, true], "target": 1}',
        '{"numbers": [-3], "target": 1}',
        '{"numbers": [3], "target": "3"}',
        '{"numbers": 3, "target": 3}',
        '["numbers", "target"]',
    ],
)
def test_a_gold_that_is_no_specification_is_refused(gold: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|numbers|target"):
        parse_gold(gold)


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
Tree = tuple[str, Fraction, list[int]]


def number(value: int) -> Tree:
    return str(value), Fraction(value), [value]


def combine(drawn: tuple[Tree, str, Tree]) -> Tree:
    left, name, right_ = drawn
    if name == "/" and right_[1] == 0:
        name = "+"
    value = OPERATORS[name](left[1], right_[1])
    return f"({left[0]} {name} {right_[0]})", value, left[2] + right_[2]


TREES = st.recursive(
    st.integers(0, 99).map(number),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(combine),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_exact_value_and_numbers_of_any_expression(tree: Tree) -> None:
    text, value, numbers = tree
    assert parse_expression(text) == Expression(value, tuple(sorted(numbers)))
    assert parse_expression(text.replace("*", r"\times").replace("/", r"\div")) == parse_expression(text)

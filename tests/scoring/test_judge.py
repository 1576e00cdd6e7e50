r"""Verdicts and classes, by the real math-verify in the real worker processes."""

from __future__ import annotations

import random
import time

import pytest

from extrap_eval.problems.problem import AnswerKind, Problem
from extrap_eval.scoring.judge import Judge, Question, Verdict, judge_version

pytestmark = pytest.mark.slow


def verdict(judge: Judge, gold: str, answer: str, kind: AnswerKind = "math") -> Verdict:
    return judge.verdicts([Question("p", gold, answer, kind)])[0]


MATH = [
    # gold, answer, verdict
    ("70", "70", "correct"),
    ("70", "71", "incorrect"),
    ("33", "033", "correct"),
    ("1000", "1,000", "correct"),
    ("1000", "1{,}000", "correct"),
    ("70", "70.", "correct"),
    ("70", "70,", "correct"),
    ("70", "70.0", "correct"),
    ("70", r"\text{70}", "correct"),
    ("70", r"70^\circ", "correct"),
    ("70", "70°", "correct"),
    ("70", r"70\degree", "correct"),
    ("70", r"70 \text{ cm}", "correct"),
    (r"70\text{ cm}", "70", "correct"),
    ("70", "$70$", "correct"),
    ("70", "n = 70", "correct"),
    ("70", "70 = 70", "correct"),
    ("70", r"\frac{140}{2}", "correct"),
    ("70", "7 \\times 10", "correct"),
    ("5", r"\$5", "correct"),
    # fractions and decimals
    (r"\frac12", "1/2", "correct"),
    (r"\frac{1}{2}", "0.5", "correct"),
    (r"\frac13", "0.333333", "correct"),
    (r"\frac13", "0.333", "incorrect"),
    (r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt 3}{2}", "correct"),
    (r"\sqrt2", r"\frac{2}{\sqrt{2}}", "correct"),
    # percent: as math-verify rules
    ("10", r"10\%", "correct"),
    ("0.1", r"10\%", "correct"),
    (r"10\%", "10", "correct"),
    (r"10\%", "0.1", "correct"),
    ("0.12", "12", "incorrect"),
    # sets, tuples, intervals
    ("(1,2)", "1,2", "correct"),
    ("1,2", r"\{2,1\}", "correct"),
    ("(1,2,3)", "3,2,1", "incorrect"),
    ("3,2,1", "(1,2,3)", "correct"),
    ("1,2", "2", "incorrect"),
    ("[1,2]", "(1,2)", "incorrect"),
    # argument order: gold first
    (r"1\le x\le 2", "[1,2]", "correct"),
    ("[1,2]", r"1\le x\le 2", "incorrect"),
    ("1", "2x+z=1", "correct"),
    ("2x+z=1", "1", "incorrect"),
    # equations
    ("x=1", "1", "correct"),
    ("x=1", "y=1", "incorrect"),
    ("3x-y+13=0", "3x+4y+14=0", "incorrect"),
    ("3x-y+13=0", "y=3x+13", "correct"),
    ("x^2+2x+1", "(x+1)^2", "correct"),
    # words
    (r"\text{Evelyn}", "Evelyn", "correct"),
    (r"\text{(B)}", "B", "correct"),
    (r"\text{even}", "odd", "incorrect"),
    # more than a line, and dollars inside
    ("3x", "3\nx", "correct"),
    (r"\{5,6\}", "$5$ and $6$", "correct"),
    # no fragment of an answer that does not parse is taken for it
    (r"\frac{2}{3}", r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", "unparsable"),
    ("5", "}{", "unparsable"),
    ("5", "", "unparsable"),
    ("5", "…", "unparsable"),
]


def test_math(judge: Judge) -> None:
    questions = [Question("p", gold, answer, "math") for gold, answer, _ in MATH]
    found = dict(zip([case[:2] for case in MATH], judge.verdicts(questions), strict=True))
    assert found == {(gold, answer): expected for gold, answer, expected in MATH}


INTEGER = [
    ("70", r"\text{70}", "correct"),
    ("70", r"70^\circ", "correct"),
    ("33", "033", "correct"),
    ("1000", "1,000", "correct"),
    ("70", "70.", "correct"),
    ("033", "33", "correct"),
    ("1000", r"1\,000", "correct"),  # 1·0 to math-verify
    ("1000", "1 000", "correct"),
    ("70", r"\frac{140}{2}", "correct"),
    ("70", "x=70", "correct"),
    ("70", "70.5", "incorrect"),
    ("70", r"\text{71}", "incorrect"),
    ("70", "69, 70", "incorrect"),
    ("70", "…", "unparsable"),
]


def test_integer(judge: Judge) -> None:
    questions = [Question("p", gold, answer, "integer") for gold, answer, _ in INTEGER]
    found = dict(zip([case[:2] for case in INTEGER], judge.verdicts(questions), strict=True))
    assert found == {(gold, answer): expected for gold, answer, expected in INTEGER}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (r"3 \times 5 + 3 \times 7", "correct"),
        ("3*5 + 3*7 = 36", "correct"),
        ("3*(5+7)", "incorrect"),
        ("36", "incorrect"),
        ("x + 1", "unparsable"),
    ],
)
def test_expression(judge: Judge, answer: str, expected: Verdict) -> None:
    assert verdict(judge, '{"numbers": [3, 5, 7, 3], "target": 36}', answer, "expression") == expected


def test_what_hangs_is_a_timeout_and_not_a_wrong_answer(impatient: Judge) -> None:
    answers = ["9^{9^{9^9}}", r"2^{10^{12}}", "x=5", "x=6"]
    found = impatient.verdicts([Question("p", "5", answer, "math") for answer in answers])
    assert found == ["timeout", "timeout", "correct", "incorrect"]


GOLDS = [
    (Problem("0", "", "70", "math"), False),
    (Problem("1", "", r"\frac{1}{2}", "math"), False),
    (Problem("2", "", "3x-y+13=0", "math"), False),
    (Problem("3", "", r"\text{Evelyn}", "math"), False),
    (Problem("4", "", "}{", "math"), True),
    (Problem("5", "", "", "math"), True),
    (Problem("6", "", r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", "math"), True),
    (Problem("7", "", "033", "integer"), False),
    (Problem("8", "", "seventy", "integer"), True),
    (Problem("9", "", r"\frac{140}{2}", "integer"), True),
    (Problem("10", "", '{"numbers": [1, 2], "target": 3}', "expression"), False),
    (Problem("11", "", "3", "expression"), True),
]


def test_a_gold_that_cannot_be_compared_is_an_error(judge: Judge) -> None:
    errors = judge.check_golds([problem for problem, _ in GOLDS])
    assert set(errors) == {problem.id for problem, bad in GOLDS if bad}
    assert all(repr(problem.gold) in errors[problem.id] for problem, bad in GOLDS if bad)


CLASSES = [
    # answers in groups that are equal
    [["7", "07", "x=7", "7.0", r"\text{7}", r"\frac{14}{2}"], ["8"]],
    [["1/2", r"\frac12", "0.5", r"50\%", r"\frac{2}{4}"], ["1/3"], [r"\frac{1}{4}"]],
    [["(1,2)", r"\{1,2\}", "1,2"], ["[1,2]"], ["2"], ["1"]],
    [["…"], ["foo }{", "foo  }{"], ["5"]],
    [["x^2+2x+1", "(x+1)^2"], ["x^2+2x"]],
    [["70", "70=70"], [r"\text{even}", "even"], [r"\text{odd}"]],
]


@pytest.mark.parametrize("groups", CLASSES)
def test_classes(judge: Judge, groups: list[list[str]]) -> None:
    answers = [(index, answer) for index, group in enumerate(groups) for answer in group]
    rng = random.Random(0)
    seen = set()
    for _ in range(3):
        rng.shuffle(answers)
        classes = judge.classes("math", [answer for _, answer in answers])
        pairs = set(zip([index for index, _ in answers], classes, strict=True))
        assert len({index for index, _ in pairs}) == len({number for _, number in pairs}) == len(pairs)
        assert {number for _, number in pairs} == set(range(len(pairs)))
        seen.add(tuple(sorted(zip([answer for _, answer in answers], classes, strict=True))))
    assert len(seen) == 1  # the numbers themselves do not depend on the order


def test_classes_of_integers_are_by_value(judge: Judge) -> None:
    answers = ["70", "070", r"\text{70}", r"70^\circ", r"1\,000", "1,000", "70"]
    assert judge.classes("integer", answers) == [0, 0, 0, 0, 1, 1, 0]


def test_classes_of_expressions_are_by_value_and_numbers(judge: Judge) -> None:
    answers = ["3*5+3*7", "7*3 + 5*3 = 36", "3*(5+7)", "36", "what?", " what? "]
    first, second, third, fourth, fifth, sixth = judge.classes("expression", answers)
    assert first == second
    assert fifth == sixth
    assert len({first, third, fourth, fifth}) == 4


def test_classes_of_many_problems_are_those_of_each(judge: Judge) -> None:
    problems = [("math", [answer for group in groups for answer in group]) for groups in CLASSES]
    expected = [judge.classes("math", answers) for _, answers in problems]
    assert judge.classes_of_many([("math", answers) for _, answers in problems]) == expected


def test_answers_that_hang_cost_one_timeout_each_and_are_classes_of_their_own(impatient: Judge) -> None:
    answers = ["9^{9^{9^9}}", "9^{9^{9^9}} ", *[rf"\frac{{{i}}}{{7}}" for i in range(1, 6)], "x=3"]
    impatient.classes("math", ["x=1", "y=2"])
    start = time.monotonic()
    classes = impatient.classes("math", answers)
    assert time.monotonic() - start < 8  # compared with each of the others, they would take 12 timeouts
    assert classes[0] == classes[1]
    assert len(set(classes)) == 7


def test_equal_questions_are_asked_once_and_answered_in_order(judge: Judge) -> None:
    right, wrong = Question("p", "5", "x=5", "math"), Question("q", "5", "x=6", "math")
    assert judge.verdicts([right, wrong, right, right, wrong]) == [
        "correct", "incorrect", "correct", "correct", "incorrect",
    ]  # fmt: skip
    assert judge.verdicts([]) == []


def test_limits_must_make_sense() -> None:
    with pytest.raises(ValueError, match="timeout 0 s"):
        Judge(timeout=0)
    with pytest.raises(ValueError, match="memory 8 MiB"):
        Judge(memory_mb=8)


def test_the_version_names_math_verify() -> None:
    assert "math-verify-0." in judge_version()

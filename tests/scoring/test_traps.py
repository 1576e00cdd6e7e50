r"""The known scoring traps, each from the text of a completion to its verdict."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

from extrap_eval.problems.problem import AnswerKind, Problem
from extrap_eval.scoring.judge import Judge, Question, Verdict
from extrap_eval.scoring.timeline import answer_index, read_timeline
from extrap_eval.scoring.tokens import TokenTable

BYTES = TokenTable(tuple(bytes([i]) for i in range(256)))


def final_answer(text: str) -> str | None:
    """The answer of a completion whose tokens are its bytes, at its full length."""
    ids = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)
    timeline = read_timeline(ids, BYTES, finished=True, think_close="</think>")
    index = answer_index(timeline, np.array([len(ids)]))[0]
    return timeline.answers[index] if index >= 0 else None


def ask(judge: Judge, gold: str, answer: str, kind: AnswerKind = "math") -> Verdict:
    return judge.verdicts([Question("p", gold, answer, kind)])[0]


EXTRACTION = [
    # 1: boxes close together do not merge
    (r"\boxed{2}. wait, actually \boxed{3}", "3", "3"),
    (r"\boxed{2}, or \boxed{3}", "3", "3"),
    # 2: a number that is not boxed is no answer
    ("let me compute 345", None, "345"),
    # 3: an unclosed box is none, and the one before stands
    (r"\boxed{2}… \boxed{3", "2", "2"),
    # 4: the word alone is not a box
    (r"I should use \boxed notation. Final: \boxed{42}", "42", "42"),
    # 5: nested braces
    (r"so \boxed{\frac{\sqrt{3}}{2}}.", r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt3}{2}"),
]


@pytest.mark.parametrize(("text", "answer", "gold"), EXTRACTION)
def test_1_to_5_extraction(judge: Judge, text: str, answer: str | None, gold: str) -> None:
    assert final_answer(text) == answer
    if answer is not None:
        assert ask(judge, gold, answer) == "correct"


def test_1_what_math_verify_itself_would_extract() -> None:
    """Why it never sees a completion: it makes one set of two boxes."""
    from math_verify import parse

    assert str(parse(r"\boxed{2}. wait, actually \boxed{3}", parsing_timeout=None)[0]) == "{2, 3}"


@pytest.mark.parametrize(
    ("boxed", "gold"), [("033", "33"), ("1,000", "1000"), ("70.", "70"), (r"\text{70}", "70"), (r"70^\circ", "70")]
)
@pytest.mark.parametrize("kind", ["integer", "math"])
def test_6_integers_in_disguise(judge: Judge, boxed: str, gold: str, kind: AnswerKind) -> None:
    answer = final_answer(rf"Thus \boxed{{{boxed}}}.")
    assert answer == boxed
    assert ask(judge, gold, answer, kind) == "correct"
    assert ask(judge, str(int(gold) + 1), answer, kind) == "incorrect"


@pytest.mark.parametrize(("gold", "expected"), [("10", "correct"), ("0.1", "correct"), ("1", "incorrect")])
def test_7_percent_is_as_math_verify_rules(judge: Judge, gold: str, expected: Verdict) -> None:
    assert ask(judge, gold, r"10\%") == expected


@pytest.mark.parametrize(
    ("gold", "answer"), [(r"1\le x\le 2", "[1,2]"), ("1", "2x+z=1"), ("70", "70=70"), ("3,2,1", "(1,2,3)")]
)
def test_8_gold_comes_first(judge: Judge, gold: str, answer: str) -> None:
    assert ask(judge, gold, answer) == "correct"
    assert ask(judge, answer, gold) == "incorrect"


def test_9_bare_equations_stay_whole(judge: Judge) -> None:
    """math-verify's default extraction reads both as 0."""
    assert ask(judge, "3x-y+13=0", "3x+4y+14=0") == "incorrect"
    assert ask(judge, "3x-y+13=0", "6x-2y+26=0") == "correct"
    assert judge.check_golds([Problem("p", "", "3x-y+13=0", "math")]) == {}


def test_10_what_cannot_be_computed_is_a_timeout(impatient: Judge) -> None:
    answers = ["9^{9^{9^9}}", "(10^9)!", r"\frac{10}{2}"]
    found = impatient.verdicts([Question("p", "5", answer, "math") for answer in answers])
    assert found == ["timeout", "timeout", "correct"]


def test_11_limits_hold_in_a_thread_and_touch_no_signal(impatient: Judge) -> None:
    found: list[Verdict] = []
    before = signal.getsignal(signal.SIGALRM)
    thread = threading.Thread(target=lambda: found.append(ask(impatient, "5", "9^{9^{9^9}}")))
    thread.start()
    thread.join(timeout=60)
    assert found == ["timeout"]
    assert signal.getsignal(signal.SIGALRM) is before


def test_12_a_gold_that_does_not_parse_is_reported(judge: Judge) -> None:
    problems = [Problem("good", "", "5", "math"), Problem("bad", "", r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", "math")]
    errors = judge.check_golds(problems)
    assert set(errors) == {"bad"}
    assert "not mathematics" in errors["bad"]

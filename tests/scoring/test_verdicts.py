from __future__ import annotations

import pytest

from extrap_eval.scoring.verdicts import Said, VerdictRule, filled, read_verdict

OWN = VerdictRule(yes=r"Good\.\n\n", no=r"need \d+\.\n\n", pick="first")
NAMED = VerdictRule(yes="{answer} works", no="{answer} fails", pick="first")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"So it is right. \boxed{yes}", "yes"),
        (r"It is \boxed{no}.", "no"),
        (r"First \boxed{no}, but wait: \boxed{ Yes. }", "yes"),
        (r"\boxed{\text{No}}", "no"),
        (r"\fbox {\textbf{yes}}", "yes"),
        (r"\boxed{yesterday} \boxed{nothing}", "unreadable"),
        (r"the answer is yes", "unreadable"),
        (r"\boxed{42}", "unreadable"),
        (r"\boxed{yes", "yes"),  # cut right behind the word
        ("", "unreadable"),
    ],
)
def test_boxed_words(text: str, said: Said) -> None:
    assert read_verdict(text, "42") == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" 303 mod 5: 3 0 3, need 3. Good. 303 mod 7: 3 2, need 2. Good.\n\nSo n = 303.", "yes"),
        (" 303 mod 5: 3 0 3, need 3. Good. 303 mod 7: 3 2, need 4.\n\nWait, … need 3. Good.\n\n", "no"),
        (" 303 mod 5: 3 0", "unreadable"),
    ],
)
def test_a_models_own_words_the_first_counts(text: str, said: Said) -> None:
    assert read_verdict(text, "303", OWN) == said


def test_the_answer_in_an_expression_is_meant_literally() -> None:
    assert read_verdict("Is it 1.5? 125 works. 1.5 fails.", "1.5", NAMED) == "no"
    assert read_verdict(r"(a+b) works", "(a+b)", NAMED) == "yes"
    assert read_verdict("Is it 7? 8 works", "7", NAMED) == "unreadable"


def test_where_both_begin_at_one_place_the_longer_counts() -> None:
    rule = VerdictRule(yes="right", no="right, but not quite")
    assert read_verdict("That is right, but not quite.", "", rule) == "no"
    assert read_verdict("That is right.", "", rule) == "yes"


def test_templates_fill_in_one_pass() -> None:
    values = {"problem": "is {answer} prime? \\frac{1}{2}", "answer": "{problem}"}
    assert filled("{problem} | {answer} | {other} | \\boxed{yes}", values) == (
        "is {answer} prime? \\frac{1}{2} | {problem} | {other} | \\boxed{yes}"
    )

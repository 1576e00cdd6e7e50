from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.problems.countdown import countdown
from extrap_eval.scoring.attempts import (
    boxed_attempts,
    countdown_attempts,
    pattern_attempts,
    phrase_places,
    product_attempts,
)
from extrap_eval.scoring.expressions import parse_gold

GOLD = parse_gold('{"numbers": [3, 5, 7], "target": 36}')

COUNTDOWN = [
    ("Let me try 3*5 + 7 = 22. Too small.", ["22"]),
    ("3 × (5 + 7) = 36, that is it.", ["36!"]),
    (r"$3 \times (5 + 7)$ and $\frac{7}{5} \cdot 3$, then $7 - 5 - 3$", ["36!", "21/5", "-1"]),
    ("(3 + 5) * 7 = 55", ["56"]),  # evaluated, whatever it is said to be
    ("so 3*5+7 = 15+7 = 22", ["22"]),  # one chain is one attempt
    ("First 5 + 7 = 12. Then 12 * 3 = 36.", ["36!"]),  # over two lines
    ("5 + 7 = 12\n\n3 * 12 is\n12 + 3 = 15", ["36!", "15"]),
    ("5 + 7 = 13, and 13 * 3 = 39", ["36!"]),  # a wrong step stands for what it was made of
    ("5 + 7 = 12, 12 * 5", []),  # 5 twice
    ("5 * 7 = 35 and 35 - 3 = 32; 3 + 4 = 7", ["32"]),
    ("3 * 5 = 15", []),  # a number is missing
    ("3 + 5 + 7 + 7, or 3 + 5 + 8", []),
    ("- 3 + 5 - 7\n* 3 * 5 * 7\n1) 3 + 5 + 7\n(2) 7 - 5 + 3", ["1", "105", "15", "5"]),  # items of lists
    ("(maybe 3 + 5 + 7) or (3 * 5 - 7 = 8)", ["15", "8"]),
    ("\\boxed{3*(5+7) = 36}.", ["36!"]),
    ("\\boxed{(5+7)*3}", ["36!"]),
    ("3*5+7.5, x3+5*7, 2^{3*5+7}, 3*5+7x, 3.5+7*3", []),  # parts of something else
    ("3 * 5 + 7^2", []),
    ("3 * 5 / 0 + 7 and 3 5 7", []),
    ("3+5+7=15 3+5+7=15", ["15", "15"]),
    ("é 3−5÷7 é", ["16/7"]),
]


@pytest.mark.parametrize(("text", "expected"), COUNTDOWN)
def test_countdown(text: str, expected: list[str]) -> None:
    data = text.encode()
    found = countdown_attempts(data, GOLD)
    assert [each.key + "!" * bool(each.correct) for each in found] == expected
    ends = [each.end for each in found]
    assert ends == sorted(ends)
    for each in found:
        assert 0 <= each.start < each.end <= len(data)
        assert data[each.end - 1 : each.end] in b"0123456789)}"


def test_a_chain_of_steps_may_be_long() -> None:
    gold = parse_gold(json.dumps({"numbers": [2, 3, 4, 50], "target": 296}))
    text = "50 * 3 = 150. 150 - 2 = 148. 148 * 2 = 296? No. 50*3 = 150, 150 - 2 = 148, 148 * 4 = 592, 148 + 4 = 152."
    assert [each.key for each in countdown_attempts(text.encode(), gold)] == ["592", "152"]


def test_solutions_of_the_generator_are_right() -> None:
    problem = countdown(problems=1, numbers=[3])[0]
    given = json.loads(problem.gold)
    a, b, c = given["numbers"]
    forms = [f"{x} {p} {y} {q} {z}" for x, y, z in ((a, b, c), (b, c, a), (c, a, b)) for p in "+-*" for q in "+-*"]
    forms += [f"({x} {p} {y}) {q} {z}" for x, y, z in ((a, b, c), (b, c, a), (c, a, b)) for p in "+-" for q in "*/"]
    found = countdown_attempts("\n".join(forms).encode(), parse_gold(problem.gold))
    assert len(found) == len(forms)
    assert [each.correct for each in found] == [eval(form) == given["target"] for form in forms]


@given(st.binary(max_size=60) | st.text("357+-*/()={} .,\n\\boxedfrac^x", max_size=60).map(str.encode))
def test_any_bytes_are_read(data: bytes) -> None:
    for found in (countdown_attempts(data, GOLD), product_attempts(data, 35), boxed_attempts(data)):
        assert all(0 <= each.start <= each.end <= len(data) for each in found)
    # What comes later does not change what was tried before, unless it touches it.
    later = countdown_attempts(data + b"\n\nNext.", GOLD)
    assert later == countdown_attempts(data, GOLD)


@pytest.mark.parametrize("loop", ["(", "3+5=", "12*34=", "(3*5+7)", "3*5+7 ", "1,234,", "\\frac{3}{5}", "{3}=="])
def test_loops_cost_no_more_than_other_text(loop: str) -> None:
    """100 kB of anything a model may repeat is read at once (this test would run for hours otherwise)."""
    data = (loop * (100_000 // len(loop))).encode()
    product_attempts(data, 408)
    found = countdown_attempts(data, GOLD)
    assert {each.key for each in found} <= {"22"}
    assert (loop.strip() == "3*5+7") == (len(found) > 10_000)


PRODUCTS = [
    ("12 × 34 = 398. No: 12*34 = 408.", ["398", "408!"]),
    ("12 * 34 = 12 * 30 + 12 * 4 = 360 + 48 = 408", ["408!"]),
    ("12 * (30 + 4) = 408 and 360 + 48 = 409", ["408!", "409"]),  # both left sides equal the product
    ("360 + 46 = 406", []),  # a sum of wrong parts is no attempt
    ("12 * 34 is 408", []),
    ("\\boxed{0406} then \\boxed{408.} then \\boxed{x}", ["406", "408!"]),
    ("12 * 34 = 4.08", []),
]


@pytest.mark.parametrize(("text", "expected"), PRODUCTS)
def test_products(text: str, expected: list[str]) -> None:
    assert [each.key + "!" * bool(each.correct) for each in product_attempts(text.encode(), 408)] == expected


def test_thousands_and_commas() -> None:
    text = "12345 × 67890 = 838,102,050. 12,345*67,890 = 838102051, 3"
    found = product_attempts(text.encode(), 838102050)
    assert [(each.key, each.correct) for each in found] == [("838102050", True), ("838102051", False)]


def test_pattern() -> None:
    data = "é 1 + 2 = 3, mod 7: 3\n3 + 2 = 5, mod 7: 5, need 5. Good. 5 mod 9".encode()
    found = pattern_attempts(data, r"= (\d+), mod \d")
    assert [(each.key, each.correct) for each in found] == [("3", None), ("5", None)]
    assert [data[each.start : each.end] for each in found] == [b"3", b"5"]
    assert pattern_attempts(b"a b", "a(x)?") == []


def test_boxes() -> None:
    found = boxed_attempts(b"\\boxed{1} \\boxed{} \\boxed{ 2 }")
    assert [each.key for each in found] == ["1", "2"]


def test_phrases_count_once_in_any_case() -> None:
    data = b"Let me double-check. LET ME CHECK: double check it, or double-check"
    phrases = ["double-check", "let me check", "let me double-check", "double check"]
    assert phrase_places(data, phrases, 0, len(data)) == [0, 21, 35, 55]
    assert phrase_places(data, phrases, 1, 60) == [7, 21, 35]
    with pytest.raises(ValueError, match="none given"):
        phrase_places(data, [], 0, 1)

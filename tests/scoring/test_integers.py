r"""Plain integers: the fast path must say what math-verify says."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.scoring import equivalence
from extrap_eval.scoring.integers import plain_integer, stated_integer

PLAIN = [
    ("70", 70),
    ("0", 0),
    ("033", 33),
    ("-5", -5),
    ("+4", 4),
    ("1,000", 1000),
    ("-12,345,678", -12345678),
    (" 7 ", 7),
]
NOT_PLAIN = [
    "",
    "7 0",
    "70.",
    "7.0",
    "- 5",
    "--5",
    "+1,000",
    "1,00",
    "01,000",
    "1,0000",
    "1, 000",
    "1000,000",
    "1e3",
    "0x10",
    "٣",
    "１",
    "5%",
    r"\text{5}",
    "9" * 31,
]


@pytest.mark.parametrize(("answer", "value"), PLAIN)
def test_plain(answer: str, value: int) -> None:
    assert plain_integer(answer) == value
    assert stated_integer(answer) == value


@pytest.mark.parametrize("answer", NOT_PLAIN)
def test_not_plain(answer: str) -> None:
    assert plain_integer(answer) is None


STATED = [
    ("70.", 70),
    ("70.0", 70),
    ("70.00", 70),
    (r"\text{70}", 70),
    (r"\textbf{ 70 }", 70),
    (r"\mathbf{70}", 70),
    (r"70^\circ", 70),
    (r"70^{\circ}", 70),
    (r"70\degree", 70),
    ("70°", 70),
    (r"70^\circ.", 70),
    ("$70$", 70),
    ("${70}$", 70),
    (r"1{,}000", 1000),
    (r"1\,000", 1000),
    ("1 000", 1000),
    ("12 345 678", 12345678),
    (r"\,70\,", 70),
    ("+1,000", 1000),
]
NOT_STATED = [
    "",
    "70.5",
    "7 0",
    "70 or 71",
    "x = 70",
    r"\frac{140}{2}",
    "70%",
    "1,00",
    r"\text{70 cm}",
    "70!",
    "70..",
    "7.0.0",
]


@pytest.mark.parametrize(("answer", "value"), STATED)
def test_stated(answer: str, value: int) -> None:
    assert stated_integer(answer) == value


@pytest.mark.parametrize("answer", NOT_STATED)
def test_not_stated(answer: str) -> None:
    assert stated_integer(answer) is None


@st.composite
def spelled(draw: st.DrawFn, value: int) -> str:
    """One of the plain spellings of a number."""
    sign, digits = ("-", str(-value)) if value < 0 else ("", str(value))
    grouped = sign + f"{abs(value):,}"
    zeros = sign + "0" * draw(st.integers(0, 3)) + digits
    return draw(st.sampled_from([sign + digits, grouped, zeros, zeros if sign else "+" + digits]))


VALUES = st.one_of(st.integers(-12, 12), st.integers(-2000, 2000), st.integers(-(10**25), 10**25))


@settings(max_examples=250, deadline=None)
@given(st.data(), VALUES, VALUES, st.booleans())
def test_the_fast_path_is_what_math_verify_says(data: st.DataObject, a: int, b: int, same: bool) -> None:
    logging.disable(logging.CRITICAL)
    gold, answer = data.draw(spelled(a)), data.draw(spelled(a if same else b))
    assert (plain_integer(gold), plain_integer(answer)) == (a, a if same else b)
    verdict = "correct" if plain_integer(gold) == plain_integer(answer) else "incorrect"
    assert equivalence.judge(gold, answer) == verdict
    assert equivalence.same(gold, answer) == (verdict == "correct")
    logging.disable(logging.NOTSET)

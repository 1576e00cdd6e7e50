"""Reference answers as datasets hold them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.problems.golds import gold_text, integer_text, last_boxed, without_math_marks


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("033", "integer", "33"),
        ("000", "integer", "0"),
        (" 33 ", "integer", "33"),
        ("+33", "integer", "33"),
        ("-0", "integer", "0"),
        ("-984", "integer", "-984"),
        ("27.", "integer", "27"),
        ("27.00", "integer", "27"),
        ("1,000", "integer", "1000"),
        ("12,345,678", "integer", "12345678"),
        ("$33$", "integer", "33"),
        (27, "integer", "27"),
        (27.0, "integer", "27"),
        (-1.0, "integer", "-1"),
        (27.0, "math", "27"),
        (0.5, "math", "0.5"),
        (["2"], "math", "2"),
        ([["2"]], "math", "2"),
        ([27.0], "integer", "27"),
        (r"$\frac{1}{2 n+2}$", "math", r"\frac{1}{2 n+2}"),
        (r"\frac{1}{2}", "math", r"\frac{1}{2}"),
        ("033", "math", "033"),
        ("$1 + 2$", "expression", "$1 + 2$"),
        ('{"numbers": [1], "target": 1}', "expression", '{"numbers": [1], "target": 1}'),
    ],
)
def test_gold_text(value: Any, kind: Any, expected: str) -> None:
    assert gold_text(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("", "math", "is empty"),
        ("  ", "integer", "is empty"),
        ([], "math", "0 answers where one is needed"),
        (["1", "2"], "math", "2 answers where one is needed"),
        (None, "math", "neither text nor a number"),
        (True, "integer", "neither text nor a number"),
        ({"a": 1}, "math", "neither text nor a number"),
        (float("nan"), "math", "not a finite number"),
        ("1/2", "integer", "'1/2' is not an integer"),
        ("27.5", "integer", "is not an integer"),
        (27.5, "integer", "is not an integer"),
        ("1,00", "integer", "is not an integer"),
        ("12 cm", "integer", "is not an integer"),
        ("३", "integer", "is not an integer"),  # a Devanagari digit, which int() would take
    ],
)
def test_gold_text_refuses(value: Any, kind: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        gold_text(value, kind)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$x$", "x"),
        ("$$x$$", "x"),
        ("$x$.", "x"),
        ("$0.5$", "0.5"),
        (r"\(x\)", "x"),
        (r"\[ x \]", "x"),
        (r"$69$,$84$", "69,84"),
        (r"$f(n)=n$, $g(n)=1$", "f(n)=n, g(n)=1"),
        ("$(1,8,19), (2,7,13)$", "(1,8,19), (2,7,13)"),
        (r"\$32{,}348", r"\$32{,}348"),  # money, not mathematics
        (r"$\$5$", r"\$5"),
        (r"$5\$", r"$5\$"),
        (r"\(\frac{1}{2}\)", r"\frac{1}{2}"),
        (r"\[\left( 1, 2 \right)\]", r"\left( 1, 2 \right)"),
        ("$5$ cm", "$5$ cm"),
        ("no $n$ exists", "no $n$ exists"),
        ("$1$ and $2$", "$1$ and $2$"),
        ("$", "$"),
        ("$$", "$$"),
        (r"\(a\) or \(b\)", r"\(a\) or \(b\)"),
        ("x", "x"),
    ],
)
def test_without_math_marks(text: str, expected: str) -> None:
    assert without_math_marks(text) == expected


@given(st.integers(), st.integers(0, 5), st.integers(0, 3), st.booleans())
def test_every_way_to_write_an_integer_is_that_integer(number: int, zeros: int, decimals: int, commas: bool) -> None:
    digits = f"{abs(number):,}" if commas else "0" * zeros + str(abs(number))
    written = ("-" if number < 0 else "") + digits + ("." + "0" * (decimals - 1) if decimals else "")
    assert integer_text(written) == str(number)


@given(st.text(alphabet="0123456789.,+- /", max_size=8))
def test_integer_text_gives_an_integer_or_refuses(text: str) -> None:
    try:
        result = integer_text(text)
    except ValueError:
        return
    assert result == str(int(result))
    assert int(result) == float(text.replace(",", ""))


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        (r"so $\boxed{1.6} \mathrm{~cm}$", "1.6"),
        (r"\boxed{1} and then \boxed{ 2 }", "2"),
        (r"\boxed{\frac{\sqrt{3}}{2}}", r"\frac{\sqrt{3}}{2}"),
        (r"\boxed{1} \boxed{2", "1"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {3} \fbox{4}", "4"),
        (r"\boxed notation", None),
        ("", None),
    ],
)
def test_last_boxed(solution: str, expected: str | None) -> None:
    assert last_boxed(solution) == expected


@given(st.text(alphabet="\\{}ab ", max_size=12), st.text(alphabet="\\{}ab", max_size=6))
def test_last_boxed_equals_trying_every_end(before: str, inside: str) -> None:
    solution = before + r"\boxed{" + inside + "}"

    def balanced(text: str) -> bool:
        bare = text.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        depths = [bare[: i + 1].count("{") - bare[: i + 1].count("}") for i in range(len(bare))]
        return all(depth >= 0 for depth in depths) and bare.count("{") == bare.count("}")

    start = solution.rindex(r"\boxed{") + len(r"\boxed{")
    ends = [end for end in range(start, len(solution)) if solution[end] == "}"]
    whole = [solution[start:end] for end in ends if balanced(solution[start:end]) and _bare_brace(solution, end)]
    if whole:
        assert last_boxed(solution) == whole[0].strip()


def _bare_brace(text: str, place: int) -> bool:
    """Whether an even number of backslashes stands before ``place``."""
    return (place - len(text[:place].rstrip("\\"))) % 2 == 0

"""Text as browsers count it, against decoding every prefix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.report.text import shown


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize(
    ("data", "text", "units"),
    [
        (b"", "", [0]),
        (b"ab", "ab", [0, 1, 2]),
        ("é".encode(), "é", [0, 0, 1]),
        ("😀".encode(), "😀", [0, 0, 0, 0, 2]),  # two code units, shown when the last byte is there
        (b"a\xffb", "a\ufffdb", [0, 1, 2, 3]),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd", [0, 1, 2, 3]),  # a surrogate, written as if it were a character
        (b"x\xf0\x9f", "x\ufffd\ufffd", [0, 1, 2, 3]),  # cut within a character
        (b"\x00</script>", "\x00</script>", list(range(11))),
    ],
)
def test_known_bytes(data: bytes, text: str, units: list[int]) -> None:
    found, at = shown(data, np.arange(len(data) + 1))
    assert (found, at.tolist()) == (text, units)


@given(st.text(max_size=40))
def test_a_prefix_shows_the_characters_that_are_complete_in_it(text: str) -> None:
    text = text.encode("utf-8", errors="replace").decode()
    data = text.encode()
    found, units = shown(data, np.arange(len(data) + 1))
    assert found == text
    for size in range(len(data) + 1):
        complete = data[:size].decode("utf-8", errors="ignore")
        assert units[size] == utf16(complete)


@given(st.binary(max_size=60))
def test_any_bytes_have_a_text_and_ascending_positions(data: bytes) -> None:
    text, units = shown(data, np.arange(len(data) + 1))
    text.encode("utf-8")  # no surrogates
    assert (units[0], units[-1]) == (0, utf16(text))
    assert (np.diff(units) >= 0).all()
    valid = data.decode("utf-8", errors="ignore")
    assert text.replace("\ufffd", "") == valid.replace("\ufffd", "")

r"""``find_boxes`` against a table of cases, a slow reference, and itself on every prefix."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.scoring.boxes import Box, find_boxes
from tests.scoring import reference

CASES = [
    ("nothing here", []),
    (r"\boxed{42}", ["42"]),
    (r"\fbox{42}", ["42"]),
    ("\\boxed \n {42}", ["42"]),
    (r"\boxed{ 42 }", ["42"]),
    (r"\boxed{}", [""]),
    (r"\boxed{2}. wait, actually \boxed{3}", ["2", "3"]),
    (r"\boxed{2}\boxed{3}", ["2", "3"]),
    (r"\boxed{2} … \boxed{3", ["2"]),
    (r"\boxed{3 … \boxed{4}", ["4"]),
    (r"\boxed{3 … \boxed{4} }", ["4"]),
    (r"\boxed{\boxed{1} + \boxed{2}} then \boxed{5}", ["1", "2", "5"]),
    (r"\boxed{a \boxed{} b}", [""]),
    (r"\boxed{\frac{\sqrt{3}}{2}}", [r"\frac{\sqrt{3}}{2}"]),
    (r"\boxed{\{1,2\}}", [r"\{1,2\}"]),
    (r"\boxed{\{1,2}", [r"\{1,2"]),
    (r"\boxed{a\\} }", [r"a\\"]),
    (r"\boxed{a\\\} }", [r"a\\\}"]),
    (r"I should use \boxed notation. Final: \boxed{42}", ["42"]),
    (r"\boxed 5", []),
    (r"\boxed\{5\}", []),
    (r"\boxeda{5}", []),
    (r"\mybox{5} boxed{6}", []),
    ("\\boxed{größe — 数}", ["größe — 数"]),
    (r"\\boxed{7}", ["7"]),
    (r"} } \boxed{7} } {", ["7"]),
]


@pytest.mark.parametrize(("text", "answers"), CASES)
def test_answers(text: str, answers: list[str]) -> None:
    assert [box.answer for box in find_boxes(text.encode())] == answers


def test_offsets_are_in_bytes_from_the_backslash_to_after_the_brace() -> None:
    data = "é \\boxed{ü} x".encode()
    assert find_boxes(data) == [Box(start=3, end=13, answer="ü")]
    assert data[3:13] == "\\boxed{ü}".encode()


def test_a_cut_character_does_not_raise() -> None:
    data = "\\boxed{5} ü".encode()[:-1]
    assert [box.answer for box in find_boxes(data)] == ["5"]


PIECES = ["\\boxed{", "\\fbox{", "\\boxed", "\\boxed {", "{", "}", "}", "\\{", "\\}", "\\", "\\\\", "4", " x ", "\n"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_as_the_slow_reference_says(text: str) -> None:
    found = [(box.start, box.end, box.answer) for box in find_boxes(text.encode())]
    assert found == reference.boxes(text)
    last = reference.last_box(text)
    assert (found[-1][2] if found else None) == last


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, "ü"]), max_size=12).map("".join))
def test_a_prefix_has_exactly_the_boxes_that_end_in_it(text: str) -> None:
    data = text.encode()
    boxes = find_boxes(data)
    for cut in range(len(data) + 1):
        assert find_boxes(data[:cut]) == [box for box in boxes if box.end <= cut]


def test_many_unclosed_boxes_take_linear_time() -> None:
    # Matching every opener on its own would look at 2·10^10 braces here.
    data = b"\\boxed{" * 200_000
    assert find_boxes(data) == []
    assert len(find_boxes(data + b"}" * 200_000)) == 1

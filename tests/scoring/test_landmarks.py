"""The first token in which a box or a marker may begin: never missed, seldom false."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.scoring.boxes import BOX_COMMANDS
from extrap_eval.scoring.landmarks import Landmarks
from extrap_eval.scoring.tokens import TokenTable

PATTERNS = [*BOX_COMMANDS, b"</think>"]
PIECES = [
    b"\\boxed",
    b"\\",
    b"b",
    b"o",
    b"bo",
    b"xed",
    b"xed{",
    b"f",
    b"\\fb",
    b"ox",
    b"a\\b",
    b"boxed",
    b"\\beta",
    b"",
]
PIECES += [b"</think>", b"<", b"</", b"/think>", b"</thi", b"nk>", b"<think>", b"x"]
TABLE = TokenTable(tuple(PIECES))


def truth(ids: list[int], table: TokenTable, patterns: list[bytes]) -> int:
    """The first token that holds the first byte of a pattern."""
    text = table.text_bytes(ids)
    at = min((text.index(pattern) for pattern in patterns if pattern in text), default=None)
    return len(ids) if at is None else int(np.searchsorted(table.ends(ids), at, side="right"))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(0, len(PIECES)), max_size=12))
def test_nothing_is_missed(ids: list[int]) -> None:
    assert Landmarks(TABLE, PATTERNS).first(TABLE.known(ids)) <= truth(ids, TABLE, PATTERNS)


@pytest.mark.parametrize(
    ("pieces", "first"),
    [
        ([], 0),
        ([b"x", b"\\boxed"], 1),
        ([b"x", b"\\", b"boxed"], 1),
        ([b"x", b"\\", b"b", b"o", b"xed"], 1),
        ([b"x", b"\\", b"", b"boxed"], 1),
        ([b"x", b"\\beta", b"\\", b"x"], 4),
        ([b"x", b"x", b"\\"], 3),
        ([b"\\fb", b"ox"], 0),
        ([b"x", b"</", b"x"], 3),
        ([b"x", b"<think>", b"</", b"/think>"], 4),
        ([b"x", b"</thi", b"nk>"], 1),
    ],
)
def test_cases(pieces: list[bytes], first: int) -> None:
    ids = [PIECES.index(piece) for piece in pieces]
    assert Landmarks(TABLE, PATTERNS).first(TABLE.known(ids)) == first


def test_real_completions_have_no_false_ones(qwen_table: TokenTable, saturn: list[dict[str, Any]]) -> None:
    landmarks = Landmarks(qwen_table, list(BOX_COMMANDS))
    for row in saturn:
        ids = row["ids"].tolist()
        assert landmarks.first(qwen_table.known(ids)) == truth(ids, qwen_table, list(BOX_COMMANDS))


def test_long_patterns_are_found_by_their_beginning() -> None:
    table = TokenTable((b"<|end_of_thought|>", b"x", b"<|end_of_", b"thought|>"))
    landmarks = Landmarks(table, [b"<|end_of_thought|>"])
    assert landmarks.first(table.known([1, 2, 3])) == 1
    assert landmarks.first(table.known([1, 0])) == 1


@pytest.mark.parametrize("patterns", [[b""], [b"a"] * 5])
def test_patterns_must_be_few_and_not_empty(patterns: list[bytes]) -> None:
    with pytest.raises(ValueError, match="patterns"):
        Landmarks(TABLE, patterns)

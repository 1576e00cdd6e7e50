r"""What a completion is made of at every budget, against reading every prefix anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.scoring.loops import MIN_REPETITIONS, MIN_TOKENS
from extrap_eval.scoring.quality import Quality, quality_of_bytes, read_quality, repeated_trigrams
from extrap_eval.scoring.tokens import TokenTable
from tests.scoring import reference

BYTES = TokenTable(tuple(bytes([value]) for value in range(256)))


def repeated(items: Sequence[object]) -> int:
    counts = Counter(zip(items, items[1:], items[2:], strict=False))
    return sum(count for count in counts.values() if count > 1)


def of_text(text: str, budgets: Sequence[int]) -> Quality:
    """``text``, a token per byte."""
    return read_quality(np.frombuffer(text.encode(), np.uint8).astype(np.int32), BYTES, np.array(budgets))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], 0),
        ([1, 2], 0),
        ([1, 2, 3], 0),
        ([1, 1, 1], 0),
        ([1, 1, 1, 1], 2),  # the same 3-gram twice
        ([1, 1, 1, 1, 1], 3),
        ([1, 2, 3, 1, 2, 3], 2),  # 123 231 312 123
        ([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], 3),
        ([1, 2, 3, 1, 2, 3, 1, 2, 3], 7),
        ([5, 2**40, -7, 5, 2**40, -7], 2),  # ids that no key holds as they are
    ],
)
def test_repeated_trigrams_of_known_sequences(items: list[int], expected: int) -> None:
    assert repeated(items) == expected
    assert repeated_trigrams(np.array(items, np.int64), np.array([len(items)])).tolist() == [expected]


@given(
    st.lists(st.integers(0, 3), max_size=80),
    st.lists(st.integers(0, 90), min_size=1, max_size=6),
    st.sampled_from([0, 1 << 21, 1 << 40]),
)
def test_repeated_trigrams_of_every_prefix(items: list[int], lengths: list[int], shift: int) -> None:
    ids = np.array(items, np.int64) + shift
    found = repeated_trigrams(ids, np.array(lengths))
    assert found.tolist() == [repeated(items[:length]) for length in lengths]


def test_very_many_different_tokens() -> None:
    ids = np.tile(np.arange(70_000), 2)
    found = repeated_trigrams(ids, np.array([70_000, 70_003, 140_000]))
    assert found.tolist() == [0, 2, 2 * 69_998]


def test_too_many_different_tokens() -> None:
    with pytest.raises(ValueError, match="more than 2097152 different tokens in one completion"):
        repeated_trigrams(np.arange((1 << 21) + 1), np.array([3]))


def test_words_end_where_their_last_byte_does() -> None:
    found = of_text("to be or not to be or not", [1, 2, 5, 6, 24, 25, 100])
    assert found.words.tolist() == [0, 1, 2, 2, 7, 8, 8]
    # to-be-or and be-or-not twice, or-not-to and not-to-be once
    assert found.repeated_words.tolist() == [0, 0, 0, 0, 2, 4, 4]


def test_boxes_count_from_their_brace_on_closed_or_not() -> None:
    found = of_text(r"\boxed{7} \boxed {1} \fbox{2} \boxed7 \boxed{\boxed{", [0])
    assert found.box_ends.tolist() == [7, 45, 52]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("plain, é, π, “quotes”, 😀", -1),
        ("\u4dff\ua000\u3042", -1),  # neighbours of the range, and kana
        ("\u4e00", 3),
        ("ab\u9fff", 5),
        ("é漢字", 5),
    ],
)
def test_language_mixing_is_seen_with_the_last_byte(text: str, tokens: int) -> None:
    assert of_text(text, [0]).mixed_at == tokens


def test_language_mixing_in_bytes_that_are_no_text() -> None:
    for data, tokens in ((b"\xe6\xbc", -1), (b"\xe6\xbc\xe6\xbc\xa2", 5), (b"\xf0\xe6\xbc\xa2", 4), (b"\xe6a\xbc", -1)):
        ids = np.frombuffer(data, np.uint8).astype(np.int32)
        assert read_quality(ids, BYTES, np.array([9])).mixed_at == tokens
        mixed = any("\u4e00" <= character <= "\u9fff" for character in data.decode(errors="replace"))
        assert (tokens >= 0) == mixed


def test_loops_of_every_prefix() -> None:
    ids = np.concatenate([np.arange(50), 90 + np.arange(120) % 5, [7], np.arange(60, 90)])
    found = read_quality(ids.astype(np.int32), BYTES, np.array([50, 145, 146, 170, 171, 1000]))
    assert found.loop_onset.tolist() == [-1, -1, 50, 50, -1, -1]
    assert found.loop_period.tolist() == [-1, -1, 5, 5, -1, -1]


def test_nothing() -> None:
    found = quality_of_bytes(np.zeros(0, np.int32), b"", np.zeros(0, np.int64), np.array([5]))
    assert (found.words.tolist(), found.repeated_tokens.tolist(), found.loop_onset.tolist()) == ([0], [0], [-1])
    assert (len(found.box_ends), found.mixed_at) == (0, -1)


PIECES = ["a", "b ", " ", "\n\n", r"\boxed{", "\\", "boxed", "{7}", "漢", "字 ", "é", "wait", "wait "]


@st.composite
def completions(draw: st.DrawFn) -> list[str]:
    pieces = draw(st.lists(st.sampled_from(PIECES), max_size=60))
    block = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4))
    return pieces + block * draw(st.sampled_from([0, 3, 40])) + draw(st.lists(st.sampled_from(PIECES), max_size=5))


@given(completions(), st.lists(st.integers(0, 250), min_size=1, max_size=5))
def test_as_reading_every_prefix_anew_says(pieces: list[str], budgets: list[int]) -> None:
    table = TokenTable(tuple(piece.encode() for piece in PIECES))
    ids = np.array([PIECES.index(piece) for piece in pieces], np.int32)
    found = read_quality(ids, table, np.array(budgets))
    text = "".join(pieces)
    for place, budget in enumerate(budgets):
        prefix = "".join(pieces[:budget])
        words = prefix.split()
        if prefix[-1:].strip() and text[len(prefix) :][:1].strip():
            words = words[:-1]  # the cut goes through it
        assert found.words[place] == len(words)
        assert found.repeated_words[place] == repeated(words)
        assert found.repeated_tokens[place] == repeated(pieces[:budget])
        assert (found.box_ends <= budget).sum() == prefix.count(r"\boxed{")
        assert (0 <= found.mixed_at <= budget) == any("\u4e00" <= character <= "\u9fff" for character in prefix)
        loop = reference.final_loop(ids[:budget].tolist(), MIN_REPETITIONS, MIN_TOKENS)
        expected = (-1, -1) if loop is None else loop
        assert (found.loop_onset[place], found.loop_period[place]) == expected
    ordered = read_quality(ids, table, np.array(sorted(budgets)))
    assert all(later >= earlier for earlier, later in pairwise(ordered.repeated_words.tolist()))

"""Episodes in tokens against a plain reading of the text."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.cards.schema import DEFAULT_PHRASES, Think
from extrap_eval.scoring.episodes import Thought, find_thought, group_ends, line_breaks_due, split_episodes
from extrap_eval.scoring.tokens import TokenTable

THINK = Think(open="<think>", close="</think>", opened_by_prompt=False)
END = "<end>"
# Tokens of every awkward kind: line breaks alone, in pairs, after and before text; a marker whole and in parts.
PIECES = [
    "<think>", "</think>", END, "\n", "\n\n", "\n\n\n", ".\n\n", ".\n", "\n\nWait", "Wait", "But", " wait", "Altern",
    "atively", " a", " b", "é", "", "</", "think", ">", ">\n", "<", "But hold on",
]  # fmt: skip
TABLE = TokenTable(tuple(piece.encode() for piece in PIECES))
ID = {piece: i for i, piece in enumerate(PIECES)}


def ids_of(*pieces: str) -> np.ndarray:
    return np.array([ID[piece] for piece in pieces], dtype=np.int32)


def naive_episodes(text: str, phrases: tuple[str, ...], min_steps: int, cap: int | None) -> list[list[str]]:
    """Episodes of a text as lists of steps."""
    if not text:
        return []
    episodes: list[list[str]] = [[]]
    for step in text.split("\n\n"):
        opens = any(step.startswith(phrase) for phrase in phrases)
        if opens and len(episodes[-1]) >= min_steps and (cap is None or len(episodes) < cap):
            episodes.append([])
        episodes[-1].append(step)
    return episodes


@given(
    st.lists(st.sampled_from(PIECES[3:]), max_size=40),
    st.integers(1, 4),
    st.none() | st.integers(1, 5),
    st.integers(0, 3),
)
def test_episodes_are_those_of_the_text(pieces: list[str], min_steps: int, cap: int | None, before: int) -> None:
    ids = ids_of(*["<think>"] * before, *pieces)
    thought = Thought(before, len(ids), closed=False)
    phrases = ("Wait", "But wait", "Alternatively", "But hold on", "é")
    found = split_episodes(ids, TABLE, thought, phrases=phrases, min_steps=min_steps, cap=cap)
    text = "".join(pieces)
    expected = naive_episodes(text, phrases, min_steps, cap)
    assert found.steps.tolist() == [len(steps) for steps in expected]
    assert len(found) == len(expected)

    lengths = [0, *accumulate(len(piece) for piece in pieces)]

    def tokens(characters: int) -> int:
        return before + next(count for count, length in enumerate(lengths) if length >= characters)

    end, step_ends, episode_ends = -2, [], []
    for steps in expected:
        for step in steps:
            end += 2 + len(step)
            step_ends.append(tokens(end))
        episode_ends.append(tokens(end))
    if expected:
        assert end == len(text)
        step_ends[-1] = episode_ends[-1] = len(ids)
    assert found.step_ends.tolist() == step_ends
    assert found.ends.tolist() == episode_ends
    assert found.starts.tolist() == [before, *episode_ends[:-1]][: len(episode_ends)]
    for kind in (found.ends, found.step_ends, found.first_steps, found.starts):
        assert kind.dtype == np.int32


@given(st.lists(st.sampled_from(PIECES), max_size=20), st.booleans())
def test_a_prefix_and_a_text_are_joined_by_one_blank_line(pieces: list[str], is_prefix: bool) -> None:
    ids = ids_of(*pieces, *(["Wait"] if is_prefix else []))
    due = line_breaks_due(ids, len(pieces), TABLE)
    joined = "".join(pieces) + "\n" * due
    assert joined.endswith("\n\n")
    assert due == 0 or not joined[:-due].endswith("\n\n")
    assert due <= 2


@pytest.mark.parametrize(
    ("pieces", "by_prompt", "expected", "inside"),
    [
        (["<think>", "\n", " a", "\n", "</think>", "\n\n", " b", END], False, Thought(2, 4, True), " a\n"),
        (["<think>", "\n\n", " a", "</think>"], False, Thought(2, 3, True), " a"),
        (["<think>", "</think>", " b"], False, Thought(1, 1, True), ""),
        (["<", "think", ">\n", " a", "</", "think", ">"], False, Thought(3, 4, True), " a"),
        (["<think>", "\n", " a", " b"], False, Thought(2, 4, False), " a b"),
        (["<think>", "\n", " a", END], False, Thought(2, 3, False), " a"),
        (["<think>"], False, Thought(1, 1, False), ""),
        (["<think>", "\n", " a", "", "</think>"], False, Thought(2, 4, True), " a"),
        ([" a", "</think>", " b"], True, Thought(0, 1, True), " a"),
        ([" a", " b"], True, Thought(0, 2, False), " a b"),
        (["</think>"], True, Thought(0, 0, True), ""),
        ([END], True, Thought(0, 0, False), ""),
        ([], True, Thought(0, 0, False), ""),
        # The model leaves the opening marker out, or writes it only after the closing one.
        ([" a", "</think>", " b"], False, Thought(0, 1, True, opened=False), " a"),
        ([" a", "</think>", " b", "<think>", "</think>"], False, Thought(0, 1, True, opened=False), " a"),
        ([" a", " b", END], False, Thought(0, 0, False, opened=False), ""),
        ([], False, Thought(0, 0, False, opened=False), ""),
        # Only the first closing marker ends it; a preface stands before it.
        (["<think>", " a", "</think>", "</think>"], False, Thought(1, 2, True), " a"),
        ([" a", "<think>", " b", "</think>"], False, Thought(2, 3, True), " b"),
    ],
)
def test_thought(pieces: list[str], by_prompt: bool, expected: Thought, inside: str) -> None:
    ids = ids_of(*pieces)
    found = find_thought(ids, TABLE, THINK, by_prompt, end_ids={ID[END]})
    assert found == expected
    assert TABLE.decode(ids[found.start : found.end]) == inside


def test_a_model_without_markers_thinks_all_the_time() -> None:
    ids = ids_of("<think>", " a", END, END)
    assert find_thought(ids, TABLE, None, False, end_ids=(ID[END],)) == Thought(0, 2, False)
    assert find_thought(ids, TABLE, None, False) == Thought(0, 4, False)


def test_no_prefix_holds_a_part_of_the_closing_marker() -> None:
    table = TokenTable((b"a", b"b.\n</", b"think>"))
    assert find_thought(np.array([0, 1, 2]), table, THINK, True) == Thought(0, 1, True)


def test_a_token_that_straddles_the_border_belongs_to_the_prefix() -> None:
    ids = ids_of(" a", "\n\n", " b", "\n\n", " a", ".\n\n", "Wait", " b")
    found = split_episodes(ids, TABLE, Thought(0, 8, False), phrases=("Wait",))
    assert found.ends.tolist() == [6, 8]
    assert [line_breaks_due(ids, int(end), TABLE) for end in found.ends] == [0, 2]
    ids = ids_of(" a", "\n\n", " b", "\n\n", " a", ".\n", "\n", "Wait", " b")
    found = split_episodes(ids, TABLE, Thought(0, 9, False), phrases=("Wait",))
    assert found.ends.tolist() == [6, 9]
    assert line_breaks_due(ids, 6, TABLE) == 1


def test_default_phrases_open_episodes() -> None:
    steps = ["1", "2", "3"]
    for phrase in DEFAULT_PHRASES:
        steps += [f"{phrase} and so on", "2", "3"]
    steps += [f"{DEFAULT_PHRASES[0].lower()} is no opening"]
    data = "\n\n".join(steps)
    table = TokenTable(tuple(bytes([byte]) for byte in range(256)))
    ids = np.frombuffer(data.encode(), dtype=np.uint8).astype(np.int32)
    found = split_episodes(ids, table, Thought(0, len(ids), False), phrases=DEFAULT_PHRASES)
    assert found.steps.tolist() == [3] * len(DEFAULT_PHRASES) + [4]


@pytest.mark.parametrize(
    ("count", "groups", "size", "expected"),
    [
        (7, 3, None, [0, 3, 5, 7]),
        (6, 3, None, [0, 2, 4, 6]),
        (2, 5, None, [0, 1, 2]),
        (1, 1, None, [0, 1]),
        (7, None, 3, [0, 3, 6, 7]),
        (6, None, 3, [0, 3, 6]),
        (2, None, 5, [0, 2]),
        (3, None, 1, [0, 1, 2, 3]),
        (0, 4, None, [0]),
        (0, None, 4, [0]),
    ],
)
def test_groups(count: int, groups: int | None, size: int | None, expected: list[int]) -> None:
    """Episodes of one token each, after two tokens that open the thought: ends in episodes."""
    ids = ids_of("<think>", "\n", *["Wait"] * count)
    table = TokenTable((*TABLE.pieces[: ID["Wait"]], b"Wait\n\n", *TABLE.pieces[ID["Wait"] + 1 :]))
    episodes = split_episodes(ids, table, Thought(2, len(ids), False), phrases=("Wait",), min_steps=1)
    assert len(episodes) == count
    ends = group_ends(episodes, groups, size=size)
    assert ends.dtype == np.int32
    assert (ends - 2).tolist() == expected


def test_wrong_arguments() -> None:
    ids = ids_of(" a")
    episodes = split_episodes(ids, TABLE, Thought(0, 1, False), phrases=("Wait",))
    for groups, size in ((None, None), (0, None), (None, 0), (2, 2)):
        with pytest.raises(ValueError, match="groups or size"):
            group_ends(episodes, groups, size=size)
    for min_steps, cap in ((0, None), (3, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            split_episodes(ids, TABLE, Thought(0, 1, False), phrases=("Wait",), min_steps=min_steps, cap=cap)

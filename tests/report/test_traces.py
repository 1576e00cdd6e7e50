"""One completion as the page gets it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.cards.schema import Think
from extrap_eval.report.text import shown
from extrap_eval.report.traces import trace_record
from extrap_eval.scoring.boxes import find_boxes
from extrap_eval.scoring.episodes import Thought, find_thought, split_episodes
from extrap_eval.steps.episodes import Reading
from tests.report.runs import BYTES

THINK = Think(open="<think>", close="</think>", opened_by_prompt=False)
PHRASES = ("Wait", "Alternatively")


def reading(data: bytes) -> Reading:
    ids = np.frombuffer(data, dtype=np.uint8).astype(np.int32)
    thought: Thought = find_thought(ids, BYTES, THINK, False)
    episodes = split_episodes(ids, BYTES, thought, phrases=PHRASES, min_steps=1)
    return Reading(BYTES.text_bytes(ids), np.append(np.int64(0), BYTES.ends(ids)), thought, episodes)


def units(text: str) -> bytes:
    return text.encode("utf-16-le")


def part(text: str, start: int, end: int) -> str:
    return units(text)[2 * start : 2 * end].decode("utf-16-le")


def test_a_trace_with_everything() -> None:
    text = "<think>\nTry \\boxed{6} 😀.\n\nWait, no.\n\nWait, \\boxed{7}.</think>So \\boxed{7}"
    record = trace_record(reading(text.encode()), {"6": 0, "7": 1}.get)  # type: ignore[arg-type]
    assert record["text"] == text
    assert [name for name, *_ in record["sections"]] == [
        "before the thought",
        "episode 1",
        "episode 2",
        "episode 3",
        "answer",
    ]
    shown_parts = [part(text, start, end) for _, start, end, *_ in record["sections"]]
    assert shown_parts[0] == "<think>\n"
    assert shown_parts[2] == "Wait, no.\n\n"  # the blank line goes with the episode before it
    assert "".join(shown_parts) == text
    assert [part(text, start, end) for start, end, *_ in record["boxes"]] == ["\\boxed{6}", "\\boxed{7}", "\\boxed{7}"]
    assert [number for *_, number in record["boxes"]] == [0, 1, 1]


pieces = st.lists(
    st.sampled_from(
        [
            b"<think>",
            b"</think>",
            b"\n\n",
            b"\n",
            b"Wait",
            b"a",
            b"\\boxed{7}",
            b"\\boxed{",
            b"}",
            "é😀".encode(),
            b"\xf0\x9f",
            b"\xff",
            b"\x00",
        ]
    ),
    max_size=14,
)


@given(pieces)
def test_sections_cover_any_text_and_tokens_show_it_piece_by_piece(parts: list[bytes]) -> None:
    data = b"".join(parts)
    record = trace_record(reading(data), lambda answer, none: none)
    whole, at = shown(data, np.arange(len(data) + 1))
    assert record["text"] == whole
    assert np.concatenate([[0], np.cumsum(record["units"])]).tolist() == at.tolist()
    sections = record["sections"]
    if data:
        assert (sections[0][1], sections[-1][2]) == (0, len(units(whole)) // 2)
        assert (sections[0][3], sections[-1][4]) == (0, len(data))
    for (_, _, end, _, last), (_, start, _, first, _) in pairwise(sections):
        assert (end, last) == (start, first)
    for box, (start, end, tokens, _) in zip(find_boxes(data), record["boxes"], strict=True):
        assert tokens == box.end
        assert (start, end) == (at[box.start], at[box.end])


@pytest.mark.parametrize("data", [b"", b"no thought at all", b"<think>", b"</think>"])
def test_completions_without_episodes(data: bytes) -> None:
    record = trace_record(reading(data), lambda answer, none: none)
    assert "".join(part(record["text"], start, end) for _, start, end, *_ in record["sections"]) == data.decode()

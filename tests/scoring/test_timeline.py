r"""The timeline equals cutting, decoding and extracting at every budget."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.scoring.timeline import AnswerRule, Timeline, answer_index, read_timeline, timeline_of_bytes
from extrap_eval.scoring.tokens import TokenTable, slow_offsets
from tests.scoring import reference
from tests.scoring.conftest import saturn_answers

CLOSE = "</think>"
RULES = [AnswerRule(region, pick) for region in ("anywhere", "after_think") for pick in ("last", "first")]


def read(text: list[str], *, finished: bool = True, think_close: str | None = CLOSE) -> Timeline:
    """The timeline of a completion whose tokens are these strings."""
    table = TokenTable(tuple(piece.encode() for piece in text))
    return read_timeline(np.arange(len(text)), table, finished=finished, think_close=think_close)


def answers(timeline: Timeline, rule: AnswerRule = AnswerRule(), longest: int | None = None) -> list[str | None]:
    """The answer at budgets 0, 1, … up to the length."""
    budgets = np.arange((timeline.n_tokens if longest is None else longest) + 1)
    return [timeline.answers[i] if i >= 0 else None for i in answer_index(timeline, budgets, rule).tolist()]


def test_events_in_tokens() -> None:
    timeline = read(["so ", "\\bo", "xed{", "4", "2}. ", "</", "think>", "\\boxed{", "7", "}!", "<end>"])
    assert timeline.n_tokens == 11
    assert timeline.finished
    assert timeline.think_end == 7
    assert timeline.starts.tolist() == [2, 8]
    assert timeline.ends.tolist() == [5, 10]
    assert timeline.answers == ("42", "7")
    assert timeline.loop_start == -1
    assert timeline.starts.dtype == timeline.ends.dtype == np.int32
    assert answers(timeline) == [None] * 5 + ["42"] * 5 + ["7"] * 2
    assert answers(timeline, AnswerRule(pick="first")) == [None] * 5 + ["42"] * 7
    assert answers(timeline, AnswerRule("after_think")) == [None] * 10 + ["7"] * 2


CASES = [
    # tokens, answer at the full length under each of RULES
    (["\\boxed{1}", "\\boxed{}"], [None, "1", None, None]),  # an empty box is no answer, and no fallback
    (["\\boxed{}", "\\boxed{1}"], ["1", None, None, None]),
    (["\\boxed{1}", CLOSE], ["1", "1", None, None]),
    (["\\boxed{1}", CLOSE, "\\boxed{2}", "\\boxed{3}"], ["3", "1", "3", "2"]),
    (["\\boxed{1", CLOSE, "}"], ["1" + CLOSE, "1" + CLOSE, None, None]),  # it started in the thought
    (["\\boxed{1}", CLOSE, "\\boxed{2", CLOSE], ["1", "1", None, None]),
    ([CLOSE, "\\boxed{1}", CLOSE, "\\boxed{2}"], ["2", "1", "2", "1"]),  # the first marker ends the thought
    (["</thin", "k>\\boxed{1}"], ["1"] * 4),  # the marker ends in the token that the box starts in
    ([], [None] * 4),
]


@pytest.mark.parametrize(("tokens", "expected"), CASES)
def test_rules(tokens: list[str], expected: list[str | None]) -> None:
    assert [answers(read(tokens), rule)[-1] for rule in RULES] == expected


def test_a_model_without_a_thought_only_answers() -> None:
    timeline = read(["\\boxed{1}", "x"], think_close=None)
    assert timeline.think_end == 0
    assert answers(timeline, AnswerRule("after_think")) == [None, "1", "1"]


def test_budgets_beyond_the_end_see_the_end() -> None:
    assert answers(read(["\\boxed{1}"]), longest=5) == [None, "1", "1", "1", "1", "1"]


def test_two_boxes_in_one_token() -> None:
    assert answers(read(["\\boxed{1}\\boxed{2}", "\\boxed{3}"])) == [None, "2", "3"]


def test_a_loop_is_found() -> None:
    timeline = read(["a"] * 10 + ["b"] * 0, finished=False)
    assert timeline.loop_start == -1
    table = TokenTable((b"a", b"b"))
    looped = read_timeline(np.array([0] * 5 + [1] * 200), table, finished=False, think_close=None)
    assert looped.loop_start == 5 + 96


OPENERS = ["\\boxed{", "\\boxed", "}\\boxed{", "k>\\b", "oxed{", "\\boxed{5}"]
PIECES = [*OPENERS, "{", "}", "}", "\\{", "\\", "4", "x}", CLOSE, "</", "think>", "</thin", "ü"]
TORN = [b"\xf0", b"\x9f\x99", b"\x82", b""]  # pieces of one character, and a token without text
TABLE = TokenTable((*(piece.encode() for piece in PIECES), *TORN))


def cut_and_extract(ids: list[int], rule: AnswerRule) -> str | None:
    """What one would do by hand with a cut completion."""
    text = TABLE.decode(ids)
    if rule.region == "after_think":
        if CLOSE not in text:
            return None
        text = text[text.index(CLOSE) + len(CLOSE) :]
    if rule.pick == "last":
        return reference.last_box(text) or None
    found = reference.boxes(text)
    return (found[0][2] or None) if found else None


@settings(max_examples=400, deadline=None)
@given(st.lists(st.integers(0, len(TABLE.pieces)), max_size=24), st.sampled_from(RULES))
def test_equals_cut_decode_extract_at_every_budget(ids: list[int], rule: AnswerRule) -> None:
    timeline = read_timeline(np.array(ids, dtype=np.int32), TABLE, finished=True, think_close=CLOSE)
    assert answers(timeline, rule) == [cut_and_extract(ids[:budget], rule) for budget in range(len(ids) + 1)]
    closed = [budget for budget in range(len(ids) + 1) if CLOSE in TABLE.decode(ids[:budget])]
    assert timeline.think_end == (closed[0] if closed else -1)


def test_equals_cut_decode_extract_at_every_budget_of_real_completions(
    qwen: Any, qwen_table: TokenTable, saturn: list[dict[str, Any]]
) -> None:
    """All 30 completions at each of the budgets 1…16384; how the other side is computed: see ``saturn_answers``."""
    budgets = np.arange(1, 16385)
    changes = 0
    for row in saturn:
        timeline = read_timeline(row["ids"], qwen_table, finished=True, think_close=None)
        index = answer_index(timeline, budgets)
        said = np.array([*timeline.answers, ""], dtype=object)[index]
        expected = saturn_answers(qwen, row["ids"])
        assert said[: len(expected)].tolist() == expected
        # A budget beyond the end cuts nothing, so the text and its answer are those of the whole completion.
        assert set(said[len(expected) :]) <= {expected[-1]}
        changes += sum(a != b for a, b in pairwise(expected))
    assert changes == 15  # 14 completions come to an answer, and one of them to another


def test_the_whole_text_is_that_of_the_log(qwen_table: TokenTable, saturn: list[dict[str, Any]]) -> None:
    for row in saturn:
        text = qwen_table.decode(row["ids"]).removesuffix("<|endoftext|>")  # the log leaves the end token out
        assert row["text"] == text.replace("<|box_end|>", "</think>")  # what the model's own tokenizer calls it


def test_the_slow_path_gives_the_same_timeline(qwen: Any, qwen_table: TokenTable, saturn: list[dict[str, Any]]) -> None:
    row = min(saturn, key=lambda row: len(row["ids"]))
    ids = row["ids"][-400:]
    fast = read_timeline(ids, qwen_table, finished=True, think_close="<|box_end|>")
    slow = timeline_of_bytes(ids, *slow_offsets(qwen, ids), finished=True, think_close="<|box_end|>")
    assert fast.think_end == slow.think_end
    assert fast.answers == slow.answers
    np.testing.assert_array_equal(fast.ends, slow.ends)
    np.testing.assert_array_equal(fast.starts, slow.starts)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extrap_eval.cards.schema import Think
from extrap_eval.errors import UserError
from extrap_eval.importers.finish import Ending, endings
from tests.importers.logs import sample

THINK = Think(open="<think>", close="</think>", opened_by_prompt=False)
OPENED = Think(open="<think>", close="</think>", opened_by_prompt=True)
END = 9


def ending(texts: list[str], ids: list[list[int]] | None = None, **options: Any) -> list[Ending]:
    """Endings of a log of texts, 5 tokens each unless ``ids`` are given."""
    own = ids or [[1] * 5 for _ in texts]
    samples = [sample(text=text, row=row) for row, text in enumerate(texts, 1)]
    arrays = [np.array(x, dtype=np.int32) for x in own]
    return endings(samples, arrays, texts, **{"end_ids": {END}, "cap": None, "think": None, **options})


def test_log_has_the_first_word() -> None:
    samples = [sample(text="so", finish_reason="stop"), sample(text="Done.", finish_reason="length")]
    ids = [np.array([1, 2, 3], dtype=np.int32), np.array([1, END], dtype=np.int32)]
    found = endings(samples, ids, ["so", "Done."], end_ids={END}, cap=3, think=None)
    assert found == [Ending("stop", "log", None), Ending("length", "log", None)]


def test_end_token_beats_the_cap() -> None:
    assert ending(["cut in mid"], [[1, 1, END]], cap=3) == [Ending("stop", "end token", END)]


@pytest.mark.parametrize("marker", ["<|im_end|>", "<｜end▁of▁sentence｜>", "</s>", "<|end_of_solution|>\n"])
def test_marker_written_out(marker: str) -> None:
    assert ending([f"answer is 3 {marker}"], cap=5) == [Ending("stop", "end token", None)]


@pytest.mark.parametrize("text", ["so far <|begin_of_solution|>", "|x|<|y|", "so <think> </think>"])
def test_other_markup_is_no_end(text: str) -> None:
    assert ending([text], cap=5, think=THINK)[0].how == "cap"


def test_closing_the_thought_is_no_end() -> None:
    think = Think(open="<|begin_of_thought|>", close="<|end_of_thought|>", opened_by_prompt=False)
    text = "<|begin_of_thought|>hm<|end_of_thought|>"
    assert ending([text], cap=5, think=think) == [Ending("length", "cap", None)]


def test_log_that_keeps_end_tokens() -> None:
    found = ending(["Done.", "Done."], [[1, END], [1, 1]])
    assert found == [Ending("stop", "end token", END), Ending("length", "no end token", None)]


def test_one_stray_marker_does_not_make_a_log_that_keeps_them() -> None:
    found = ending(["Done.</s>", *["Done."] * 15])
    assert [one.how for one in found] == ["end token"] + ["ending"] * 15
    assert {one.finish_reason for one in found} == {"stop"}


@pytest.mark.parametrize(
    ("length", "cap", "reason"),
    [
        (8192, 8192, "length"),
        (8193, 8192, "length"),
        (8190, 8192, "length"),  # text made into a few tokens fewer than were generated
        (8100, 8192, "stop"),
    ],
)
def test_cap_for_ids_made_of_text(length: int, cap: int, reason: str) -> None:
    assert ending(["Done."], [[1] * length], cap=cap)[0].finish_reason == reason


@pytest.mark.parametrize(("length", "reason"), [(8192, "length"), (8191, "stop")])
def test_cap_for_exact_ids(length: int, reason: str) -> None:
    ids = np.ones(length, dtype=np.int32)
    (found,) = endings([sample(token_ids=ids)], [ids], ["Done."], end_ids={END}, cap=8192, think=None)
    assert found.finish_reason == reason


@pytest.mark.parametrize(
    ("text", "think", "reason"),
    [
        ("It is \\boxed{3}.", None, "stop"),
        ("It is \\(\\boxed{3}\\)", None, "stop"),
        ("\\[\n\\boxed{3}\n\\]\n", None, "stop"),
        ("", None, "stop"),
        ("so that x", None, "length"),
        ("Therefore,", None, "length"),
        ("= \\frac{1}{2} +", None, "length"),
        ("<think>I see.", THINK, "length"),
        ("<think>I see.</think>It is 3.", THINK, "stop"),
        ("I see.", THINK, "stop"),
        ("I see.", OPENED, "length"),
        ("I see.</think>It is 3.", OPENED, "stop"),
        ("<think>a</think>b.<think>I see.", THINK, "length"),
    ],
)
def test_ending_of_the_text(text: str, think: Think | None, reason: str) -> None:
    assert ending([text], think=think) == [Ending(reason, "ending", None)]  # type: ignore[arg-type]


def test_beyond_the_cap() -> None:
    ids = np.ones(11, dtype=np.int32)
    with pytest.raises(UserError, match=r"log\.jsonl:1: the completion has 11 tokens, more than --max-tokens 10"):
        endings([sample(token_ids=ids)], [ids], ["x"], end_ids={END}, cap=10, think=None)
    with pytest.raises(UserError, match=r"log\.jsonl:1: the completion has 1200 tokens by this tokenizer.*--tokenizer"):
        ending(["x"], [[1] * 1200], cap=1000)

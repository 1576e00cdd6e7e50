"""The answer timeline: what a completion says at each number of tokens, read once for all budgets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from extrap_eval.scoring.boxes import BOX_COMMANDS, find_boxes
from extrap_eval.scoring.landmarks import Landmarks
from extrap_eval.scoring.loops import final_loop
from extrap_eval.scoring.tokens import TokenTable

TIMELINE_VERSION = 1  # raise it when the same tokens may give another timeline


@dataclass(frozen=True)
class AnswerRule:
    """Which of the boxes within the budget is the answer. A region ``after_think`` ignores those in the
    thought."""

    region: Literal["anywhere", "after_think"] = "anywhere"
    pick: Literal["last", "first"] = "last"


@dataclass(frozen=True, eq=False)
class Timeline:
    """One completion as a sequence of events in tokens.

    ``n_tokens``: its length. ``finished``: the model ended it itself. ``think_end``: number of tokens up to
    and with the first think-close marker, -1 when it never comes, 0 for a model that has no thought.
    ``loop_start``: number of tokens from which on it is certain that the completion loops until its end, -1
    when it does not.

    Event e is a complete box: ``ends[e]`` (int32, shape (E,), ascending) is the smallest budget that contains
    its closing brace, ``starts[e]`` the smallest that contains its backslash, ``answers[e]`` its content (""
    when empty).
    """

    n_tokens: int
    finished: bool
    think_end: int
    loop_start: int
    ends: np.ndarray
    starts: np.ndarray
    answers: tuple[str, ...]


def read_timeline(ids: np.ndarray, table: TokenTable, *, finished: bool, think_close: str | None) -> Timeline:
    """Read a completion. ``ids``: token ids, shape (n,). ``think_close``: the marker as text, None without a thought.

    The marker may span several tokens, as a box may. Both are looked for in the bytes of the whole completion.
    """
    known = table.known(ids)
    # The pieces of a table whose first token is special are not those of a suffix.
    start = 0 if table.first_pieces is not None else _landmarks(table, think_close).first(known)
    rest = known[start:]
    return timeline_of_bytes(ids, table.text_bytes(rest), table.ends(rest), finished=finished, think_close=think_close)


def timeline_of_bytes(
    ids: np.ndarray, data: bytes, offsets: np.ndarray, *, finished: bool, think_close: str | None
) -> Timeline:
    """As ``read_timeline``, from bytes and the byte offset after each of the last tokens (int64, shape (m,), m <= n).

    ``data`` is the text of the last m tokens; what stands before holds no box and no marker.
    """
    before = len(ids) - len(offsets)
    think_end = 0
    if think_close is not None:
        close = think_close.encode()
        at = data.find(close)
        think_end = -1 if at < 0 else before + int(np.searchsorted(offsets, at + len(close), side="left")) + 1
    boxes = find_boxes(data)
    loop = final_loop(ids)
    ends = before + 1 + np.searchsorted(offsets, [box.end for box in boxes], side="left")
    starts = before + 1 + np.searchsorted(offsets, [box.start for box in boxes], side="right")
    return Timeline(
        n_tokens=len(ids),
        finished=finished,
        think_end=think_end,
        loop_start=-1 if loop is None else loop.certain_at,
        ends=ends.astype(np.int32),
        starts=starts.astype(np.int32),
        answers=tuple(box.answer for box in boxes),
    )


@lru_cache(maxsize=4)
def _landmarks(table: TokenTable, think_close: str | None) -> Landmarks:
    """Made once per model: it looks at every token of the vocabulary."""
    return Landmarks(table, [*BOX_COMMANDS, *([think_close.encode()] if think_close else [])])


def answer_index(timeline: Timeline, budgets: np.ndarray, rule: AnswerRule = AnswerRule()) -> np.ndarray:
    """Index into ``timeline.answers`` of the answer at each budget, -1 for none.

    ``budgets``: int64, shape (B,), in completion tokens; returns int64, shape (B,). The rule picks one of the
    boxes that are complete within the budget and start in the region; when it picks an empty one, there is no
    answer.
    """
    first = 0  # boxes are disjoint and in order, so those that start in the region are all from some index on
    if rule.region == "after_think":
        first = len(timeline.starts)
        if timeline.think_end >= 0:
            first = int(np.searchsorted(timeline.starts, timeline.think_end, side="left"))
    complete = np.searchsorted(timeline.ends, budgets, side="right")
    index = complete - 1 if rule.pick == "last" else np.full(len(complete), first)
    index = np.where(complete > first, index, -1).astype(np.int64)
    empty = np.array([answer == "" for answer in timeline.answers] + [False])
    index[empty[index]] = -1
    return index

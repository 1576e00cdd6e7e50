"""What became of a sample at each budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extrap_eval.scoring.judge import Verdict
from extrap_eval.scoring.timeline import AnswerRule, Timeline, answer_index

OUTCOMES = (
    "finished-correct",
    "finished-wrong",
    "cut-while-thinking",
    "cut-while-answering",
    "looped",
    "no-box",
    "scorer-timeout",
)
_CODE = {name: np.int8(code) for code, name in enumerate(OUTCOMES)}
_BY_VERDICT: dict[Verdict, str] = {
    "correct": "finished-correct",
    "incorrect": "finished-wrong",
    "unparsable": "finished-wrong",
    "timeout": "scorer-timeout",
}


def sample_outcomes(
    timeline: Timeline, verdicts: Sequence[Verdict], budgets: np.ndarray, rule: AnswerRule = AnswerRule()
) -> np.ndarray:
    """Index into ``OUTCOMES`` at each budget.

    ``verdicts``: one per entry of ``timeline.answers`` (that of an empty answer is never looked at).
    ``budgets``: int64, shape (B,); returns int8, shape (B,).

    A budget that holds the whole of a finished completion: by the verdict of its answer, "no-box" without
    one. Every other budget cuts it: "looped" when the final loop is certain by then, otherwise
    "cut-while-thinking" until the think-close marker, "cut-while-answering" after it. A cut sample may be
    correct all the same, by its answer so far.
    """
    of_answer = [_CODE[_BY_VERDICT[verdict]] for verdict in verdicts]
    finished = np.array([*of_answer, _CODE["no-box"]], dtype=np.int8)[answer_index(timeline, budgets, rule)]
    thinking = (budgets < timeline.think_end) | (timeline.think_end < 0)
    looped = (timeline.loop_start >= 0) & (budgets >= timeline.loop_start)
    cut = np.where(thinking, _CODE["cut-while-thinking"], _CODE["cut-while-answering"])
    cut = np.where(looped, _CODE["looped"], cut)
    whole = timeline.finished & (budgets >= timeline.n_tokens)
    return np.where(whole, finished, cut).astype(np.int8)

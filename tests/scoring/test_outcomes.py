"""What became of a sample, over budgets."""

from __future__ import annotations

import numpy as np
import pytest

from extrap_eval.scoring.judge import Verdict
from extrap_eval.scoring.outcomes import OUTCOMES, sample_outcomes
from extrap_eval.scoring.timeline import AnswerRule, Timeline


def timeline(**changes: object) -> Timeline:
    """100 tokens, thought until 60, boxes that end at 40 and 90."""
    values: dict[str, object] = {
        "n_tokens": 100,
        "finished": True,
        "think_end": 60,
        "loop_start": -1,
        "ends": np.array([40, 90], dtype=np.int32),
        "starts": np.array([38, 88], dtype=np.int32),
        "answers": ("1", "2"),
    }
    return Timeline(**(values | changes))  # type: ignore[arg-type]


NO_BOXES = {"ends": np.zeros(0, np.int32), "starts": np.zeros(0, np.int32), "answers": ()}
BUDGETS = np.array([1, 40, 59, 60, 99, 100, 5000])
THINKING, ANSWERING = "cut-while-thinking", "cut-while-answering"
CUT = [THINKING, THINKING, THINKING, ANSWERING, ANSWERING]


def outcomes(of: Timeline, *verdicts: Verdict, rule: AnswerRule = AnswerRule()) -> list[str]:
    codes = sample_outcomes(of, verdicts, BUDGETS, rule)
    assert codes.dtype == np.int8
    assert codes.shape == BUDGETS.shape
    return [OUTCOMES[code] for code in codes.tolist()]


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        ("correct", "finished-correct"),
        ("incorrect", "finished-wrong"),
        ("unparsable", "finished-wrong"),
        ("timeout", "scorer-timeout"),
    ],
)
def test_a_finished_sample_is_judged_by_its_answer(verdict: Verdict, outcome: str) -> None:
    assert outcomes(timeline(), "incorrect", verdict) == [*CUT, outcome, outcome]


def test_the_rule_picks_the_answer() -> None:
    first = AnswerRule(pick="first")
    assert outcomes(timeline(), "correct", "incorrect", rule=first)[-1] == "finished-correct"
    after = AnswerRule("after_think")
    assert outcomes(timeline(think_end=95), "correct", "correct", rule=after)[-1] == "no-box"


def test_without_a_box() -> None:
    assert outcomes(timeline(**NO_BOXES)) == [*CUT, "no-box", "no-box"]


def test_an_empty_box_is_none() -> None:
    assert outcomes(timeline(answers=("1", "")), "correct", "unparsable")[-1] == "no-box"


def test_a_sample_cut_by_the_sampling_limit_stays_cut() -> None:
    assert outcomes(timeline(finished=False), "correct", "correct") == [*CUT, ANSWERING, ANSWERING]
    assert outcomes(timeline(finished=False, think_end=-1), "correct", "correct") == [THINKING] * 7


def test_without_a_thought_it_is_always_answering() -> None:
    assert outcomes(timeline(think_end=0), "correct", "correct")[:5] == [ANSWERING] * 5


def test_a_loop_counts_from_where_it_is_certain() -> None:
    looped = timeline(finished=False, loop_start=50)
    assert outcomes(looped, "correct", "correct") == [THINKING, THINKING, *["looped"] * 5]
    # A completion that ends itself in the end has not only looped.
    assert outcomes(timeline(loop_start=99), "correct", "correct")[4:] == ["looped", *["finished-correct"] * 2]

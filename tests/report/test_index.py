"""The index says at every budget what scoring says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.errors import UserError
from extrap_eval.report.index import ANSWER_SHOWN, VERDICTS, answer_steps, run_index, short
from extrap_eval.scoring.outcomes import Verdict, sample_outcomes
from extrap_eval.scoring.timeline import AnswerRule, Timeline, answer_index
from extrap_eval.steps.outcomes import outcomes
from tests.steps.scored_runs import Said, random_samples, scored_run

RULES = [AnswerRule(region, pick) for region in ("anywhere", "after_think") for pick in ("last", "first")]


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    length = draw(st.integers(1, 40))
    ends = sorted(draw(st.sets(st.integers(1, length), max_size=6)))
    return Timeline(
        n_tokens=length,
        finished=draw(st.booleans()),
        think_end=draw(st.integers(-1, length)),
        loop_start=draw(st.integers(-1, length)),
        ends=np.array(ends, dtype=np.int32),
        starts=np.array([max(1, end - 1) for end in ends], dtype=np.int32),
        answers=tuple(draw(st.sampled_from(["", "1", "2"])) for _ in ends),
    )


@given(timelines(), st.sampled_from(RULES), st.data())
def test_steps_are_what_the_rules_say_at_every_budget(
    timeline: Timeline, rule: AnswerRule, data: st.DataObject
) -> None:
    of_answer: dict[str, Verdict] = {
        answer: data.draw(st.sampled_from(["correct", "incorrect", "unparsable", "timeout"]))
        for answer in sorted(set(timeline.answers))
    }
    verdicts = [of_answer[answer] for answer in timeline.answers]
    steps = answer_steps(timeline, verdicts, rule)
    assert steps.tokens[0] == 0
    budgets = np.arange(timeline.n_tokens + 3)
    at = np.searchsorted(steps.tokens, budgets, side="right") - 1
    expected = answer_index(timeline, budgets, rule)
    said = [timeline.answers[index] if index >= 0 else None for index in expected]
    assert [timeline.answers[index] if index >= 0 else None for index in steps.answers[at]] == said
    assert steps.outcomes[at].tolist() == sample_outcomes(timeline, verdicts, budgets, rule).tolist()
    same = (steps.outcomes[1:] == steps.outcomes[:-1]) & (steps.answers[1:] == steps.answers[:-1])
    assert not same.any()  # nothing is said twice


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_run_at_every_budget(tmp_path: Path, rule: AnswerRule) -> None:
    run = scored_run(tmp_path / "run", random_samples(5, 4, seed=1), verdicts={"8": "timeout"})
    index = run_index(run, "toy", rule=rule)
    budgets = [1, 7, 50, 99, 100, 101, 399, 400]
    found = outcomes(run, budgets, rule=rule)
    record = index.record
    for p, problem in enumerate(record["problems"]):
        for s in range(index.n):
            steps = np.array(record["steps"][p * index.n + s]).reshape(-1, 3)
            for b, budget in enumerate(budgets):
                _, answer, outcome = steps[np.searchsorted(steps[:, 0], budget, side="right") - 1].tolist()
                verdict = None if answer < 0 else VERDICTS[problem["answers"][answer][1]]
                assert (verdict == "correct") == found.correct[p, s, b]
                assert (answer >= 0) == (found.class_id[p, s, b] >= 0)
                assert outcome == found.outcome[p, s, b]
    assert record["tokens"] == found.n_tokens.ravel().tolist()
    assert (record["training"], record["maximum"]) == (100, 400)


def test_fewer_samples_and_problems_left_out(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [[Said(9), Said(8)], [Said(7), Said(6)]], gold_errors={"p0": "nonsense"})
    index = run_index(run, "toy", n=1)
    assert [problem["id"] for problem in index.record["problems"]] == ["p1"]
    assert index.record["tokens"] == [7]
    assert index.left_out == {"p0": "nonsense"}
    assert [index.at(key) for key in (("p1", 0), ("p1", 1), ("p0", 0))] == [0, None, None]


def test_a_run_that_misses_samples_has_no_index(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [[Said(9), None]])
    with pytest.raises(UserError, match="missing"):
        run_index(run, "toy")


def test_a_long_answer_is_cut_in_the_index() -> None:
    assert short("7") == "7"
    assert len(short("x" * 5000)) == ANSWER_SHOWN + 1

"""What every sample of a run amounts to at every budget, as the page looks it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.scoring.outcomes import Verdict, sample_outcomes
from extrap_eval.scoring.timeline import AnswerRule, Timeline, answer_index
from extrap_eval.steps.outcomes import judged_answers, outcomes, sampled_maximum

if TYPE_CHECKING:
    from extrap_eval.store import Key, Run

VERDICTS = ("correct", "incorrect", "unparsable", "timeout")
ANSWER_SHOWN = 300  # characters of an answer in the index; its trace has the whole of it


@dataclass(frozen=True, eq=False)
class Steps:
    """When what a sample amounts to changes; all arrays have the shape (S,).

    From ``tokens[s]`` on (int64, ascending, the first is 0) and below ``tokens[s + 1]`` the answer is
    ``answers[s]`` (index into ``Timeline.answers``, -1 for none) and the outcome ``outcomes[s]``.
    """

    tokens: np.ndarray
    answers: np.ndarray
    outcomes: np.ndarray


def answer_steps(timeline: Timeline, verdicts: Sequence[Verdict], rule: AnswerRule) -> Steps:
    """Every budget at which the answer or the outcome of a sample changes. ``verdicts``: one per answer.

    Both can change only where a box, the thought, or the completion ends, or a loop becomes certain.
    """
    marks = [0, timeline.think_end, timeline.loop_start, timeline.n_tokens, *timeline.ends.tolist()]
    tokens = np.unique(np.array([mark for mark in marks if mark >= 0], dtype=np.int64))
    answers = answer_index(timeline, tokens, rule)
    found = sample_outcomes(timeline, verdicts, tokens, rule)
    same = np.array([timeline.answers[index] if index >= 0 else None for index in answers], dtype=object)
    kept = np.append(True, (same[1:] != same[:-1]) | (found[1:] != found[:-1]))
    return Steps(tokens[kept], answers[kept], found[kept])


@dataclass(frozen=True, eq=False)
class RunIndex:
    """The part of one run in the page's index, and what is needed to read its traces.

    ``record``: plain JSON, whose "places" the traces fill. ``places``: problem id -> row; ``numbers``: problem id ->
    answer -> its place among the problem's answers; ``left_out``: problem id -> why it has no verdicts.
    """

    record: dict[str, Any]
    places: Mapping[str, int]
    n: int
    numbers: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, str]

    def at(self, key: Key) -> int | None:
        """Where a sample stands in the flat lists of the record; None for one that the report leaves out."""
        id, sample = key
        return self.places[id] * self.n + sample if id in self.places and sample < self.n else None


def run_index(
    run: Run, name: str, *, budgets: Sequence[int] | None = None, n: int | None = None, rule: AnswerRule = AnswerRule()
) -> RunIndex:
    """Read the score layer of a run. Raises UserError as ``steps.outcomes.outcomes`` does."""
    found = outcomes(run, budgets, rule=rule, n=n)
    layer = run.layer()
    judged = judged_answers(layer, found.problem_ids)
    numbers = {id: {answer: i for i, answer in enumerate(judged[id])} for id in found.problem_ids}
    places = {id: i for i, id in enumerate(found.problem_ids)}
    steps: list[list[int]] = [[]] * found.n_tokens.size
    for (id, sample), timeline in layer.timelines():
        if id in places and sample < found.n:
            verdicts: list[Verdict] = [judged[id][answer][0] if answer else "incorrect" for answer in timeline.answers]
            read = answer_steps(timeline, verdicts, rule)
            number = np.array([numbers[id].get(answer, -1) for answer in timeline.answers] + [-1])[read.answers]
            steps[places[id] * found.n + sample] = (
                np.stack([read.tokens, number, read.outcomes], axis=1).ravel().tolist()
            )
    problems = {problem.id: problem for problem in run.problems()}
    record = {
        "name": name,
        "benchmark": found.benchmark,
        "training": found.training_budget,
        "maximum": sampled_maximum(run),
        "budgets": found.budgets.tolist(),
        "n": found.n,
        "problems": [
            {
                "id": id,
                "text": problems[id].text,
                "gold": problems[id].gold,
                "difficulty": problems[id].difficulty,
                "answers": [[short(answer), VERDICTS.index(verdict)] for answer, (verdict, _) in judged[id].items()],
            }
            for id in found.problem_ids
        ],
        "tokens": found.n_tokens.ravel().tolist(),
        "steps": steps,
        "places": [[-1, -1]] * found.n_tokens.size,
    }
    return RunIndex(record, places, found.n, numbers, found.left_out)


def short(answer: str) -> str:
    """An answer, or its beginning if it is long."""
    return answer if len(answer) <= ANSWER_SHOWN else answer[:ANSWER_SHOWN] + "…"

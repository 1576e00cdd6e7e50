"""Every distinct answer is judged once: what a score layer knows already is not asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extrap_eval.problems.problem import Problem
    from extrap_eval.scoring.judge import Judge, Verdict
    from extrap_eval.store import AnswerRow, ScoreLayer


@dataclass(frozen=True)
class Memory:
    """What a layer knows and the same judge would say again.

    ``verdicts``: by problem id and answer. ``classes``: by problem id, then by answer; they hold for exactly
    that set of answers. ``gold_errors``: None when not known. ``complete``: nothing was left out.
    """

    verdicts: Mapping[tuple[str, str], Verdict] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    gold_errors: dict[str, str] | None = None
    complete: bool = False


@dataclass(frozen=True)
class Judged:
    """``rows``: every distinct answer of every problem. ``gold_errors``: problem id -> why its reference answer cannot
    be compared with anything; these have no rows. ``asked``: verdicts that were not remembered.
    """

    rows: list[AnswerRow]
    gold_errors: dict[str, str]
    asked: int


def remember(
    layer: ScoreLayer,
    problems: Mapping[str, Problem],
    versions: Mapping[str, Any],
    *,
    timeout: float,
    memory_mb: int,
) -> Memory:
    """What ``layer`` knows of these problems; nothing when it does not exist or another judge made it."""
    if not layer.exists() or layer.score()["versions"].get("judge") != versions["judge"]:
        return Memory()
    before = layer.score()
    settings = before["settings"]
    verdicts: dict[tuple[str, str], Verdict] = {}
    classes: dict[str, dict[str, int]] = {}
    for id, gold, answer, verdict, class_id in layer.answers().to_numpy().tolist():
        classes.setdefault(id, {})[answer] = class_id
        if id in problems and gold == problems[id].gold:
            verdicts[id, answer] = verdict
    if timeout > settings["timeout"] or memory_mb > settings["memory_mb"]:
        # What ran into the old limits is tried again.
        return Memory({key: verdict for key, verdict in verdicts.items() if verdict != "timeout"})
    same_problems = before["versions"].get("problems_sha256") == versions["problems_sha256"]
    return Memory(verdicts, classes, settings["gold_errors"] if same_problems else None, complete=True)


def judge_answers(
    problems: Mapping[str, Problem],
    said: Mapping[str, set[str]],
    memory: Memory,
    *,
    workers: int | None,
    timeout: float,
    memory_mb: int,
) -> Judged:
    """Verdict and equivalence class of every answer; ``said``: problem id -> all that was answered, "" for nothing."""
    from extrap_eval.scoring.judge import Judge
    from extrap_eval.store import AnswerRow

    with Judge(workers, timeout, memory_mb) as judge:
        gold_errors = memory.gold_errors
        if gold_errors is None:
            gold_errors = judge.check_golds(problems.values())
        answers = {id: sorted(found - {""}) for id, found in said.items() if found - {""} and id not in gold_errors}
        verdicts, asked = _verdicts(judge, memory, problems, answers)
        classes = _classes(judge, memory, problems, answers)
    rows = [
        AnswerRow(id, problems[id].gold, answer, verdicts[id, answer], classes[id, answer])
        for id, found in answers.items()
        for answer in found
    ]
    return Judged(rows, gold_errors, asked)


def _verdicts(
    judge: Judge, memory: Memory, problems: Mapping[str, Problem], answers: Mapping[str, Sequence[str]]
) -> tuple[dict[tuple[str, str], Verdict], int]:
    """Verdict by problem id and answer, and how many were asked for now."""
    from extrap_eval.scoring.judge import Question

    pairs = [(id, answer) for id, found in answers.items() for answer in found]
    new = [pair for pair in pairs if pair not in memory.verdicts]
    asked = judge.verdicts([Question(id, problems[id].gold, answer, problems[id].kind) for id, answer in new])
    return {**memory.verdicts, **dict(zip(new, asked, strict=True))}, len(new)


def _classes(
    judge: Judge, memory: Memory, problems: Mapping[str, Problem], answers: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], int]:
    """Equivalence class by problem id and answer."""
    grown = [id for id, found in answers.items() if memory.classes.get(id, {}).keys() != set(found)]
    regrouped = judge.classes_of_many([(problems[id].kind, answers[id]) for id in grown])
    of_problem = dict(memory.classes)
    for id, classes in zip(grown, regrouped, strict=True):
        of_problem[id] = dict(zip(answers[id], classes, strict=True))
    return {(id, answer): of_problem[id][answer] for id, found in answers.items() for answer in found}

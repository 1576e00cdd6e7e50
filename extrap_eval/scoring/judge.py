"""Whether answers are right, and which of them are the same answer.

math-verify decides, in processes that are killed when a question takes too long or too much memory. Plain
integers, nearly all answers of most benchmarks, and arithmetic expressions are decided here without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Literal, Self

from extrap_eval.problems.problem import AnswerKind, Problem
from extrap_eval.scoring import equivalence, expressions
from extrap_eval.scoring.integers import plain_integer, stated_integer
from extrap_eval.scoring.workers import KILLED, Job, Workers

Verdict = Literal["correct", "incorrect", "unparsable", "timeout"]

_OUR_VERSION = 1  # raise it when a verdict or a class may come out differently

_Comparisons = Generator[list[Job], list[object], list[int]]


def judge_version() -> str:
    """Identifies the rules: verdicts of the same version may be remembered and reused."""
    return f"{_OUR_VERSION}+math-verify-{version('math-verify')}"


@dataclass(frozen=True)
class Question:
    """Is ``answer`` right for a problem of this kind whose reference answer is ``gold``?"""

    problem_id: str
    gold: str
    answer: str
    kind: AnswerKind


class Judge:
    r"""Verdicts and equivalence classes. A context manager over worker processes, started when needed.

    ``workers``: processes (default: one per core this process may use). ``timeout``: seconds of wall clock
    for one question, a hard limit. ``memory_mb``: MiB of resident memory at which a worker is killed.

    Kinds of answers:

    - "math": as math-verify rules with gold first: ``10\%`` is right for 10 and for 0.1, ``x=1`` for 1,
      ``\{1,2\}`` for (1,2). Full stops, commas and degree signs that keep an answer from parsing are mended.
    - "integer": as math, and a lone integer is read however it is dressed (``integers.stated_integer``).
    - "expression": see ``expressions``.
    """

    def __init__(self, workers: int | None = None, timeout: float = 5.0, memory_mb: int = 2048):
        if timeout <= 0 or memory_mb < 512:
            raise ValueError(f"timeout {timeout} s, memory {memory_mb} MiB: need more than 0 and at least 512")
        count = workers or _cores()
        self._workers = Workers(equivalence.__name__, count, timeout=timeout, memory_mb=memory_mb)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.close()

    def check_golds(self, problems: Iterable[Problem]) -> dict[str, str]:
        """Problem id -> what is wrong, for every problem whose gold cannot be compared with anything."""
        errors: dict[str, str] = {}
        hard: list[Problem] = []
        for problem in problems:
            if problem.kind == "expression":
                try:
                    expressions.parse_gold(problem.gold)
                except ValueError as error:
                    errors[problem.id] = f"gold {problem.gold!r}: {error}"
            elif problem.kind == "integer":
                if stated_integer(problem.gold) is None:
                    errors[problem.id] = f"gold {problem.gold!r} is not an integer"
            elif plain_integer(problem.gold) is None:
                hard.append(problem)
        replies = self._workers.run([("parses", (problem.gold,)) for problem in hard])
        for problem, reply in zip(hard, replies, strict=True):
            if reply == KILLED:
                errors[problem.id] = f"gold {problem.gold!r} takes too long to parse"
            elif not reply:
                errors[problem.id] = f"gold {problem.gold!r} is not mathematics to math-verify"
        return errors

    def verdicts(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question; equal questions are asked once.

        "unparsable": the answer is no mathematical object. "timeout": the question took too long, too much
        memory, or broke its process; whether the answer is right is not known. For golds that ``check_golds``
        rejects the verdicts mean nothing. An empty answer is "unparsable".
        """
        known: dict[tuple[str, str, AnswerKind], Verdict | None] = {}
        for question in questions:
            key = (question.gold, question.answer, question.kind)
            if key not in known:
                known[key] = _verdict_here(*key)
        asked = [key for key, verdict in known.items() if verdict is None]
        replies = self._workers.run([("judge", (gold, answer)) for gold, answer, _ in asked])
        for key, reply in zip(asked, replies, strict=True):
            known[key] = "timeout" if reply == KILLED else reply
        found = (known[question.gold, question.answer, question.kind] for question in questions)
        return [verdict for verdict in found if verdict is not None]

    def classes(self, problem_kind: AnswerKind, answers: Sequence[str]) -> list[int]:
        """The equivalence class of every answer of one problem; see ``classes_of_many``."""
        return self.classes_of_many([(problem_kind, answers)])[0]

    def classes_of_many(self, problems: Sequence[tuple[AnswerKind, Sequence[str]]]) -> list[list[int]]:
        """For each problem (kind, answers), the equivalence class of every answer, counted from 0.

        Answers are compared with each other, never with gold. The classes are a function of the set of
        answers: order and repetitions do not matter. Integers are equal when their values are. Other answers
        are taken in a fixed order, integers first, then the shorter; each joins the first class whose first
        member it equals, in the sense that math-verify would accept one for the other as gold, in either
        direction. Answers that do not parse, or hang on their own, are equal when they are the same text up
        to whitespace; two answers whose comparison takes too long are not equal. Expressions are equal when
        value and numbers used are.
        """
        groupings = [_grouping(kind, answers) for kind, answers in problems]
        results: list[list[int]] = [[] for _ in problems]
        waiting: dict[int, list[Job]] = {}
        for index, grouping in enumerate(groupings):
            _advance(index, grouping, None, waiting, results)
        while waiting:
            asked, waiting = waiting, {}
            replies = iter(self._workers.run([job for jobs in asked.values() for job in jobs]))
            for index, jobs in asked.items():
                _advance(index, groupings[index], [next(replies) for _ in jobs], waiting, results)
        return results


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _verdict_here(gold: str, answer: str, kind: AnswerKind) -> Verdict | None:
    """The verdict where it needs no math-verify, else None."""
    if not answer.strip():
        return "unparsable"
    if kind == "expression":
        expression = expressions.parse_expression(answer)
        if expression is None:
            return "unparsable"
        return "correct" if expressions.right(expressions.parse_gold(gold), expression) else "incorrect"
    value = _integer(kind, answer)
    target = _integer(kind, gold)
    if value is None or target is None:
        return None
    return "correct" if value == target else "incorrect"


def _integer(kind: AnswerKind, answer: str) -> int | None:
    return stated_integer(answer) if kind == "integer" else plain_integer(answer)


def _advance(
    index: int,
    grouping: _Comparisons,
    replies: list[object] | None,
    waiting: dict[int, list[Job]],
    results: list[list[int]],
) -> None:
    """Let one problem's grouping go on until it has more jobs for the pool or is done."""
    try:
        waiting[index] = next(grouping) if replies is None else grouping.send(replies)
    except StopIteration as done:
        results[index] = done.value


def _grouping(kind: AnswerKind, answers: Sequence[str]) -> _Comparisons:
    """Groups the answers of one problem: yields jobs for the pool, is sent their replies, returns the
    classes."""
    classes: dict[object, int] = {}  # exact key -> class
    class_of: dict[str, int] = {}
    representatives: list[tuple[str, int]] = []  # what inexact answers are compared with
    compared: list[str] = []
    for answer in sorted(set(answers), key=lambda text: (len(text), text)):
        key, comparable = _exact_key(kind, answer)
        if key is None:
            compared.append(answer)
            continue
        if key not in classes:
            classes[key] = len(classes)
            if comparable:
                representatives.append((answer, classes[key]))
        class_of[answer] = classes[key]
    if compared:
        alone = yield [("comparable", (answer,)) for answer in compared]
        for answer, reply in zip(compared, alone, strict=True):
            if reply is not True:
                class_of[answer] = classes.setdefault(("text", " ".join(answer.split())), len(classes))
                continue
            equal: list[object] = []
            if representatives:
                equal = yield [("same", (other, answer)) for other, _ in representatives]
            joined = next((own for (_, own), same in zip(representatives, equal, strict=True) if same is True), None)
            if joined is None:
                joined = classes.setdefault(("answer", answer), len(classes))
                representatives.append((answer, joined))
            class_of[answer] = joined
    return [class_of[answer] for answer in answers]


def _exact_key(kind: AnswerKind, answer: str) -> tuple[object | None, bool]:
    """A key that is equal for equal answers, None when only a comparison tells; whether others may equal it
    too."""
    if kind == "expression":
        expression = expressions.parse_expression(answer)
        return (" ".join(answer.split()) if expression is None else expression), False
    value = _integer(kind, answer)
    return (value, value is not None)

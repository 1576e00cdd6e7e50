"""Problems from a plain file, without a card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.errors import UserError
from extrap_eval.problems.build import build_problems
from extrap_eval.problems.load import fingerprint
from extrap_eval.problems.problem import AnswerKind, Problem
from extrap_eval.problems.rows import Placed, read_rows

if TYPE_CHECKING:
    from extrap_eval.cards.schema import BenchmarkCard

PROBLEM_KEYS = ("problem", "question", "prompt")
ANSWER_KEYS = ("answer", "gold", "expected_answer")


def problems_from_jsonl(path: str | Path, *, kind: AnswerKind = "math") -> tuple[BenchmarkCard, list[Problem]]:
    """The problems of a JSON-lines file, and the card that describes it.

    Every line is an object with a statement (problem, question or prompt) and an answer (answer, gold or
    expected_answer), under the same keys in all lines; id and difficulty are optional. Raises UserError
    naming file and line.
    """
    from extrap_eval.cards.schema import Answer, BenchmarkCard, Fields, Source

    path = Path(path)
    if path.suffix != ".jsonl":
        raise UserError(f"{path}: is not a .jsonl file; other files need a benchmark card with source: {{file: PATH}}")
    try:
        rows = read_rows(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    if not rows:
        raise UserError(f"{path}: has no problems")
    columns = {key for _, row in rows for key in row}
    fields = Fields(
        id="id" if "id" in columns else None,
        problem=_key(rows[0], PROBLEM_KEYS),
        answer=_key(rows[0], ANSWER_KEYS),
        difficulty="difficulty" if "difficulty" in columns else None,
    )
    problems = build_problems(rows, fields, kind)
    card = BenchmarkCard(
        name=path.stem,
        source=Source(file=str(path.absolute())),
        fields=fields,
        answer=Answer(kind=kind),
        size=len(problems),
        sha256=fingerprint(problems),
    )
    return card, problems


def _key(first: Placed, keys: tuple[str, ...]) -> str:
    place, row = first
    for key in keys:
        if key in row:
            return key
    raise UserError(f"{place}: has none of the fields {', '.join(keys)}; there are {', '.join(row) or 'none'}")

"""Which samples belong to one problem, and what its statement and gold answer are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extrap_eval.errors import UserError
from extrap_eval.importers.sample import ImportedSample, gold_of, text_of
from extrap_eval.problems.golds import gold_text
from extrap_eval.problems.problem import AnswerKind, Problem
from extrap_eval.problems.rows import Row, read_rows

_STATEMENT_KEYS = ("problem", "question", "prompt")
_GOLD_KEYS = ("gold", "answer", "gt")


@dataclass(frozen=True)
class Reference:
    """A problem as a table of reference answers has it."""

    id: str | None
    text: str
    gold: str
    difficulty: float | None = None


def read_references(path: Path) -> list[Reference]:
    """Reference answers from a .json (a list of objects), .jsonl, .parquet or .csv file.

    The statement is in ``problem``, ``question`` or ``prompt``, the answer in ``gold``, ``answer`` or
    ``gt``; an ``id`` may be there. Raises UserError naming file and row.
    """
    try:
        rows = read_rows(path)
    except OSError as error:
        raise UserError(f"--gold {path}: cannot be read: {error.strerror or error}") from error
    if not rows:
        raise UserError(f"--gold {path}: has no rows")
    return [
        Reference(
            id=text_of(row.get("id")),
            text=str(_first(row, _STATEMENT_KEYS, where)),
            gold=gold_of(_first(row, _GOLD_KEYS, where), "gold", where),
        )
        for where, row in rows
    ]


def _first(row: Row, keys: Sequence[str], where: str) -> Any:
    for key in keys:
        if row.get(key) is not None:
            return row[key]
    raise UserError(f"{where}: has none of the fields {', '.join(keys)} (the row's fields: {', '.join(row) or 'none'})")


def group(
    samples: Iterable[ImportedSample], references: Sequence[Reference] | None, kind: AnswerKind
) -> tuple[list[Problem], list[ImportedSample]]:
    """The problems, and the samples with ``problem_id`` and ``sample_index`` filled in.

    Samples belong to one problem when the log gives them one id or, without ids, one statement (or prompt);
    blanks do not matter. Their indices count up in the order in which they come. With ``references`` every
    problem takes statement and answer (and id, where it has one) from the entry with its statement, or else
    the longest whose statement its own or its prompt holds, or else the one with its id. Problems come in
    the order of the references, or of first appearance.

    Raises UserError when one id has two statements, a problem has no gold answer or ``references`` lack it.
    """
    table = None if references is None else _References(references)
    problems: dict[str, Problem] = {}
    first: dict[str, ImportedSample] = {}
    statements: dict[str, str] = {}
    counts: dict[str, int] = {}
    numbered = []
    for sample in samples:
        key = sample.problem_id if sample.problem_id is not None else _own_text(sample)
        if not key:
            raise UserError(f"{sample.where}: the row has neither an id nor a statement of its problem")
        # A prompt alone may differ in its instruction; the reference's statement is what it has to hold.
        reference = None if table is None else table.find(sample)
        statement = _own_text(sample) if reference is None else reference.text
        if key not in problems:
            problems[key] = _problem(sample, reference, kind, row_id=str(len(problems)))
            first[key], statements[key], counts[key] = sample, statement, 0
        elif statement != statements[key]:
            raise UserError(
                f"{sample.where}: problem {key} has another statement here than in {first[key].where}; "
                "import the files into separate runs"
            )
        numbered.append(replace(sample, problem_id=problems[key].id, sample_index=counts[key]))
        counts[key] += 1
    _refuse_shared_ids(problems, first)
    ordered = list(problems.values())
    if references is not None:
        place = {reference.text: index for index, reference in enumerate(references)}
        ordered.sort(key=lambda problem: place[problem.text])
    return ordered, numbered


def _problem(sample: ImportedSample, reference: Reference | None, kind: AnswerKind, *, row_id: str) -> Problem:
    id, text, gold, difficulty = sample.problem_id, sample.problem or sample.prompt_text, sample.gold, None
    if reference is not None:
        id, text, gold, difficulty = reference.id or id, reference.text, reference.gold, reference.difficulty
    if gold is None or text is None:
        lacking = "gold answer" if gold is None else "statement"
        raise UserError(f"{sample.where}: the log has no {lacking} of this problem; name a file that has, with --gold")
    try:
        gold = gold_text(gold, kind)
    except ValueError as error:
        raise UserError(f"{sample.where}: {error}") from None
    return Problem(id=id if id is not None else row_id, text=text, gold=gold, kind=kind, difficulty=difficulty)


def _refuse_shared_ids(problems: dict[str, Problem], first: dict[str, ImportedSample]) -> None:
    keys: dict[str, str] = {}
    for key, problem in problems.items():
        if (other := keys.setdefault(problem.id, key)) != key:
            raise UserError(
                f"{first[key].where}: is problem {problem.id} of the --gold file, and so is "
                f"{first[other].where}, though the log tells them apart; correct the ids in the log"
            )


class _References:
    """Finds the entry of a sample's problem."""

    def __init__(self, references: Sequence[Reference]):
        self._by_text = {_normal(reference.text): reference for reference in references}
        self._by_id = {reference.id: reference for reference in references if reference.id is not None}
        self._longest_first = sorted(filter(None, self._by_text), key=len, reverse=True)
        self._found: dict[tuple[str | None, str], Reference] = {}

    def find(self, sample: ImportedSample) -> Reference:
        key = (sample.problem_id, _own_text(sample))
        if key not in self._found:
            self._found[key] = self._search(sample, *key)
        return self._found[key]

    def _search(self, sample: ImportedSample, id: str | None, whole: str) -> Reference:
        if whole in self._by_text:
            return self._by_text[whole]
        for text in self._longest_first:
            if text in whole:
                return self._by_text[text]
        if id in self._by_id:
            return self._by_id[id]
        raise UserError(f"{sample.where}: the --gold file has no problem with this statement or id; add it there")


def _own_text(sample: ImportedSample) -> str:
    return _normal(sample.problem or sample.prompt_text or "")


def _normal(text: str) -> str:
    return " ".join(text.split())


def take_evenly(samples: Sequence[ImportedSample], n: int | None) -> tuple[int, list[ImportedSample]]:
    """The number of samples per problem, and the first so many of every problem.

    Raises UserError, naming problems, when ``n`` is None and they have unequally many, or one has fewer
    than ``n``.
    """
    counts = Counter(str(sample.problem_id) for sample in samples)
    fewest, most = min(counts.values()), max(counts.values())
    if n is None and fewest != most:
        short = _listed({id: count for id, count in counts.items() if count < most})
        raise UserError(f"not every problem has {most} samples: {short}; --n {fewest} takes the first {fewest} of each")
    if n is not None and fewest < n:
        short = _listed({id: count for id, count in counts.items() if count < n})
        raise UserError(f"--n {n}: {short}; --n {fewest} is the most that every problem has")
    n = fewest if n is None else n
    return n, [sample for sample in samples if sample.sample_index < n]


def _listed(counts: dict[str, int], most: int = 8) -> str:
    shown = [f"problem {id} has {count}" for id, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f" and {len(counts) - most} more have too few" if len(counts) > most else "")

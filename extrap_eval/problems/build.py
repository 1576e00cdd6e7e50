"""Rows of a dataset -> problems, as a benchmark card's fields, filters and take say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError
from extrap_eval.problems.golds import gold_text, last_boxed
from extrap_eval.problems.problem import AnswerKind, Problem
from extrap_eval.problems.rows import Placed, Row, pick

if TYPE_CHECKING:
    from extrap_eval.cards.schema import Fields, Filter, Take

_Numbered = tuple[int, str, Row]


def build_problems(
    rows: Sequence[Placed],
    fields: Fields,
    kind: AnswerKind,
    filters: Sequence[Filter] = (),
    take: Take | None = None,
) -> list[Problem]:
    """The problems in the order of the rows. A row without an id is named by its number before any filter.

    Raises UserError naming the row for a missing field, a bad value, an answer that is not of its kind, an id
    used twice; and for too few rows.
    """
    numbered = [(number, place, row) for number, (place, row) in enumerate(rows)]
    kept = [entry for entry in numbered if all(_passes(entry, condition) for condition in filters)]
    if take is not None:
        kept = _taken(kept, take)
    if not kept:
        raise UserError(f"none of {len(rows)} rows is left after filters" if rows else "there are no rows")
    problems = [_problem(entry, fields, kind) for entry in kept]
    _refuse_twins(problems, kept)
    return problems


def _passes(entry: _Numbered, condition: Filter) -> bool:
    value = _value(entry, "filters", condition.field)
    if condition.equals is not None and not _same(value, condition.equals):
        return False
    if condition.in_ is not None and not any(_same(value, one) for one in condition.in_):
        return False
    if condition.min is None and condition.max is None:
        return True
    number = _number(value)
    if number is None:
        raise UserError(f"{entry[1]}: {condition.field}: {value!r} is not a number, but has a min or max")
    return (condition.min is None or number >= condition.min) and (condition.max is None or number <= condition.max)


def _taken(entries: list[_Numbered], take: Take) -> list[_Numbered]:
    left: dict[Any, int] = dict(take.counts)
    chosen = []
    for entry in entries:
        value = _value(entry, "take", take.field)
        key = next((key for key in left if _same(value, key)), None)
        if key is not None and left[key] > 0:
            left[key] -= 1
            chosen.append(entry)
    for key, missing in left.items():
        if missing:
            asked = take.counts[key]
            raise UserError(
                f"take.counts.{key}: {asked} rows asked, but {take.field} is {key} in {asked - missing} only"
            )
    return chosen


def _problem(entry: _Numbered, fields: Fields, kind: AnswerKind) -> Problem:
    number, place, _ = entry
    identity = number if fields.id is None else _value(entry, "fields.id", fields.id)
    if isinstance(identity, bool) or not isinstance(identity, (str, int)) or not str(identity).strip():
        raise UserError(f"{place}: {fields.id}: {identity!r} is no id; it must be text or a whole number")
    try:
        gold = gold_text(_answer(entry, fields), kind)
    except ValueError as error:
        raise UserError(f"{place}: problem {identity}: {error}") from None
    return Problem(
        id=str(identity),
        text=_statement(entry, fields),
        gold=gold,
        kind=kind,
        difficulty=_difficulty(entry, fields),
    )


def _statement(entry: _Numbered, fields: Fields) -> str:
    text = _value(entry, "fields.problem", fields.problem)
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{entry[1]}: {fields.problem}: {text!r} is not the text of a problem")
    text = text.strip()
    if fields.problem_suffix is None:
        return text
    suffix = fields.problem_suffix.strip()
    if not text.endswith(suffix) or text == suffix:
        raise UserError(f"{entry[1]}: {fields.problem}: does not end with fields.problem_suffix {suffix!r}")
    return text.removesuffix(suffix).rstrip()


def _answer(entry: _Numbered, fields: Fields) -> Any:
    if fields.answer is not None:
        return _value(entry, "fields.answer", fields.answer)
    assert fields.answer_from_solution is not None
    solution = _value(entry, "fields.answer_from_solution", fields.answer_from_solution)
    boxed = last_boxed(solution) if isinstance(solution, str) else None
    if boxed is None:
        raise UserError(f"{entry[1]}: {fields.answer_from_solution}: has no \\boxed{{...}} to take the answer from")
    return boxed


def _difficulty(entry: _Numbered, fields: Fields) -> float | None:
    if fields.difficulty is None:
        return None
    try:
        value = pick(entry[2], fields.difficulty)
    except KeyError:
        return None
    number = _number(value)
    if number is None and value not in (None, ""):
        raise UserError(f"{entry[1]}: {fields.difficulty}: {value!r} is not a number")
    return number


def _value(entry: _Numbered, field: str, path: str) -> Any:
    _, place, row = entry
    try:
        return pick(row, path)
    except KeyError:
        raise UserError(f"{place}: {field}: there is no {path}; the fields here are {', '.join(row)}") from None


def _same(value: Any, wanted: Any) -> bool:
    """Equal; as numbers where both are, so that 4, 4.0 and "4" are the same, but True and 1 are not."""
    one, other = _number(value), _number(wanted)
    return one == other if one is not None and other is not None else value == wanted and type(value) is type(wanted)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _refuse_twins(problems: list[Problem], entries: list[_Numbered]) -> None:
    name, uses = Counter(problem.id for problem in problems).most_common(1)[0]
    if uses > 1:
        places = [place for problem, (_, place, _) in zip(problems, entries, strict=True) if problem.id == name]
        raise UserError(f"{places[1]}: id {name!r} is used already, by {places[0]}")

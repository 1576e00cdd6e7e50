"""What is wrong with a card, in one line: field, value, mend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from extrap_eval.cards.schema import nearest
from extrap_eval.errors import UserError

_LONGEST_VALUE = 60
_EXPECTED = {
    "string_type": "text",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
}
_Path = tuple[str | int, ...]


def card_error(where: str, error: ValidationError, model: type[BaseModel]) -> UserError:
    """The first thing wrong, in full, and the names of the other fields in question."""
    by_field: dict[_Path, list[Any]] = {}  # a union of types reports each of its members
    for detail in error.errors(include_url=False):
        by_field.setdefault(_field_path(detail["loc"], model), []).append(detail)
    (path, details), *others = by_field.items()
    phrase = _phrase(details, path, model)
    # A rule about several fields of one part names the one at fault itself.
    if named := re.match(r"([a-z_]+): ", phrase):
        path, phrase = (*path, named[1]), phrase[named.end() :]
    more = f" (and {len(others)} more: {', '.join(_dotted(other) for other, _ in others)})" if others else ""
    return UserError(f"{where}: {_dotted(path)}{': ' if path else ''}{phrase}{more}")


def _dotted(path: _Path) -> str:
    return ".".join(map(str, path))


def _phrase(details: Sequence[Any], path: _Path, model: type[BaseModel]) -> str:
    kind, value, context = details[0]["type"], details[0]["input"], details[0].get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        known = _field_names(_part(model, path[:-1]))
        return f"unknown field{nearest(str(path[-1]), known) or '; the fields here are ' + ', '.join(known)}"
    if kind == "missing":
        return "missing"
    shown = repr(value)
    if len(shown) > _LONGEST_VALUE:
        shown = shown[: _LONGEST_VALUE - 3] + "..."
    if kind == "literal_error":
        return f"{shown} is not one of {context['expected']}"
    kinds = [detail["type"] for detail in details]
    if not all(kind in _EXPECTED for kind in kinds):
        return f"{shown}: {details[0]['msg']}"
    expected = " or ".join(dict.fromkeys(_EXPECTED[kind] for kind in kinds))
    return f"{shown} is not {expected}{_mend(value, expected)}"


def _mend(value: Any, expected: str) -> str:
    if expected == "text" and isinstance(value, (int, float)):
        return "; put it in quotes"
    if "number" in expected and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return ""
        # YAML reads 1e-6 as text, and its own way to write it, 1.0e-06, as a number.
        return f"; write {yaml.safe_dump(number).split()[0]}, without quotes"
    return ""


def _field_path(location: _Path, model: type[BaseModel]) -> _Path:
    """The place in the YAML: pydantic appends the types of a union, which are no fields."""
    path: _Path = ()
    for key in location:
        if _part(model, path) is None and key in ("str", "int", "float", "bool", "[key]"):
            break
        path += (key,)
    return path


def _part(model: type[BaseModel], path: _Path) -> type[BaseModel] | None:
    """The model that describes the mapping at ``path``, None where values are free."""
    part: type[BaseModel] | None = model
    for key in path:
        if isinstance(key, int) or part is None:
            continue
        annotations = {field.alias or name: field.annotation for name, field in part.model_fields.items()}
        part = _model_within(annotations.get(key))
    return part


def _model_within(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_within, get_args(annotation))), None)


def _field_names(part: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in part.model_fields.items()] if part else []

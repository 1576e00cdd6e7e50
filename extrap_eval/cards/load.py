"""Finds, reads and writes cards."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ValidationError

from extrap_eval.cards.messages import card_error
from extrap_eval.cards.schema import BenchmarkCard, ModelCard, nearest
from extrap_eval.errors import UserError

CardKind = Literal["model", "benchmark"]
Card = TypeVar("Card", ModelCard, BenchmarkCard)

_FOLDERS: dict[CardKind, str] = {"model": "model_cards", "benchmark": "benchmarks"}
_SUFFIXES = (".yaml", ".yml")


def load_model_card(name_or_path: str | Path) -> ModelCard:
    """A shipped model card by name (case does not matter), or any by path.

    Raises UserError, naming file, field and value, for an unknown name, a missing file or an invalid card.
    """
    return _load(find_card("model", name_or_path), ModelCard)


def load_benchmark_card(name_or_path: str | Path) -> BenchmarkCard:
    """A shipped benchmark card by name (case does not matter), or any by path; raises likewise."""
    return _load(find_card("benchmark", name_or_path), BenchmarkCard)


def list_cards(kind: CardKind) -> list[Path]:
    """The shipped cards of one kind, by name."""
    return sorted(_shipped(kind).glob("*.yaml"), key=lambda path: path.stem.lower())


def find_card(kind: CardKind, name_or_path: str | Path) -> Path:
    """The file of a card. Raises UserError with the nearest names if there is none."""
    path = Path(name_or_path)
    if path.suffix in _SUFFIXES or path.is_absolute() or len(path.parts) > 1:
        if not path.is_file():
            raise UserError(f"{name_or_path}: {'a folder, not a card' if path.is_dir() else 'no such file'}")
        return path
    cards = {card.stem.lower(): card for card in list_cards(kind)}
    if (found := cards.get(str(name_or_path).lower())) is None:
        hint = nearest(str(name_or_path), [card.stem for card in cards.values()], number=3)
        raise UserError(
            f"no {kind} card is named {name_or_path}{hint or '; extrap-eval cards list shows all'} "
            "(a path to a YAML file works too)"
        )
    return found


def is_benchmark(path: Path) -> bool:
    """Whether a card file describes a benchmark: those have a source, model cards have none."""
    return "source" in read_yaml(path, shown_path(path))


def dump_card(card: ModelCard | BenchmarkCard) -> str:
    """The card as YAML, every default spelled out; loading it gives an equal card."""
    values = card.model_dump(by_alias=True)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def changed(card: Card, changes: Mapping[str, Any]) -> Card:
    """The card with some top-level fields replaced and everything checked again.

    Raises UserError as loading does.
    """
    model = type(card)
    try:
        return model.model_validate({**card.model_dump(by_alias=True), **changes})
    except ValidationError as error:
        raise card_error(f"card {card.name}", error, model) from None


def _shipped(kind: CardKind, package: Path = Path(__file__).parent) -> Path:
    """The folder of the shipped cards: inside an installed package, or at the top of a checkout."""
    installed = package / "shipped" / _FOLDERS[kind]
    return installed if installed.is_dir() else package.parents[1] / _FOLDERS[kind]


def _load(path: Path, model: type[Card]) -> Card:
    where = shown_path(path)
    values = read_yaml(path, where)
    try:
        return model.model_validate(values, context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise card_error(where, error, model) from None


def shown_path(path: Path) -> str:
    """The path as a person would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, where plain YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{key!r} is given twice", problem_mark=key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that escapes the rarer line ends, which PyYAML writes bare and reads back as spaces."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(end in text for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def read_yaml(path: Path, where: str) -> dict[str, Any]:
    """A YAML file that is one mapping. ``where``: its name in messages. Raises UserError for anything else."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not UTF-8 text (byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # unprintable characters, impossible dates
        raise UserError(f"{where}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{where}: {'is empty' if values is None else 'is not a mapping of fields to values'}")
    return values

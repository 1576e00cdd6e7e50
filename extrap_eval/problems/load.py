"""A benchmark card -> problems."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.errors import UserError
from extrap_eval.problems.build import build_problems
from extrap_eval.problems.countdown import countdown
from extrap_eval.problems.hidden_number import hidden_number
from extrap_eval.problems.multiplication import multiplication
from extrap_eval.problems.problem import Problem
from extrap_eval.problems.residue_search import residue_search
from extrap_eval.problems.rows import Placed, hub_rows, read_rows

if TYPE_CHECKING:
    from extrap_eval.cards.schema import BenchmarkCard, Source

logger = logging.getLogger(__name__)

GENERATORS: dict[str, Callable[..., list[Problem]]] = {
    "countdown": countdown,
    "multiplication": multiplication,
    "hidden_number": hidden_number,
    "residue_search": residue_search,
}


class _Unavailable(Exception):
    """A source that is not there; the next one may be."""


class _HubUnreachable(_Unavailable):
    """No use in asking the hub for another dataset."""


def load_problems(card: BenchmarkCard) -> list[Problem]:
    """The problems of a benchmark, in order.

    Fallbacks are tried in order when a source is not to be had (not when its content is wrong); the log says
    which one was used. Raises UserError when none is, when a row or an argument is wrong, and when size or
    sha256 are not as the card says.
    """
    return load_with_source(card)[0]


def load_with_source(card: BenchmarkCard) -> tuple[list[Problem], Source]:
    """As `load_problems`, and the source that was used."""
    tried: list[str] = []
    hub_reachable = True
    for source in (card.source, *card.fallbacks):
        try:
            if source.hf is not None and not hub_reachable:
                raise _Unavailable("not tried, the hub is out of reach")
            problems = _generated(card, source) if source.generator else _read(card, source)
        except _Unavailable as error:
            hub_reachable = hub_reachable and not isinstance(error, _HubUnreachable)
            tried.append(f"{source}: {error}")
            continue
        if tried:
            logger.warning("benchmark card %s: using %s; not to be had: %s", card.name, source, "; ".join(tried))
        _check(card, source, problems)
        return problems, source
    raise UserError(
        f"benchmark card {card.name}: no source can be read: {'; '.join(tried)}; "
        "give the problems with --problems FILE.jsonl, or write a card with source: {file: PATH}"
    )


def fingerprint(problems: Sequence[Problem]) -> str:
    """The sha256 hex digest of the problems, their order included, as canonical JSON."""
    content = [astuple(problem) for problem in problems]
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(card: BenchmarkCard, source: Source) -> list[Problem]:
    rows = _file_rows(Path(source.file)) if source.file is not None else _hub_rows(source)
    try:
        return build_problems(rows, source.fields or card.fields, card.answer.kind, card.filters, card.take)
    except UserError as error:
        raise UserError(f"benchmark card {card.name}: {error}") from None


def _file_rows(path: Path) -> list[Placed]:
    try:
        return read_rows(path)
    except OSError as error:
        raise _Unavailable((error.strerror or str(error)).lower()) from error


def _hub_rows(source: Source) -> list[Placed]:
    assert source.hf is not None
    assert source.split is not None
    from huggingface_hub import constants

    try:
        rows = hub_rows(source.hf, config=source.config, revision=source.revision, split=source.split)
    # Some twenty kinds of exception mean that a dataset, a split or the network is not there.
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
        # Offline mode fails at once, and the next dataset may be in the local cache.
        lost = isinstance(error, ConnectionError) and not constants.HF_HUB_OFFLINE
        raise (_HubUnreachable if lost else _Unavailable)(reason) from error
    return [(f"{source}: row {number}", row) for number, row in enumerate(rows)]


def _generated(card: BenchmarkCard, source: Source) -> list[Problem]:
    assert source.generator is not None
    generate = GENERATORS[source.generator]
    where = f"benchmark card {card.name}: source.args"
    try:
        inspect.signature(generate).bind(**source.args)
    except TypeError as error:
        known = ", ".join(inspect.signature(generate).parameters)
        raise UserError(f"{where}: {error}; {source.generator} takes {known}") from None
    try:
        problems = generate(**source.args)
    except ValueError as error:
        raise UserError(f"{where}.{error}") from None
    if problems[0].kind != card.answer.kind:
        raise UserError(
            f"benchmark card {card.name}: answer.kind: {card.answer.kind} is not {problems[0].kind}, "
            f"which {source.generator} makes"
        )
    return problems


def _check(card: BenchmarkCard, source: Source, problems: list[Problem]) -> None:
    where = f"benchmark card {card.name}: {source}"
    if card.size is not None and len(problems) != card.size:
        raise UserError(
            f"{where}: has {len(problems)} problems, but size is {card.size}; correct size if the source has "
            "changed on purpose, else pin its revision"
        )
    if card.sha256 is not None and (actual := fingerprint(problems)) != card.sha256:
        raise UserError(
            f"{where}: not the known problems: sha256 is {actual}, not {card.sha256}; correct sha256 "
            "if the source has changed on purpose, else pin its revision"
        )

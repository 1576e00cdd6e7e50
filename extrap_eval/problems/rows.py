"""Rows of local files, hub datasets and nested records."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from extrap_eval.errors import UserError

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")

Row = dict[str, Any]
Placed = tuple[str, Row]  # where a row stands, for messages, and the row


def read_rows(path: Path) -> list[Placed]:
    """The rows of a .jsonl, .json (a list of objects), .parquet or .csv file, in order.

    Raises:
        OSError: the file cannot be opened.
        UserError: it is none of these, or a line of it is broken; names file and line.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: problems are read from {', '.join(SUFFIXES)} files, not from {path.suffix or 'this'}")
    if path.suffix == ".parquet":
        return _placed(path, _parquet_rows(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    if path.suffix == ".jsonl":
        lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [(place, _object(_json(line, place), place)) for place, line in lines]
    if path.suffix == ".json":
        rows = _json(text, str(path))
        if not isinstance(rows, list):
            raise UserError(f"{path}: is not a list of problems; one object per line goes into a .jsonl file")
        return _placed(path, rows)
    table = list(csv.DictReader(io.StringIO(text)))
    for number, row in enumerate(table):
        if None in row:
            raise UserError(f"{path}: row {number}: has more cells than the header")
    return _placed(path, table)


def hub_rows(name: str, *, config: str | None, revision: str | None, split: str) -> list[Row]:
    """The rows of a hub dataset (or of a folder in its form), through the ``datasets`` library.

    Raises whatever ``datasets`` raises when it is not to be had.
    """
    with quiet_hub():
        from datasets import load_dataset

        return list(load_dataset(name, config, revision=revision, split=split))


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Use the hub's client without a line for every retry: the one error at the end says it all."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def pick(row: Any, path: str) -> Any:
    """The value at a dotted path; numbers in it are places in lists. Raises KeyError if there is none."""
    if isinstance(row, dict) and path in row:  # a column whose own name has dots
        return row[path]
    head, _, rest = path.partition(".")
    try:
        value = row[int(head)] if isinstance(row, list) else row[head]
    except (KeyError, IndexError, TypeError, ValueError):
        raise KeyError(path) from None
    return pick(value, rest) if rest else value


def _placed(path: Path, rows: list[Any]) -> list[Placed]:
    return [(place, _object(row, place)) for place, row in ((f"{path}: row {i}", row) for i, row in enumerate(rows))]


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f" (line {error.lineno})" if error.lineno > 1 else ""
        raise UserError(f"{place}: not valid JSON{line}: {error.msg} at column {error.colno}") from error


def _object(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{place}: is not an object with fields such as problem and answer")
    return value


def _parquet_rows(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        try:
            rows: list[Row] = pq.read_table(file).to_pylist()
        except pa.ArrowException as error:
            raise UserError(f"{path}: not a readable Parquet file: {error}") from error
    return rows

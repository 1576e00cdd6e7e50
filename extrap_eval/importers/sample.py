"""What every importer yields, and the lines and fields it reads it from."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extrap_eval.engines.base import FinishReason
from extrap_eval.errors import UserError
from extrap_eval.problems.golds import gold_text
from extrap_eval.problems.rows import pick

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class ImportedSample:
    """One completion of another harness's log.

    At least one of ``token_ids`` (the exact generated ids: int32, shape (completion tokens,)) and ``text``
    is there. None means that the log does not say. ``author_label`` is the verdict of those who made the
    log. ``sample_index`` counts the samples of a problem in the order of files and rows; an importer leaves
    it 0, ``group`` fills it in. ``file`` and ``row`` (from 1) say where it was read. ``recorded_tokens`` is
    the completion's length by the log's own count.
    """

    problem_id: str | None
    problem: str | None
    gold: str | None
    sample_index: int
    file: Path
    row: int
    token_ids: np.ndarray | None = None
    text: str | None = None
    finish_reason: FinishReason | None = None
    author_label: bool | None = None
    prompt_text: str | None = None
    prompt_token_ids: np.ndarray | None = None
    recorded_tokens: int | None = None

    @property
    def where(self) -> str:
        return f"{self.file}:{self.row}"


@dataclass(frozen=True)
class LogSettings:
    """What a log says about how it was sampled; None where it does not."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file, plain or gzip; blank lines are skipped.

    Raises UserError for a file that cannot be read, a torn gzip and a line that is not a JSON object.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            stream = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if packed else raw
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, _json_object(line, f"{path}:{number}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: the gzip file is torn or damaged ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not a line of JSON ({error}); is this a JSON-lines file?") from error
    if not isinstance(value, dict):
        raise UserError(f"{where}: holds {type(value).__name__}, not an object with fields; is this a JSON-lines file?")
    return value


def field(row: Mapping[str, Any], path: str, where: str, mend: str) -> Any:
    """The value at a dotted path; a number in it is a place in a list. Raises UserError for none."""
    try:
        return pick(row, path)
    except KeyError:
        known = ", ".join(sorted(row)[:12]) or "none"
        raise UserError(f"{where}: no field {path!r} (the row's fields: {known}); {mend}") from None


def optional_field(row: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None when there is none."""
    try:
        return pick(row, path)
    except KeyError:
        return None


def completions_of(value: Any, path: str, where: str) -> list[str]:
    """The completions in a field that holds one text or a list of texts, at least one."""
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        raise UserError(f"{where}: {path}: {shown} is not a completion (text) or a list of them; remove the row")
    return texts


def text_of(value: Any) -> str | None:
    """An id or a statement as text; None stays None."""
    return None if value is None else str(value)


def gold_of(value: Any, path: str, where: str) -> str:
    """A reference answer as text: 204, 204.0 and ["204"] are all "204"."""
    try:
        return gold_text(value, "math")
    except ValueError as error:
        raise UserError(f"{where}: {path}: {error}") from None


def per_completion(value: Any, count: int, path: str, where: str) -> list[Any]:
    """One value for each of ``count`` completions of a row: from a list as long, or the one value for all."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise UserError(f"{where}: {path}: has {len(value)} values for {count} completions")
    return value


def label_of(value: Any, path: str, where: str) -> bool | None:
    """An author's verdict: true and false, or a number that is positive for right."""
    if value is None:
        return None
    if isinstance(value, (bool, int, float)):
        return bool(value > 0)
    raise UserError(f"{where}: {path}: {value!r} is neither true, false nor a number")

"""The formats by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from extrap_eval.errors import UserError
from extrap_eval.importers.areal import read_areal
from extrap_eval.importers.jsonl import read_jsonl
from extrap_eval.importers.lighteval import read_lighteval, read_settings
from extrap_eval.importers.qwen_math import read_qwen_math
from extrap_eval.importers.sample import ImportedSample, LogSettings

FORMATS = ("lighteval", "qwen-math", "areal", "jsonl")


def read_samples(
    format: str, paths: Sequence[Path], fields: Mapping[str, str] | None = None
) -> tuple[list[ImportedSample], LogSettings]:
    """All samples of a log, in the order of files and rows, and what it says about how they were sampled.

    ``fields`` says which field holds what, for the format ``jsonl`` and no other.

    Raises UserError for an unknown format, a path that is not there and anything in a file that is not as
    the format has it.
    """
    if format not in FORMATS:
        raise UserError(f"format {format}: unknown; it is one of {', '.join(FORMATS)}")
    if not paths:
        raise UserError("name at least one file to import")
    if fields and format != "jsonl":
        raise UserError(f"--field belongs to the format jsonl; {format} knows its own fields")
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if path.is_dir() and format != "areal":
            raise UserError(f"{path}: a folder; name the files in it")
    settings = LogSettings()
    if format == "lighteval":
        samples = list(read_lighteval(paths))
        settings = read_settings(paths)
    elif format == "qwen-math":
        samples = list(read_qwen_math(paths))
    elif format == "areal":
        samples = list(read_areal(paths))
    else:
        samples = list(read_jsonl(paths, fields or {}))
    if not samples:
        raise UserError(f"{', '.join(map(str, paths))}: no completions")
    return samples, settings

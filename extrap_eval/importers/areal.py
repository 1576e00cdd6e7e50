"""Rollout files of AReaL: JSON lines, one row per completion, one file per problem.

A row has the rendered ``prompt``, the ``completion`` with its end token, ``seqlen`` and ``prompt_len`` in
tokens, the ``reward`` and a ``question_id``; it has neither the bare statement nor the gold answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from extrap_eval.errors import UserError
from extrap_eval.importers.sample import (
    ImportedSample,
    completions_of,
    field,
    label_of,
    read_json_lines,
    text_of,
)

_MEND = "is this a rollout file of AReaL?"


def read_areal(paths: Sequence[Path]) -> Iterator[ImportedSample]:
    """``paths`` are files, or folders whose .jsonl files are read in the order of their numbers.

    Raises UserError naming file, row and field for anything that is not as AReaL writes it.
    """
    for path in rollout_files(paths):
        for row, record in read_json_lines(path):
            where = f"{path}:{row}"
            (text,) = completions_of(field(record, "completion", where, _MEND), "completion", where)
            total, prompt = record.get("seqlen"), record.get("prompt_len")
            yield ImportedSample(
                problem_id=text_of(record.get("question_id")),
                problem=None,
                gold=None,
                sample_index=0,
                file=path,
                row=row,
                text=text,
                author_label=label_of(record.get("reward"), "reward", where),
                prompt_text=str(field(record, "prompt", where, _MEND)),
                recorded_tokens=total - prompt if isinstance(total, int) and isinstance(prompt, int) else None,
            )


def rollout_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, with every folder replaced by its .jsonl files, 2.jsonl before 10.jsonl."""
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted((p for p in path.iterdir() if p.name.endswith((".jsonl", ".jsonl.gz"))), key=_by_number)
        if not found:
            raise UserError(f"{path}: a folder without .jsonl files; name the folder that holds them")
        files += found
    return files


def _by_number(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]

"""What a run was made from: its problems with their prompts, and the table that turns token ids into bytes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.problems.problem import AnswerKind, Problem
from extrap_eval.store.atomic import publish
from extrap_eval.store.parquet import read_batches, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from extrap_eval.scoring.tokens import TokenTable

PROBLEMS, TOKENS = "problems.parquet", "tokens.npz"

_RESTORE = "restore the file from a copy of the run"


def write_problems(directory: Path, problems: Sequence[Problem], prompts: Mapping[str, np.ndarray]) -> None:
    """A problem without prompt gets an empty one. Raises UserError when the disk refuses."""
    write_rows(directory / PROBLEMS, _schema(), _rows(problems, prompts))


def read_problems(directory: Path) -> list[Problem]:
    """In benchmark order. Raises UserError when the file is damaged, as all readers here."""
    return [
        Problem(row["id"], row["text"], row["gold"], cast(AnswerKind, row["kind"]), row["difficulty"])
        for row in _read(directory, ["id", "text", "gold", "kind", "difficulty"])
    ]


def read_problem_ids(directory: Path) -> list[str]:
    return [row["id"] for row in _read(directory, ["id"])]


def read_prompts(directory: Path) -> dict[str, np.ndarray]:
    """Problem id -> int32, shape (prompt tokens,)."""
    return {
        row["id"]: np.array(row["prompt_token_ids"], dtype=np.int32)
        for row in _read(directory, ["id", "prompt_token_ids"])
    }


def write_token_table(directory: Path, table: TokenTable) -> None:
    """Raises UserError when the disk refuses."""
    arrays = {
        f"bytes:{name}" if isinstance(value, bytes) else name: np.frombuffer(value, dtype=np.uint8)
        if isinstance(value, bytes)
        else value
        for name, value in table.to_arrays().items()
    }

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    publish(directory / TOKENS, fill)


def read_token_table(directory: Path) -> TokenTable | None:
    """None when the run has none."""
    from extrap_eval.scoring.tokens import TokenTable

    path = directory / TOKENS
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return TokenTable.from_arrays(
                {
                    name.removeprefix("bytes:"): file[name].tobytes() if name.startswith("bytes:") else file[name]
                    for name in file.files
                }
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged ({error}): {_RESTORE}") from error


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("gold", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("difficulty", pa.float64()),
            pa.field("prompt_token_ids", pa.list_(pa.int32()), nullable=False),
        ]
    )


def _rows(problems: Sequence[Problem], prompts: Mapping[str, np.ndarray]) -> Iterator[tuple[dict[str, Any], int]]:
    for problem in problems:
        ids = np.asarray(prompts.get(problem.id, ()), dtype=np.int32)
        yield {**asdict(problem), "prompt_token_ids": ids}, 4 * len(ids) + len(problem.text)


def _read(directory: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for batch in read_batches(directory / PROBLEMS, _schema(), columns=columns, mend=_RESTORE):
        yield from batch.to_pylist()

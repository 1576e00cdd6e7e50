"""The completions of one stage: sealed parts and a journal, read as one stream."""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.store.journal import Journal, open_journal, read_journal
from extrap_eval.store.lock import WriterLock
from extrap_eval.store.parquet import completion_schema, part_schema, read_batches, write_rows
from extrap_eval.store.record import (
    COLUMNS,
    DISTRIBUTIONS,
    HEAVY,
    PLACE,
    Completion,
    Key,
    Place,
    completion_of,
    place_of,
)

SEAL_BYTES = 512 << 20  # a journal beyond this is sealed on the way, which bounds the disk a seal needs twice

JOURNAL = "journal.jsonl"
MEND = "move it out of the run directory and run the sampling command again to replace its completions"

_DISTRIBUTED = b'"%b":' % DISTRIBUTIONS.encode()  # in a journal's line that has some, and in no other

_ALWAYS = ("problem_id", "sample_index", "n_tokens", "crc32", *PLACE)


def part_paths(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.parquet"))


def read_rows(directory: Path, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """The named columns of every stored row once (the first of duplicates), sealed parts first.

    The key columns always come along, and the length and checksum of the ids with them. Raises UserError for
    a damaged part.
    """
    seen: set[Place] = set()
    # The journal is opened before the parts are listed: a seal in between then shows its rows twice, never
    # not.
    journal = open_journal(directory / JOURNAL)
    with journal or nullcontext():
        for path in part_paths(directory):
            yield from _unseen(part_rows(path, columns), seen)
        if journal is not None:
            yield from _unseen(read_journal(journal, heavy=HEAVY.intersection(columns)), seen)


def _unseen(rows: Iterator[dict[str, Any]], seen: set[Place]) -> Iterator[dict[str, Any]]:
    for row in rows:
        row["problem_id"] = sys.intern(row["problem_id"])
        place = place_of(row)
        if place not in seen:
            seen.add(place)
            yield row


def part_rows(path: Path, columns: Collection[str], groups: Iterable[int] | None = None) -> Iterator[dict[str, Any]]:
    """The named columns and the key columns of a part's rows, of all row groups or the given ones, checked."""
    schema = part_schema(path)
    wanted = {*columns, *_ALWAYS, *(COLUMNS if DISTRIBUTIONS in columns else ())}
    names = [name for name in schema.names if name in wanted]
    arrays = [name for name in COLUMNS[:-1] if name in names]
    for batch in read_batches(path, schema, columns=names, mend=MEND, groups=groups):
        ids = batch.column("token_ids") if "token_ids" in names else None
        kept = {name: batch.column(name) for name in arrays}
        lists = {name: batch.column(name).to_pylist() for name in names if name not in ("token_ids", *arrays)}
        for index in range(batch.num_rows):
            row = {name: values[index] for name, values in lists.items()}
            for name, column in kept.items():
                row[name] = column[index].values.to_numpy().copy() if column[index].is_valid else None
            if ids is not None:
                # Copied, so that whoever keeps one completion does not keep its whole row group in memory.
                row["token_ids"] = ids[index].values.to_numpy().astype(np.int32, copy=True)
                if zlib.crc32(row["token_ids"].astype("<i4", copy=False)) != row["crc32"]:
                    raise UserError(f"{path}: damaged (token ids of row {index} fail their CRC32): {MEND}")
            yield row


def read_completions(directory: Path, stage: str, *, heavy: Collection[str]) -> Iterator[Completion]:
    """Every stored completion once, ids and text only when they are among ``heavy``."""
    light = [name for name in completion_schema(placed=True).names if name not in HEAVY]  # distributions are heavy
    for row in read_rows(directory, [*light, *heavy]):
        yield completion_of(row, stage)


def read_keys(directory: Path) -> set[Key]:
    return {(row["problem_id"], row["sample_index"]) for row in read_rows(directory, ())}


def read_places(directory: Path) -> set[Place]:
    return {place_of(row) for row in read_rows(directory, ())}


def digest(directory: Path) -> str:
    """Fingerprint of what is stored, whatever the order it was stored in (sha256, hex)."""
    lines = sorted(
        "\t".join(map(str, (row["problem_id"], row["sample_index"], *_place(row), row["n_tokens"], row["crc32"])))
        + "\n"
        for row in read_rows(directory, ())
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _place(row: dict[str, Any]) -> list[int]:
    """The columns of ``PLACE`` as far as the row has them: none in a rollout."""
    return [row[name] for name in PLACE if name in row]


class StageWriter:
    """The one writer of a stage; use as a context manager. Not safe for two threads at once."""

    def __init__(self, directory: Path, stage: str, lock: WriterLock):
        self._directory = directory
        self._stage = stage
        self._lock = lock
        self._journal: Journal | None = None
        self._placed: bool | None = None  # decided by the first completion

    def __enter__(self) -> Self:
        """Raises UserError when another process writes this run, or the disk refuses."""
        if self._stage in self._lock.stages:  # the lock cannot tell: it is the same owner's
            raise RuntimeError(f"stage {self._stage!r} has a writer already")
        self._lock.acquire()
        try:
            self._journal = Journal(self._directory / JOURNAL)
        except BaseException:
            self._lock.release()
            raise
        self._lock.stages.add(self._stage)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open_journal().close()
        self._journal = None
        self._lock.stages.discard(self._stage)
        self._lock.release()

    def append(self, completions: Sequence[Completion]) -> None:
        """Returns once all of them are on disk; one fsync for all.

        A stage holds rollouts or completions with a place in a trace, never both. Raises UserError when the disk
        refuses; those that were already written whole stay, the others are missing.
        """
        for completion in completions:
            if completion.stage != self._stage:
                raise ValueError(f"a completion of stage {completion.stage!r} given to the writer of {self._stage!r}")
        if self._placed is None and completions:
            self._placed = completions[0].step is not None
        if any((completion.step is not None) != self._placed for completion in completions):
            raise ValueError(f"stage {self._stage!r}: some completions have a place in a trace and some have none")
        journal = self._open_journal()
        journal.append(completions)
        if journal.size >= SEAL_BYTES:
            self.seal()

    def seal(self) -> None:
        """Turn the journal into a Parquet part. Does nothing when the journal is empty.

        Raises UserError when the disk refuses; the journal then still holds everything.
        """
        journal = self._open_journal()
        if journal.size == 0:
            return
        parts = part_paths(self._directory)
        seen = {place_of(row) for part in parts for row in part_rows(part, ())}
        with journal.path.open("rb") as file:
            distributed = any(_DISTRIBUTED in line for line in file)
            file.seek(0)
            rows = _unseen(read_journal(file), seen)
            first = next(rows, None)
            if first is not None:  # None: a crash came between writing the last part and emptying the journal
                numbers = [int(part.stem.removeprefix("part-")) for part in parts]
                path = self._directory / f"part-{max(numbers, default=-1) + 1:05d}.parquet"
                schema = completion_schema(placed=PLACE[0] in first, distributed=distributed)
                write_rows(path, schema, _sized(chain([first], rows)))
        journal.restart()

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("the writer is not open: use it as a context manager")
        return self._journal


def _sized(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
    """Rows with their approximate size in memory, which decides where a row group ends."""
    for row in rows:
        yield row, 4 * row["n_tokens"] + 8 * len(row.get(COLUMNS[0], ())) + len(row["text"] or "") + 200

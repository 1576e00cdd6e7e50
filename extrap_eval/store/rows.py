"""Row layers: what was read from the completions of a run, one row each. Made again at will, as score layers are.

``made.json`` names the one file of the layer and is replaced by one rename, so a reader sees the old layer or the new
one, never half of either.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrap_eval.store.atomic import disk_error, make_directory, write_bytes
from extrap_eval.store.lock import WriterLock
from extrap_eval.store.parquet import read_batches, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

MADE = "made.json"


@dataclass(frozen=True)
class Made:
    """What a layer was made from (``Run.digest``) and how, and the name of its file."""

    completions_digest: str
    settings: Mapping[str, Any]
    file: str


class RowLayer:
    """One layer, a directory of its own. ``schema``: the columns of its rows."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.path = path
        self._schema = schema

    def made(self) -> Made | None:
        """None where there is no layer, or none that can be read: it is made again then."""
        try:
            made = json.loads((self.path / MADE).read_text(encoding="utf-8"))
            found = Made(made["completions_digest"], made["settings"], made["file"])
            return found if (self.path / found.file).exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row, streaming. Raises UserError when the file is missing or damaged."""
        made = self.made()
        path = self.path / (MADE if made is None else made.file)
        mend = f"remove {self.path}, and it is made again"
        for batch in read_batches(path, self._schema, columns=self._schema.names, mend=mend):
            yield from batch.to_pylist()

    def write(
        self, rows: Iterable[tuple[dict[str, Any], int]], *, completions_digest: str, settings: Mapping[str, Any]
    ) -> int:
        """Make the layer anew from rows, each with its approximate size in bytes; returns their number.

        ``completions_digest``: ``Run.digest`` from before the completions were read. ``settings``: plain JSON. Nothing
        is seen of it before the last row. Raises UserError when another process writes it, or the disk refuses.
        """
        try:
            make_directory(self.path)
        except OSError as error:
            raise disk_error(self.path, error) from error
        lock = WriterLock(self.path)
        lock.acquire()
        try:
            file = f"rows-{uuid.uuid4().hex[:8]}.parquet"
            count = write_rows(self.path / file, self._schema, rows)
            made = {"completions_digest": completions_digest, "settings": dict(settings), "file": file}
            write_bytes(self.path / MADE, json.dumps(made, indent=1).encode() + b"\n")
            for path in self.path.glob("rows-*.parquet"):
                if path.name != file:
                    path.unlink(missing_ok=True)
            return count
        finally:
            lock.release()

"""Traces in pieces that a page loads on demand.

A page opened from file:// may not fetch files, but it may run scripts that lie beside it. A chunk is therefore a script
of one call, ``reportChunk(number, "…")``, whose string is the base64 of a zlib stream of a JSON list of records. No
text of a model stands in it as such, so that there is nothing to escape. While all chunks together are small the
strings lie in the page itself.
"""

from __future__ import annotations

import base64
import re
import uuid
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from extrap_eval.store.atomic import disk_error

CHUNK = 1 << 20  # bytes of JSON after which a chunk is closed
INLINE = 6 << 20  # bytes of all chunks up to which they lie in the page
_LEVEL = 3  # of zlib: within a tenth of the default's size in a third of its time


class ChunkWriter:
    """Collects records, writes them beside the page once they are too large for it.

    The names of the files begin with an id of their own, so that a page and its chunks always belong together: a new
    page takes the place of the old one only when its chunks are there (``commit`` then removes those of the old one).
    """

    def __init__(self, page: Path, *, inline: int = INLINE, chunk: int = CHUNK):
        self.folder = page.with_name(f"{page.stem}_files")
        self.count, self.bytes = 0, 0
        self._id = uuid.uuid4().hex[:8]
        self._inline, self._chunk = inline, chunk
        self._kept: list[str] = []  # packed chunks that may yet lie in the page
        self._records: list[bytes] = []
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._remove(lambda name: name.startswith(self._id))

    def add(self, record: dict[str, Any]) -> tuple[int, int]:
        """The number of its chunk, and its place there. Raises UserError when the disk refuses."""
        import orjson

        data = orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
        if self._records and self._size + len(data) > self._chunk:
            self._close()
        self._records.append(data)
        self._size += len(data)
        return self.count, len(self._records) - 1

    def finish(self) -> tuple[str, list[str]]:
        """Where the page finds its chunks: what their addresses begin with, and the chunks to hold itself, if any."""
        if self._records:
            self._close()
        kept, self._kept = self._kept, []
        return f"{quote(self.folder.name)}/{self._id}-", kept

    def commit(self) -> None:
        """Remove the chunks of the page before; call it when the new page is in place."""
        self._remove(lambda name: not name.startswith(self._id))

    def _close(self) -> None:
        packed = base64.b64encode(zlib.compress(b"[" + b",".join(self._records) + b"]", _LEVEL)).decode()
        number = self.count
        self.count, self.bytes = number + 1, self.bytes + len(packed)
        self._records, self._size = [], 0
        if self.bytes <= self._inline:
            self._kept.append(packed)
            return
        self._write([*enumerate(self._kept), (number, packed)])
        self._kept = []

    def _write(self, chunks: Iterable[tuple[int, str]]) -> None:
        # Not made durable one by one: nothing refers to them before the page is in place.
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for number, packed in chunks:
                (self.folder / f"{self._id}-{number}.js").write_text(f'reportChunk({number},"{packed}")\n')
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def _remove(self, which: Callable[[str], bool]) -> None:
        for path in self.folder.glob("*.js"):
            if re.fullmatch(r"[0-9a-f]{8}-\d+\.js", path.name) and which(path.name):
                path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

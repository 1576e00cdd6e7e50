"""Parquet files written whole and read one row group at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError
from extrap_eval.store.atomic import disk_error, make_directory, put_in_place, temporary_for
from extrap_eval.store.record import COLUMNS, PLACE

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_BYTES = 2 << 20  # uncompressed; a reader holds a small multiple of this, below 32 MB
ROW_GROUP_ROWS = 8192


def completion_schema(*, placed: bool = False, distributed: bool = False) -> pa.Schema:
    """Columns of a sealed part of completions; three more where they are ``placed`` in a trace, and five where the
    distributions of tokens are kept of some (``distributed``).
    """
    import pyarrow as pa

    floats, counts = pa.list_(pa.float16()), pa.list_(pa.uint16())
    kept = zip(COLUMNS, (floats, counts, floats, floats, pa.int32()), strict=True)

    return pa.schema(
        [
            pa.field("problem_id", pa.string(), nullable=False),
            pa.field("sample_index", pa.int32(), nullable=False),
            pa.field("n_tokens", pa.int32(), nullable=False),
            pa.field("crc32", pa.uint32(), nullable=False),
            pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
            pa.field("finish_reason", pa.string(), nullable=False),
            pa.field("stop_token_id", pa.int32()),
            pa.field("text", pa.string()),
            pa.field("token_source", pa.string(), nullable=False),
            pa.field("prompt_tokens", pa.int32(), nullable=False),
            pa.field("cached_tokens", pa.int32()),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("attempts", pa.int32(), nullable=False),
            pa.field("server", pa.string(), nullable=False),
            *(pa.field(name, pa.int32(), nullable=False) for name in (PLACE if placed else ())),
            *(pa.field(name, kind) for name, kind in (kept if distributed else ())),
        ]
    )


def part_schema(path: Path) -> pa.Schema:
    """The ``completion_schema`` with those further columns that a part has.

    That without any for a damaged file: whoever reads it says so.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError, MemoryError):
        names = []
    return completion_schema(placed=PLACE[0] in names, distributed=COLUMNS[0] in names)


class RowFile:
    """A file of rows under way. It appears under its name, whole and durable, when it is committed."""

    def __init__(self, path: Path, schema: pa.Schema):
        """Raises UserError when the disk refuses."""
        import pyarrow.parquet as pq

        self._path = path
        self._schema = schema
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        self._count = 0
        try:
            make_directory(path.parent)
            self._file: pq.ParquetWriter | None = pq.ParquetWriter(
                temporary_for(path), schema, compression="zstd", compression_level=3, write_page_checksum=True
            )
        except OSError as error:
            temporary_for(path).unlink(missing_ok=True)
            raise disk_error(path, error) from error

    def add(self, row: dict[str, Any], size: int) -> None:
        """``size``: approximate bytes of the row, which decides where a row group ends.

        Raises UserError when the disk refuses.
        """
        self._group.append(row)
        self._group_bytes += size
        self._count += 1
        if self._group_bytes >= ROW_GROUP_BYTES or len(self._group) >= ROW_GROUP_ROWS:
            self._flush()

    def commit(self) -> int:
        """Put the file in place; returns its number of rows. Raises UserError when the disk refuses."""
        self._flush()
        try:
            self._close()
            put_in_place(self._path)
        except OSError as error:
            raise disk_error(self._path, error) from error
        return self._count

    def discard(self) -> None:
        """Leave nothing behind of a file that was not committed; does nothing to one that was."""
        with suppress(OSError):  # the disk may be full, and the footer has no place then
            self._close()
        temporary_for(self._path).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._group or self._file is None:
            return
        columns = [
            pa.array([row.get(field.name) if field.nullable else row[field.name] for row in self._group], field.type)
            for field in self._schema
        ]
        self._group, self._group_bytes = [], 0
        try:
            self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        except OSError as error:
            raise disk_error(self._path, error) from error


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[tuple[dict[str, Any], int]]) -> int:
    """Write rows, each given with its approximate size in bytes, as one durable file; returns their number.

    The file appears whole or not at all. Raises UserError when the disk refuses.
    """
    file = RowFile(path, schema)
    try:
        for row, size in rows:
            file.add(row, size)
        return file.commit()
    finally:
        file.discard()


def row_groups(path: Path, *, mend: str) -> int:
    """How many row groups a file has. Raises UserError as ``read_batches`` does."""
    import pyarrow.parquet as pq

    with _damage(path, mend):
        return int(pq.read_metadata(path).num_row_groups)


def read_batches(
    path: Path, schema: pa.Schema, *, columns: Sequence[str], mend: str, groups: Iterable[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Record batches of a file, one row group in memory at a time, only the named columns, of all row groups or
    the given ones.

    Raises UserError naming the file and ``mend`` when it is missing, damaged or of another shape.
    """
    import pyarrow.parquet as pq

    with _damage(path, mend), pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        if not file.schema_arrow.equals(schema):
            raise UserError(f"{path}: damaged: its columns are not those that were written: {mend}")
        for group in range(file.num_row_groups) if groups is None else groups:
            table = file.read_row_group(group, columns=list(columns), use_threads=False)
            yield from table.to_batches()


@contextmanager
def _damage(path: Path, mend: str) -> Iterator[None]:
    """Whatever reading a file may raise becomes a UserError that names it and says what to do."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged ({reason}): {mend}") from error

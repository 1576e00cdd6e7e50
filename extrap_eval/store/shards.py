"""The completions of a stage in pieces, which several processes can read at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from extrap_eval.store.journal import open_journal, read_journal
from extrap_eval.store.parquet import part_schema, row_groups
from extrap_eval.store.record import COLUMNS, HEAVY, Completion, completion_of
from extrap_eval.store.stage import JOURNAL, MEND, part_paths, part_rows

GROUPS_PER_SHARD = 16  # of 2 MiB of ids each: enough work to be worth sending, little enough to spread


@dataclass(frozen=True)
class Shard:
    """``file`` lies in the directory of the stage: some row groups of a part, or the whole journal."""

    file: str
    groups: tuple[int, ...] = ()


def list_shards(directory: Path, groups_per_shard: int = GROUPS_PER_SHARD) -> list[Shard]:
    """Every piece, in the order in which ``read_rows`` reads. Raises UserError for a damaged part."""
    shards = []
    for path in part_paths(directory):
        groups = range(row_groups(path, mend=MEND))
        for first in groups[::groups_per_shard]:
            shards.append(Shard(path.name, tuple(groups[first : first + groups_per_shard])))
    return [*shards, Shard(JOURNAL)]


def read_shard(directory: Path, stage: str, shard: Shard, *, heavy: Collection[str]) -> Iterator[Completion]:
    """The completions of one piece, ids and text only when they are among ``heavy``.

    Another piece may hold the same completion once more: whoever puts them together keeps the first. Raises
    UserError for a damaged part.
    """
    path = directory / shard.file
    if shard.file == JOURNAL:
        journal = open_journal(path)
        if journal is not None:
            with journal:
                yield from (completion_of(row, stage) for row in read_journal(journal, heavy=HEAVY.intersection(heavy)))
        return
    light = [name for name in part_schema(path).names if name not in HEAVY and name not in COLUMNS]
    for row in part_rows(path, [*light, *heavy], groups=shard.groups):
        yield completion_of(row, stage)

"""The timelines of a large run, read on a Ray cluster: one Ray Data row per piece of the stored completions.

Only timelines travel; the driver writes the score layer, in the same order and so with the same bytes as
without Ray. Every node must see the run directory under the same path (a shared file system).
"""

from __future__ import annotations

import functools
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.scoring.timeline import Timeline
    from extrap_eval.steps.timelines import Reader
    from extrap_eval.store import Key, Run


def timelines_on_ray(run: Run, address: str = "auto") -> Iterator[tuple[Key, Timeline]]:
    """What ``timelines`` yields, in the same order.

    Raises UserError when the cluster cannot be reached, when a node does not see the run, when what is stored is
    damaged, and when it changed meanwhile.
    """
    from extrap_eval.engines.cluster.connect import connected

    path = str(run.path.resolve())
    seen: set[Key] = set()
    with connected(address):
        for row in _rows(path, run.shards()):
            if row["error"]:
                raise UserError(row["error"])
            for key, timeline in pickle.loads(row["timelines"]):
                if key not in seen:
                    seen.add(key)
                    yield key, timeline
    if len(seen) < len(run.keys()):
        raise UserError(f"{run.path}: completions were added or sealed while it was read: score it again")


def _rows(path: str, shards: list[Any]) -> Iterator[dict[str, Any]]:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    items = [{"shard": pickle.dumps(shard)} for shard in shards]
    data = ray.data.from_items(items, override_num_blocks=len(items)).map(read_piece, fn_args=[path])
    yield from data.iter_rows()


def read_piece(row: dict[str, Any], path: str) -> dict[str, Any]:
    """On a node: the piece's keys and timelines, pickled, or the one line that says why there are none."""
    from extrap_eval.store import open_run

    try:
        if not Path(path).is_dir():
            raise UserError(f"{path}: not there on node {_node()}: scoring on Ray needs it on a shared file system")
        run, read = open_run(path), _reader(path)
        found = [((c.problem_id, c.sample_index), read(c)) for c in run.shard(pickle.loads(row["shard"]))]
    except UserError as error:
        return {"timelines": b"", "error": str(error)}
    return {"timelines": pickle.dumps(found), "error": ""}


@functools.lru_cache(maxsize=1)
def _reader(path: str) -> Reader:
    """Loaded once per worker process: a token table takes longer to load than a piece to find."""
    from extrap_eval.steps.timelines import reader_of
    from extrap_eval.store import open_run

    return reader_of(open_run(path))


def _node() -> str:
    import ray

    return str(ray.util.get_node_ip_address())

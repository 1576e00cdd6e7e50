"""Score layers: what was read from the completions of a run and judged. Made again at will; generations stay
as is.

``score.json`` names the two files of the layer and is replaced by one rename, so a reader sees the old layer
or the new one, never half of either.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.store.atomic import disk_error, make_directory, write_bytes
from extrap_eval.store.lock import WriterLock
from extrap_eval.store.parquet import RowFile, read_batches, write_rows
from extrap_eval.store.record import Key

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from extrap_eval.scoring.timeline import Timeline

SCORE = "score.json"
_MEND = "score the run again"


@dataclass(frozen=True)
class AnswerRow:
    """A distinct answer of a problem and what the judge made of it. Answers of one class are equivalent."""

    problem_id: str
    gold: str
    answer: str
    verdict: str
    class_id: int


class ScoreLayer:
    """One layer, ``scores/NAME/``. Reading never touches completions."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.name

    def exists(self) -> bool:
        return (self.path / SCORE).exists()

    def score(self) -> dict[str, Any]:
        """``score.json``: settings, versions, counts (timelines, answers), completions_digest, created,
        files.

        Raises UserError when the layer does not exist or is damaged.
        """
        path = self.path / SCORE
        try:
            score = cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
            _ = score["files"]["timelines"], score["files"]["answers"], score["completions_digest"]
        except FileNotFoundError:
            raise UserError(f"{self.path}: not scored yet: {_MEND}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error}): {_MEND}") from error
        return score

    def made_from(self, completions_digest: str) -> bool:
        """Whether the layer exists and was made from the completions with that ``Run.digest``."""
        return self.exists() and self.score()["completions_digest"] == completions_digest

    def timelines(self) -> Iterator[tuple[Key, Timeline]]:
        """Every sample's key and timeline, streaming."""
        from extrap_eval.scoring.timeline import Timeline

        for batch in self._batches("timelines", self._timeline_schema()):
            starts, ends = batch.column("starts"), batch.column("ends")
            light = [batch.column(name).to_pylist() for name in _LIGHT]
            answers = batch.column("answers").to_pylist()
            for index, (problem_id, sample_index, n_tokens, finished, think_end, loop_start) in enumerate(
                zip(*light, strict=True)
            ):
                yield (
                    (problem_id, sample_index),
                    Timeline(
                        n_tokens=n_tokens,
                        finished=finished,
                        think_end=think_end,
                        loop_start=loop_start,
                        starts=starts[index].values.to_numpy().astype(np.int32),
                        ends=ends[index].values.to_numpy().astype(np.int32),
                        answers=tuple(answers[index]),
                    ),
                )

    def timeline_frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Timelines as a table, one row per sample.

        Columns: problem_id, sample_index, n_tokens, finished, think_end, loop_start, starts, ends, answers, and step
        and replicate in the layer of what follows from traces; by default all but starts, ends and answers, which
        hold one array per row.
        """
        schema = self._timeline_schema()
        return self._frame("timelines", schema, columns or [name for name in schema.names if name not in _ARRAYS])

    def answers(self) -> pd.DataFrame:
        """One row per distinct answer of a problem: problem_id, gold, answer, verdict, class_id."""
        schema = _answer_schema()
        return self._frame("answers", schema, schema.names)

    def writer(self, completions_digest: str, *, placed: bool = False) -> ScoreWriter:
        """A context manager that makes the layer anew; nothing is seen of it before its ``commit``.

        ``completions_digest``: ``Run.digest`` from before the completions were read. ``placed``: they have a step and
        a replicate.
        """
        return ScoreWriter(self, completions_digest, placed)

    def _timeline_schema(self) -> pa.Schema:
        return _timeline_schema(bool(self.score().get("placed")))

    def _batches(self, which: str, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        path = self.path / self.score()["files"][which]
        return read_batches(path, schema, columns=columns or schema.names, mend=_MEND)

    def _frame(self, which: str, schema: pa.Schema, columns: Sequence[str]) -> pd.DataFrame:
        import pyarrow as pa

        if unknown := set(columns) - set(schema.names):
            raise ValueError(f"no such column: {', '.join(sorted(unknown))}")
        subset = pa.schema([schema.field(name) for name in columns])
        batches = [batch.select(list(columns)) for batch in self._batches(which, schema, columns)]
        return cast("pd.DataFrame", pa.Table.from_batches(batches, schema=subset).to_pandas())


class ScoreWriter:
    """Writes one layer: ``add`` every timeline as it is read, then ``commit`` the judged answers."""

    def __init__(self, layer: ScoreLayer, completions_digest: str, placed: bool):
        self._layer = layer
        self._digest = completions_digest
        self._placed = placed
        self._id = uuid.uuid4().hex[:8]

    def __enter__(self) -> Self:
        """Raises UserError when another process writes this layer, or the disk refuses."""
        try:
            make_directory(self._layer.path)
        except OSError as error:
            raise disk_error(self._layer.path, error) from error
        self._lock = WriterLock(self._layer.path)
        self._lock.acquire()
        try:
            path = self._layer.path / f"timelines-{self._id}.parquet"
            self._timelines = RowFile(path, _timeline_schema(self._placed))
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timelines.discard()  # what was committed is no longer its to discard
        self._lock.release()

    def add(self, problem_id: str, sample_index: int, timeline: Timeline, *, step: int = 0, replicate: int = 0) -> None:
        """``step`` and ``replicate`` are kept only in a layer of what follows. Raises UserError when the disk
        refuses.
        """
        row = {
            "problem_id": problem_id,
            "sample_index": sample_index,
            "n_tokens": timeline.n_tokens,
            "finished": timeline.finished,
            "think_end": timeline.think_end,
            "loop_start": timeline.loop_start,
            "starts": timeline.starts,
            "ends": timeline.ends,
            "answers": list(timeline.answers),
            "step": step,
            "replicate": replicate,
        }
        self._timelines.add(row, 100 + 8 * len(timeline.ends) + sum(map(len, timeline.answers)))

    def commit(self, answers: Iterable[AnswerRow], *, settings: Mapping[str, Any], versions: Mapping[str, Any]) -> None:
        """Make the layer visible in place of the one before. Raises UserError when the disk refuses."""
        from extrap_eval.store.manifest import now

        directory = self._layer.path
        rows = ((asdict(row), 50 + len(row.answer) + len(row.gold)) for row in answers)
        files = {name: f"{name}-{self._id}.parquet" for name in ("timelines", "answers")}
        counts = {
            "timelines": self._timelines.commit(),
            "answers": write_rows(directory / files["answers"], _answer_schema(), rows),
        }
        score = {
            "created": now(),
            "completions_digest": self._digest,
            "placed": self._placed,
            "counts": counts,
            "settings": dict(settings),
            "versions": dict(versions),
            "files": files,
        }
        write_bytes(directory / SCORE, json.dumps(score, indent=1, ensure_ascii=False).encode() + b"\n")
        for path in directory.glob("*-*.parquet"):
            if path.name not in files.values():
                path.unlink(missing_ok=True)


_LIGHT = ("problem_id", "sample_index", "n_tokens", "finished", "think_end", "loop_start")
_ARRAYS = ("starts", "ends", "answers")


def _timeline_schema(placed: bool) -> pa.Schema:
    import pyarrow as pa

    types = {"problem_id": pa.string(), "finished": pa.bool_()}
    return pa.schema(
        [
            *(pa.field(name, types.get(name, pa.int32()), nullable=False) for name in _LIGHT),
            pa.field("starts", pa.list_(pa.int32()), nullable=False),
            pa.field("ends", pa.list_(pa.int32()), nullable=False),
            pa.field("answers", pa.list_(pa.string()), nullable=False),
            *(pa.field(name, pa.int32(), nullable=False) for name in (("step", "replicate") if placed else ())),
        ]
    )


def _answer_schema() -> pa.Schema:
    import pyarrow as pa

    names = ("problem_id", "gold", "answer", "verdict")
    return pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in names),
            pa.field("class_id", pa.int32(), nullable=False),
        ]
    )

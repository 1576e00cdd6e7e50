from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from extrap_eval.errors import UserError
from extrap_eval.store.rows import RowLayer

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("numbers", pa.list_(pa.int32()))])


def some(count: int) -> Iterator[tuple[dict[str, Any], int]]:
    for i in range(count):
        yield {"id": f"p{i}", "numbers": list(range(i))}, 10


def test_a_layer_gives_back_what_was_written(tmp_path: Path) -> None:
    layer = RowLayer(tmp_path / "derived" / "some", SCHEMA)
    assert layer.made() is None
    assert layer.write(some(5), completions_digest="d", settings={"budgets": [1, 2]}) == 5
    made = RowLayer(layer.path, SCHEMA).made()
    assert made is not None
    assert (made.completions_digest, made.settings) == ("d", {"budgets": [1, 2]})
    assert list(layer.rows()) == [row for row, _ in some(5)]


def test_writing_again_leaves_one_file(tmp_path: Path) -> None:
    layer = RowLayer(tmp_path / "some", SCHEMA)
    layer.write(some(2), completions_digest="d", settings={})
    layer.write(some(4), completions_digest="e", settings={})
    assert len(list(layer.rows())) == 4
    assert len(list(layer.path.glob("rows-*.parquet"))) == 1


def test_an_interrupted_writing_leaves_the_layer_that_was_there(tmp_path: Path) -> None:
    layer = RowLayer(tmp_path / "some", SCHEMA)
    layer.write(some(2), completions_digest="d", settings={})

    def broken() -> Iterator[tuple[dict[str, Any], int]]:
        yield from some(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layer.write(broken(), completions_digest="e", settings={})
    made = layer.made()
    assert made is not None
    assert made.completions_digest == "d"
    assert len(list(layer.rows())) == 2
    assert sorted(path.name for path in layer.path.iterdir()) == sorted([".lock", "made.json", made.file])
    layer.write(some(3), completions_digest="e", settings={})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"completions_digest": "d", "settings": {}, "file": "gone"}'])
def test_a_damaged_layer_is_no_layer(tmp_path: Path, text: str) -> None:
    layer = RowLayer(tmp_path / "some", SCHEMA)
    layer.write(some(2), completions_digest="d", settings={})
    (layer.path / "made.json").write_text(text)
    assert layer.made() is None


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    layer = RowLayer(tmp_path / "some", SCHEMA)
    layer.write(some(2), completions_digest="d", settings={})
    (path,) = layer.path.glob("rows-*.parquet")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"rows-.*damaged .*remove .*some, and it is made again"):
        list(layer.rows())


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    layer = RowLayer(tmp_path / "some", SCHEMA)

    def another() -> Iterator[tuple[dict[str, Any], int]]:
        yield from some(1)
        RowLayer(layer.path, SCHEMA).write(some(1), completions_digest="d", settings={})

    with pytest.raises(UserError, match="another process is writing here"):
        layer.write(another(), completions_digest="d", settings={})

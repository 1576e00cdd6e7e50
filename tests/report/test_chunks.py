"""Traces in pieces beside the page."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from urllib.parse import unquote

import pytest

from extrap_eval.report.chunks import ChunkWriter


def unpacked(packed: str) -> list[dict[str, object]]:
    found = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert isinstance(found, list)
    return found


def records(page: Path, folder: str, kept: list[str], count: int) -> list[list[dict[str, object]]]:
    if kept:
        return [unpacked(packed) for packed in kept]
    found = []
    for number in range(count):
        text = (page.parent / f"{unquote(folder)}{number}.js").read_text()
        called = re.fullmatch(r'reportChunk\((\d+),"([A-Za-z0-9+/=]*)"\)\n', text)
        assert called
        assert int(called[1]) == number
        found.append(unpacked(called[2]))
    return found


@pytest.mark.parametrize("inline", [0, 1 << 20])
@pytest.mark.parametrize("size", [10, 300, 1 << 20])
def test_every_record_is_where_the_writer_said(tmp_path: Path, inline: int, size: int) -> None:
    page = tmp_path / "my report #1.html"
    with ChunkWriter(page, inline=inline, chunk=size) as writer:
        places = [writer.add({"number": i, "text": "</script>\u2028" * i}) for i in range(20)]
        folder, kept = writer.finish()
        writer.commit()
    found = records(page, folder, kept, writer.count)
    assert [found[chunk][place]["number"] for chunk, place in places] == list(range(20))
    assert writer.folder.is_dir() == (inline == 0)
    assert "#" not in folder  # an address


def test_chunks_that_outgrow_the_page_go_beside_it_from_the_first(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with ChunkWriter(page, inline=200, chunk=1) as writer:
        for i in range(12):
            writer.add({"number": i})
        folder, kept = writer.finish()
    assert kept == []
    assert [each[0]["number"] for each in records(page, folder, kept, writer.count)] == list(range(12))


def test_old_chunks_go_when_the_new_page_is_there_and_other_files_stay(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for turn in range(2):
        with ChunkWriter(page, inline=0) as writer:
            writer.add({"turn": turn})
            writer.finish()
            if turn:
                assert len(list(writer.folder.iterdir())) == 2  # both, until the page is replaced
            writer.commit()
    (only,) = writer.folder.iterdir()
    assert unpacked(only.read_text().split('"')[1]) == [{"turn": 1}]
    (writer.folder / "mine.txt").write_text("kept")
    with ChunkWriter(page) as writer:
        writer.add({})
        writer.finish()
        writer.commit()
    assert [path.name for path in writer.folder.iterdir()] == ["mine.txt"]


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with ChunkWriter(page, inline=0) as writer:
        writer.add({"old": True})
        writer.finish()
        writer.commit()
    before = {path.name for path in writer.folder.iterdir()}

    def fail() -> None:
        with ChunkWriter(page, inline=0, chunk=1) as writer:
            writer.add({})
            writer.add({})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {path.name for path in writer.folder.iterdir()} == before

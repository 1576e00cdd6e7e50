from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.engines.base import EngineInfo
from extrap_eval.errors import UserError
from extrap_eval.store import open_run
from extrap_eval.store.manifest import FORMAT_VERSION, Manifest, read_manifest, write_manifest
from tests.store.making import SETTINGS, make_run, model_card

MANIFEST = Manifest(16, {"model": "org/toy", "max_tokens": 5}, "org/toy", "2026-01-01T00:00:00+00:00", ({"n": 16},))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_directory_without_manifest_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(UserError, match="not a run directory"):
            open_run(path)


def test_a_newer_format_is_refused_whatever_else_it_holds(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": FORMAT_VERSION + 1, "new": "field"}))
    with pytest.raises(UserError, match=r"format_version: 2 is newer .* upgrade extrap-eval"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format_version": 1}', '{"format_version": "one"}', "\x00" * 9]
)
def test_a_damaged_manifest_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: damaged .*: restore it"):
        open_run(tmp_path)


def test_every_invocation_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/extrap-eval", "sample", "--api-key", "hush", "--n", "2"])
    monkeypatch.setenv("EXTRAP_EVAL_API_KEY", "hush-too")
    settings = {**SETTINGS, "seeded": 3, "endpoints": ["http://user:hush@host"], "api_key": "hush"}
    run = make_run(
        tmp_path / "run", settings=settings, model_card=model_card(engine={"extra_args": ["--api-key", "hush"]})
    )
    make_run(run.path, n=3)
    first, second = read_manifest(run.path).invocations
    assert first["command"] == ["extrap-eval", "sample", "--api-key", "***", "--n", "2"]
    assert first["settings"] == {"seeded": 3, "endpoints": ["http://***@host"], "api_key": "***"}
    assert (first["n"], second["n"]) == (2, 3)
    assert first["engine"] is None
    assert {"time", "host", "python", "libraries", "gpus", "git"} <= set(first)
    assert first["libraries"]["numpy"]
    for path in run.path.rglob("*"):
        assert not path.is_file() or b"hush" not in path.read_bytes(), path


def engine_info(**fields: Any) -> EngineInfo:
    known = {"kind": "vllm", "version": "0.32.0", "model": "toy", "context_length": 4096, "exact_token_ids": True}
    return EngineInfo(**(known | fields))


def test_the_engine_goes_into_the_entry_of_its_invocation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.record_engine(engine_info())
    make_run(run.path)
    entries = read_manifest(run.path).invocations
    assert [entry["engine"] and entry["engine"]["version"] for entry in entries] == ["0.32.0", None]
    assert run.manifest.invocations[0]["engine"]["context_length"] == 4096


def test_an_engine_under_a_run_that_was_only_opened_makes_an_entry_of_its_own(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    run = open_run(tmp_path / "run")
    run.record_engine(engine_info(), {"servers": 2})
    run.record_engine(engine_info(version="0.33.0"))
    entries = read_manifest(run.path).invocations
    assert [entry["engine"] and entry["engine"]["version"] for entry in entries] == [None, "0.33.0"]
    assert entries[1]["settings"] == {"servers": 2}

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.errors import UserError
from extrap_eval.importers.sample import completions_of, field, gold_of, label_of, per_completion, read_json_lines
from tests.importers.logs import write_lines


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_lines_keep_their_numbers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = b'{"a": 1}\n\n{"a": 2}\r\n{"a": 3}'
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (3, {"a": 2}), (4, {"a": 3})]


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl.gz", [{"a": 1}]).rename(tmp_path / "log.jsonl")
    assert list(read_json_lines(path)) == [(1, {"a": 1})]


def test_torn_gzip(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl.gz", [{"text": str(i) * 50} for i in range(500)])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"log\.jsonl\.gz: the gzip file is torn or damaged .*fetch it again"):
        list(read_json_lines(path))


def test_damaged_gzip(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl.gz", [{"text": str(i) * 50} for i in range(500)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"log\.jsonl\.gz"):
        list(read_json_lines(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"log\.jsonl:2: not a line of JSON .*JSON-lines file\?"),
        (b"[1, 2]\n", r"log\.jsonl:1: holds list, not an object"),
        (b"PAR1\x15\x00\xff\xfe", r"log\.jsonl:1: not a line of JSON"),
        (b'{"a": "\xff"}\n', r"log\.jsonl:1: not a line of JSON"),
    ],
)
def test_not_json_lines(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        list(read_json_lines(path))


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read: No such file"):
        list(read_json_lines(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("path", "value"),
    [("a", {"b": [10, {"c": 3}]}), ("a.b.0", 10), ("a.b.1.c", 3), ("a.b.-1.c", 3), ("x.y", "dotted name")],
)
def test_field(path: str, value: Any) -> None:
    assert field({"a": {"b": [10, {"c": 3}]}, "x.y": "dotted name"}, path, "f:1", "mend") == value


@pytest.mark.parametrize("path", ["b", "a.c", "a.b.2", "a.b.x", "a.b.0.c"])
def test_no_such_field_says_what_is_there(path: str) -> None:
    with pytest.raises(UserError, match=rf"^f:1: no field '{path}' \(the row's fields: a, z\); mend$"):
        field({"z": 1, "a": {"b": [10, 11]}}, path, "f:1", "mend")


@pytest.mark.parametrize("value", [None, [], 3, [None], ["a", None], {"text": "a"}])
def test_no_completion(value: Any) -> None:
    with pytest.raises(UserError, match=r"f:1: code: .* is not a completion"):
        completions_of(value, "code", "f:1")


@pytest.mark.parametrize(("value", "texts"), [("a", ["a"]), ("", [""]), (["a", "b"], ["a", "b"])])
def test_completions(value: Any, texts: list[str]) -> None:
    assert completions_of(value, "code", "f:1") == texts


@pytest.mark.parametrize(
    ("value", "text"), [(204, "204"), (27.0, "27"), (0.5, "0.5"), ("$\\frac12$", "\\frac12"), (["204"], "204")]
)
def test_gold(value: Any, text: str) -> None:
    assert gold_of(value, "gt", "f:1") == text


@pytest.mark.parametrize("value", [None, "", True, ["1", "2"], {"a": 1}])
def test_bad_gold(value: Any) -> None:
    with pytest.raises(UserError, match=r"^f:1: gt: "):
        gold_of(value, "gt", "f:1")


@pytest.mark.parametrize(
    ("value", "label"), [(True, True), (False, False), (1.0, True), (0.0, False), (-5, False), (None, None)]
)
def test_label(value: Any, label: bool | None) -> None:
    assert label_of(value, "score", "f:1") is label


def test_bad_label() -> None:
    with pytest.raises(UserError, match=r"f:1: score: 'yes' is neither true, false nor a number"):
        label_of("yes", "score", "f:1")


def test_per_completion() -> None:
    assert per_completion([1, 2], 2, "score", "f:1") == [1, 2]
    assert per_completion(None, 2, "score", "f:1") == [None, None]
    with pytest.raises(UserError, match=r"f:1: score: has 1 values for 2 completions"):
        per_completion([1], 2, "score", "f:1")

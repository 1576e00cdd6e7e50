"""Rows of local files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.errors import UserError
from extrap_eval.problems.rows import pick, read_rows

ROWS = [{"problem": "1 + 1", "answer": "2"}, {"problem": "größer?\u2028yes", "answer": "3"}]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n")
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    (tmp_path / "a.csv").write_text("problem,answer\n1 + 1,2\ngrößer?\u2028yes,3\n")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for suffix in ("jsonl", "json", "csv", "parquet"):
        assert [row for _, row in read_rows(tmp_path / f"a.{suffix}")] == ROWS, suffix


def test_a_byte_order_mark_is_not_a_column_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfproblem,answer\n1,2\n")
    assert read_rows(tmp_path / "a.csv")[0][1] == {"problem": "1", "answer": "2"}


def test_csv_cells_may_have_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('problem,answer\n"one\ntwo",2\n')
    assert read_rows(tmp_path / "a.csv")[0][1]["problem"] == "one\ntwo"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"a": 1}\n\n{"a": \n', r"a\.jsonl:3: not valid JSON: Expecting value at column"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: is not an object"),
        ("a.json", b'[{"a": 1},\n{"a" 1}]', r"a\.json: not valid JSON \(line 2\)"),
        ("a.json", b'{"a": 1}', r"a\.json: is not a list of problems"),
        ("a.json", b"[3]", r"a\.json: row 0: is not an object"),
        ("a.csv", b"a,b\n1,2,3\n", r"a\.csv: row 0: has more cells than the header"),
        ("a.csv", b"\xff\xfe", r"a\.csv: is not UTF-8 text"),
        ("a.parquet", b"not parquet", r"a\.parquet: not a readable Parquet file"),
        ("a.txt", b"", r"a\.txt: problems are read from \.jsonl, \.json, \.parquet, \.csv files"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=expected):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("answer", 5),
        ("reward_model.ground_truth", "103"),
        ("prompt.0.content", "Compute"),
        ("prompt.1.content", KeyError),
        ("prompt.x.content", KeyError),
        ("answer.deeper", KeyError),
        ("missing", KeyError),
        ("dotted.name", "flat"),
    ],
)
def test_pick(path: str, expected: Any) -> None:
    row = {
        "answer": 5,
        "reward_model": {"ground_truth": "103"},
        "prompt": [{"content": "Compute"}],
        "dotted.name": "flat",
        "dotted": {"name": "nested"},
    }
    if expected is KeyError:
        with pytest.raises(KeyError):
            pick(row, path)
    else:
        assert pick(row, path) == expected


@given(
    st.recursive(
        st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner),
    )
)
def test_pick_reaches_every_leaf(row: Any) -> None:
    def leaves(value: Any, path: tuple[str, ...]) -> list[tuple[str, Any]]:
        if isinstance(value, dict):
            return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
        if isinstance(value, list):
            return [leaf for i, inner in enumerate(value) for leaf in leaves(inner, (*path, str(i)))]
        return [(".".join(path), value)] if path else []

    for path, value in leaves(row, ()):
        assert pick(row, path) == value

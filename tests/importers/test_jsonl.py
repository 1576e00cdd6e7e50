from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extrap_eval.errors import UserError
from extrap_eval.importers.jsonl import read_jsonl
from tests.importers.logs import write_lines

ROW: dict[str, Any] = {
    "q": "1+1?",
    "out": {"texts": ["a", "b"], "ids": [[1, 2], [3]], "why": ["stop", "length"]},
    "ok": [True, False],
    "ref": 2,
}
FIELDS = {"completion": "out.texts", "problem": "q", "gold": "ref", "label": "ok", "finish_reason": "out.why"}


def test_list_of_completions(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", [ROW])
    first, second = read_jsonl([path], {**FIELDS, "token_ids": "out.ids"})
    assert (first.text, second.text) == ("a", "b")
    assert first.token_ids is not None
    assert first.token_ids.tolist() == [1, 2]
    assert (first.finish_reason, second.finish_reason) == ("stop", "length")
    assert (first.author_label, second.author_label) == (True, False)
    assert (first.problem_id, first.problem, first.gold) == (None, "1+1?", "2")


def test_one_completion_of_a_list(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", [ROW])
    fields = {"completion": "out.texts.1", "problem": "q", "label": "ok.1", "id": "q"}
    (sample,) = read_jsonl([path], fields)
    assert (sample.text, sample.author_label, sample.problem_id, sample.gold) == ("b", False, "1+1?", None)


@pytest.mark.parametrize(("ids", "lists"), [([1, 2, 3], [[1, 2, 3]]), ([[1], [2, 3]], [[1], [2, 3]]), ([], [[]])])
def test_ids_alone(tmp_path: Path, ids: list[Any], lists: list[list[int]]) -> None:
    path = write_lines(tmp_path / "log.jsonl", [{"q": "x", "ids": ids}])
    samples = list(read_jsonl([path], {"token_ids": "ids", "problem": "q"}))
    assert [s.token_ids.tolist() for s in samples if s.token_ids is not None] == lists
    assert all(s.text is None for s in samples)


@pytest.mark.parametrize(
    ("value", "reason"),
    [("stop", "stop"), ("EOS", "stop"), ("max_tokens", "length"), ("length", "length"), (None, None)],
)
def test_finish_reasons(tmp_path: Path, value: str | None, reason: str | None) -> None:
    path = write_lines(tmp_path / "log.jsonl", [{"q": "x", "c": "y", "why": value}])
    (sample,) = read_jsonl([path], {"completion": "c", "problem": "q", "finish_reason": "why"})
    assert sample.finish_reason == reason


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"problem": "q"}, r"--field completion=PATH is missing"),
        ({"completion": "out.texts"}, r"--field problem=PATH is missing"),
        ({"completion": "out.texts", "problem": "q", "answer": "ref"}, r"--field answer=ref: unknown; the names are"),
        ({"completion": "out.text", "problem": "q"}, r"log\.jsonl:1: no field 'out\.text' .*--field completion="),
        ({"completion": "out.texts", "problem": "query"}, r"log\.jsonl:1: no field 'query' .*--field problem="),
        ({"completion": "ref", "problem": "q"}, r"log\.jsonl:1: ref: 2 is not a completion"),
        ({"completion": "out.texts", "problem": "q", "finish_reason": "q"}, r"q: '1\+1\?' is not one of stop, eos"),
        ({"completion": "out.texts", "problem": "q", "token_ids": "out.ids.0"}, r"1 lists of ids for 2 completions"),
        ({"token_ids": "out.texts", "problem": "q"}, r"out\.texts: is not a list of token ids"),
        ({"completion": "out.texts", "problem": "q", "gold": "ok"}, r"log\.jsonl:1: ok: 2 answers where one is"),
    ],
)
def test_bad_mappings(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    path = write_lines(tmp_path / "log.jsonl", [ROW])
    with pytest.raises(UserError, match=message):
        list(read_jsonl([path], fields))

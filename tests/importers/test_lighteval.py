from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.errors import UserError
from extrap_eval.importers.lighteval import read_lighteval, read_settings
from extrap_eval.importers.sample import LogSettings

FLAT: dict[str, Any] = {
    "example": "1+1?",
    "full_prompt": "<s>1+1?",
    "gold": ["2"],
    "predictions": ["two", "2"],
    "cont_tokens": [[[5, 6, 0], [7]]],
    "input_tokens": [[1, 2]],
    "metrics": {"extractive_match": 0.5},
}
NESTED: dict[str, Any] = {
    "doc": {"id": "17", "query": "1+1?", "choices": ["2"], "gold_index": [0]},
    "model_response": {"text": ["2"], "output_tokens": [[7, 0]], "input_tokens": [1, 2]},
    "metric": {"extractive_match": 1.0},
}


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_older_layout(tmp_path: Path) -> None:
    first, second = read_lighteval([write_parquet(tmp_path / "d.parquet", [FLAT])])
    assert first.token_ids is not None
    assert second.token_ids is not None
    assert (first.token_ids.tolist(), second.token_ids.tolist()) == ([5, 6, 0], [7])
    assert first.prompt_token_ids is not None
    assert first.prompt_token_ids.tolist() == [1, 2]
    assert (first.problem, first.gold, first.problem_id, first.text) == ("1+1?", "2", None, None)
    assert first.author_label is None  # .5 is a mean over two samples
    assert (first.recorded_tokens, second.where) == (3, f"{tmp_path / 'd.parquet'}:1")


def test_newer_layout(tmp_path: Path) -> None:
    (sample,) = read_lighteval([write_parquet(tmp_path / "d.parquet", [NESTED])])
    assert sample.token_ids is not None
    assert sample.token_ids.tolist() == [7, 0]
    assert (sample.problem_id, sample.problem, sample.gold, sample.author_label) == ("17", "1+1?", "2", True)


@pytest.mark.parametrize(
    ("ids", "texts", "expected"),
    [
        (None, ["two"], [None]),  # the backend kept no ids
        ([[]], ["two"], [None]),
        ([[[]]], [""], [[]]),  # nothing was generated
        ([[[5], []]], ["two", ""], [[5], []]),
    ],
)
def test_ids_that_are_not_there(tmp_path: Path, ids: Any, texts: list[str], expected: list[Any]) -> None:
    row = {**FLAT, "cont_tokens": ids, "predictions": texts}
    samples = list(read_lighteval([write_parquet(tmp_path / "d.parquet", [row])]))
    assert [None if s.token_ids is None else s.token_ids.tolist() for s in samples] == expected
    assert [s.text for s in samples] == [t if e is None else None for t, e in zip(texts, expected, strict=True)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({k: v for k, v in FLAT.items() if k != "gold"}, r"d\.parquet:1: no field 'gold' .*details file of lighteval"),
        ({**FLAT, "predictions": []}, r"d\.parquet:1: predictions: \[\] is not a completion"),
        ({**FLAT, "cont_tokens": [[[5, 6]]]}, r"d\.parquet:1: has the ids of 1 completions for 2 texts"),
        ({**NESTED, "doc": {**NESTED["doc"], "gold_index": [3]}}, r"doc\.gold_index: \[3\] is not a place"),
    ],
)
def test_bad_rows(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_lighteval([write_parquet(tmp_path / "d.parquet", [row])]))


def test_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    path.write_text('{"a": 1}\n' * 50)
    with pytest.raises(UserError, match=r"d\.parquet: not a Parquet file .*details file of lighteval\?"):
        list(read_lighteval([path]))


def test_results_file_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results\.json: a results file alone has no completions"):
        list(read_lighteval([tmp_path / "results.json"]))


PARAMETERS = {"max_new_tokens": 4096, "temperature": 0.6, "top_p": 0.95, "top_k": None}
KNOWN = LogSettings("org/m", 4096, 0.6, 0.95, None)


@pytest.mark.parametrize(
    ("general", "settings"),
    [
        ({"model_name": "org/m", "generation_parameters": PARAMETERS}, KNOWN),
        ({"model_name": "org/m", "model_config": {"generation_parameters": PARAMETERS}}, KNOWN),
        ({"model_name": "", "generation_parameters": None}, LogSettings()),
    ],
)
def test_settings(tmp_path: Path, general: dict[str, Any], settings: LogSettings) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"config_general": general}))
    assert read_settings([tmp_path / "d.parquet", path]) == settings


def test_settings_that_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        text = json.dumps({"config_general": {"model_name": name}})
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(UserError, match=r"b\.json: sampled otherwise"):
        read_settings([tmp_path / "a.json", tmp_path / "b.json"])


@pytest.mark.parametrize("text", ["[]", "{}", "{"])
def test_other_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match=r"r\.json: .*name lighteval's results_\*\.json"):
        read_settings([tmp_path / "r.json"])

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extrap_eval.errors import UserError
from extrap_eval.importers.qwen_math import read_qwen_math
from tests.importers.logs import write_lines

ROW: dict[str, Any] = {"idx": 3, "question": "1+1?", "gt": "2", "code": ["a \\boxed{2}", "b"], "score": [True, False]}


def test_one_sample_per_completion(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", [ROW])
    first, second = read_qwen_math([path])
    assert (first.problem_id, first.problem, first.gold, first.text) == ("3", "1+1?", "2", "a \\boxed{2}")
    assert (first.author_label, second.author_label) == (True, False)
    assert (second.text, second.where) == ("b", f"{path}:1")
    assert first.token_ids is None
    assert first.finish_reason is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": None}, r"log\.jsonl:2: code: None is not a completion"),
        ({"code": []}, r"log\.jsonl:2: code: \[\] is not a completion"),
        ({"score": [True]}, r"log\.jsonl:2: score: has 1 values for 2 completions"),
        ({"gt": ""}, r"log\.jsonl:2: gt: the answer is empty"),
    ],
)
def test_bad_rows(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "log.jsonl", [ROW, {**ROW, **change}])
    with pytest.raises(UserError, match=message):
        list(read_qwen_math([path]))


@pytest.mark.parametrize("name", ["question", "gt", "code"])
def test_missing_field(tmp_path: Path, name: str) -> None:
    path = write_lines(tmp_path / "log.jsonl", [{key: value for key, value in ROW.items() if key != name}])
    with pytest.raises(UserError, match=rf"log\.jsonl:1: no field '{name}' .*a log of the Qwen2\.5-Math harness\?"):
        list(read_qwen_math([path]))


def test_skythought_files(fixtures_dir: Path) -> None:
    paths = sorted((fixtures_dir / "skythought_aime24").glob("*.jsonl.gz"))
    assert len(paths) == 3
    for path in paths:
        samples = list(read_qwen_math([path]))
        assert [sample.problem_id for sample in samples] == [str(i) for i in range(30)]
        assert all(sample.author_label is not None and sample.text for sample in samples)


def test_rgeval_file(fixtures_dir: Path) -> None:
    samples = list(read_qwen_math([fixtures_dir / "rgeval" / "qwen25_3b_amc23.jsonl"]))
    assert len(samples) == 40
    assert sum(bool(sample.author_label) for sample in samples) == 17
    assert samples[0].gold == "27"

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extrap_eval.errors import UserError
from extrap_eval.importers.areal import read_areal, rollout_files
from tests.importers.logs import write_lines

ROW: dict[str, Any] = {
    "question_id": 7,
    "prompt": "<User>1+1?<Assistant>",
    "completion": "2<|im_end|>",
    "seqlen": 12,
    "prompt_len": 8,
    "reward": 1.0,
}


def test_row(tmp_path: Path) -> None:
    (sample,) = read_areal([write_lines(tmp_path / "0.jsonl", [ROW])])
    assert (sample.problem_id, sample.problem, sample.gold) == ("7", None, None)
    assert (sample.text, sample.prompt_text) == ("2<|im_end|>", "<User>1+1?<Assistant>")
    assert (sample.recorded_tokens, sample.author_label) == (4, True)


def test_files_of_a_folder_are_read_by_number(tmp_path: Path) -> None:
    for name in ("10.jsonl", "2.jsonl", "1.jsonl.gz", "notes.txt"):
        write_lines(tmp_path / name, [ROW])
    assert [path.name for path in rollout_files([tmp_path])] == ["1.jsonl.gz", "2.jsonl", "10.jsonl"]


def test_folder_without_rollouts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder without \.jsonl files"):
        list(read_areal([tmp_path]))


@pytest.mark.parametrize("name", ["prompt", "completion"])
def test_missing_field(tmp_path: Path, name: str) -> None:
    path = write_lines(tmp_path / "0.jsonl", [ROW, {key: value for key, value in ROW.items() if key != name}])
    with pytest.raises(UserError, match=rf"0\.jsonl:2: no field '{name}' .*a rollout file of AReaL\?"):
        list(read_areal([path]))


def test_row_without_completion(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "0.jsonl", [{**ROW, "completion": None}])
    with pytest.raises(UserError, match=r"0\.jsonl:1: completion: None is not a completion"):
        list(read_areal([path]))

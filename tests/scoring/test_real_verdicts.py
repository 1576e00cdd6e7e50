"""Verdicts on other people's completions against the verdicts that they published."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from extrap_eval.scoring.boxes import find_boxes
from extrap_eval.scoring.judge import Judge, Question

Row = tuple[str, str, bool]  # completion, gold, what the authors said


def areal(fixtures: Path) -> list[Row]:
    rows = []
    for entry in json.loads((fixtures / "areal_n32" / "gold.json").read_text()):
        for line in (fixtures / "areal_n32" / entry["path"]).read_text().splitlines():
            sample = json.loads(line)
            rows.append((sample["completion"], str(entry["gold"]), sample["reward"] == 1))
    return rows


def tegra(fixtures: Path) -> list[Row]:
    rows = []
    for cap in (512, 2048, 8192):
        path = fixtures / "tegra_budget_sweep" / f"max_tokens_{cap}.jsonl"
        for sample in map(json.loads, path.read_text().splitlines()):
            rows.append((sample["generated_responses"][0], sample["gold_answer"], sample["is_correct"]))
    return rows


def skythought(fixtures: Path) -> list[Row]:
    rows = []
    for checkpoint in (21, 84, 140):
        path = fixtures / "skythought_aime24" / f"checkpoint_{checkpoint}.jsonl.gz"
        for sample in map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines()):
            rows.append((sample["code"][0], str(sample["gt"]), sample["score"][0]))
    return rows


def test_agrees_with_the_authors_on_every_row(fixtures_dir: Path, judge: Judge) -> None:
    rows = [*areal(fixtures_dir), *tegra(fixtures_dir), *skythought(fixtures_dir)]
    assert len(rows) > 400
    right = [False] * len(rows)
    questions, asked = [], []
    for index, (completion, gold, _) in enumerate(rows):
        boxes = find_boxes(completion.encode())
        if boxes and boxes[-1].answer:
            questions.append(Question("p", gold, boxes[-1].answer, "integer"))
            asked.append(index)
    for index, verdict in zip(asked, judge.verdicts(questions), strict=True):
        right[index] = verdict == "correct"
    differing = [
        (index, rows[index][1], rows[index][0][-80:]) for index in range(len(rows)) if right[index] != rows[index][2]
    ]
    assert differing == []
    assert 0 < sum(right) < len(rows)

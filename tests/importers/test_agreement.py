"""Our verdicts against those of the people who made the logs, through import, scoring and outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.steps.importing import import_run, imported_table
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.score import score
from tests.importers.test_token_counts import TEGRA

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Row:
    """One imported sample at its full length."""

    problem_id: str
    sample_index: int
    has_answer: bool
    correct: bool
    label: bool


def judged(run_directory: Path, format: str, paths: list[Path], **options: Any) -> list[Row]:
    run = import_run(format, paths, out=run_directory, **options)
    score(run.path)
    found = outcomes(run.path)
    labels = imported_table(run).set_index(["problem_id", "sample_index"])["author_label"]
    return [
        Row(
            id,
            index,
            has_answer=bool(found.class_id[place, index, -1] >= 0),
            correct=bool(found.correct[place, index, -1]),
            label=bool(labels[id, index]),
        )
        for place, id in enumerate(found.problem_ids)
        for index in range(found.n)
    ]


def assert_agreement(rows: list[Row], *, samples: int, answered: int) -> None:
    """At least 99.8 % of the rows with a box, and exactly as many rows and boxes as the log is known to have."""
    boxed = [row for row in rows if row.has_answer]
    assert (len(rows), len(boxed)) == (samples, answered)
    disagreements = [row for row in boxed if row.correct != row.label]
    assert len(disagreements) <= 0.002 * len(boxed), disagreements
    # The verdicts are neither all right nor all wrong, so that agreement says something.
    assert len({row.label for row in boxed}) == 2


def test_deepscaler_rollouts(fixtures_dir: Path, r1_folder: Path, tmp_path: Path) -> None:
    logs = fixtures_dir / "areal_n32"
    paths = [logs / "aime24", logs / "aime25"]
    rows = judged(tmp_path / "run", "areal", paths, tokenizer=str(r1_folder), gold=logs / "gold.json")
    assert_agreement(rows, samples=9 * 32, answered=9 * 32)


def test_openmath_nemotron_rollouts(fixtures_dir: Path, qwen_folder: Path, tmp_path: Path) -> None:
    logs = fixtures_dir / "areal_n32"
    rows = judged(
        tmp_path / "run",
        "areal",
        [logs / "aime24_cut"],
        tokenizer=str(qwen_folder),
        gold=logs / "gold.json",
        max_tokens=12000,
    )
    assert_agreement(rows, samples=10, answered=6)
    assert not any(row.label for row in rows if not row.has_answer)


def test_tegra_budget_sweep(fixtures_dir: Path, r1_folder: Path, tmp_path: Path) -> None:
    paths = [fixtures_dir / "tegra_budget_sweep" / f"max_tokens_{cap}.jsonl" for cap in (512, 2048, 8192)]
    rows = judged(tmp_path / "run", "jsonl", paths, tokenizer=str(r1_folder), fields=TEGRA)
    assert_agreement(rows, samples=90, answered=17)
    assert not any(row.label for row in rows if not row.has_answer)
    # Samples 0, 1 and 2 of a problem are from the caps 512, 2048 and 8192.
    rates = [sum(row.correct for row in rows if row.sample_index == index) / 30 for index in range(3)]
    assert rates == pytest.approx([0, 1 / 30, 0.3])


def test_skythought(fixtures_dir: Path, qwen_folder: Path, tmp_path: Path) -> None:
    paths = [fixtures_dir / "skythought_aime24" / f"checkpoint_{step}.jsonl.gz" for step in (21, 84, 140)]
    rows = judged(tmp_path / "run", "qwen-math", paths, tokenizer=str(qwen_folder), kind="integer")
    assert_agreement(rows, samples=90, answered=52)
    assert not any(row.label for row in rows if not row.has_answer)


def test_rgeval(fixtures_dir: Path, qwen_folder: Path, tmp_path: Path) -> None:
    paths = [fixtures_dir / "rgeval" / "qwen25_3b_amc23.jsonl"]
    rows = judged(tmp_path / "run", "qwen-math", paths, tokenizer=str(qwen_folder))
    assert_agreement(rows, samples=40, answered=38)


def test_lighteval_credits_some_answers_without_a_box(fixtures_dir: Path, r1_folder: Path, tmp_path: Path) -> None:
    """Its extraction takes other forms than boxes too: where there is a box we agree, elsewhere it may credit more."""
    paths = sorted((fixtures_dir / "saturn_lighteval").iterdir())
    rows = judged(tmp_path / "run", "lighteval", paths, tokenizer=str(r1_folder))
    assert_agreement(rows, samples=30, answered=14)
    assert sum(row.label for row in rows) == 8
    assert sum(row.label for row in rows if not row.has_answer) == 3

"""Lengths of imported real completions against what their authors' engines counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.importers import (
    completion_tokens,
    end_ids,
    endings,
    group,
    prompt_tokens,
    read_references,
    read_samples,
    think_markers,
)

TEGRA = {
    "completion": "generated_responses.0",
    "problem": "question",
    "gold": "gold_answer",
    "id": "id",
    "label": "is_correct",
}


def test_lighteval_ids_are_exact(fixtures_dir: Path, r1: Any) -> None:
    import pyarrow.parquet as pq

    path = fixtures_dir / "saturn_lighteval" / "r1_distill_qwen_1.5b_aime24.parquet"
    rows = pq.read_table(path).to_pylist()
    samples, _ = read_samples("lighteval", [path])
    assert len(samples) == len(rows) == 30
    ids, texts = completion_tokens(samples, r1)
    assert [len(own) for own in ids] == [len(row["cont_tokens"][0][0]) for row in rows]
    for own, row in zip(ids, rows, strict=True):
        assert r1.decode(own, skip_special_tokens=True) == row["predictions"][0]
    assert sum("</think>" in text for text in texts) in (21, 22)
    # The prompt, doubled beginning-of-text token included, is what the engine was given.
    (problem, *_), samples = group(samples, None, "math")
    prompts = prompt_tokens(samples, r1)
    assert prompts[problem.id].tolist() == rows[0]["input_tokens"][0]
    think = think_markers(samples, texts, prompts, r1)
    assert think is not None
    assert think.opened_by_prompt
    # Whatever does not end in the end token is exactly as long as the cap.
    ends = endings(samples, ids, texts, end_ids=end_ids(r1, None, think), cap=16384, think=think)
    for own, ending in zip(ids, ends, strict=True):
        assert (ending.finish_reason == "stop") == (own[-1] == 151643) == (len(own) < 16384)
        assert ending.stop_token_id == (151643 if ending.finish_reason == "stop" else None)


def areal(fixtures_dir: Path, folder: str, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Tokens by the log's count, and by ours."""
    samples, _ = read_samples("areal", [fixtures_dir / "areal_n32" / folder])
    ids, _ = completion_tokens(samples, tokenizer)
    assert all(sample.recorded_tokens is not None for sample in samples)
    return [int(sample.recorded_tokens or 0) for sample in samples], [len(own) for own in ids]


@pytest.mark.parametrize(("folder", "count", "inexact"), [("aime24", 128, {1: 2, 5: 1}), ("aime25", 160, {-1: 1})])
def test_deepscaler_rollouts_have_their_recorded_length(
    fixtures_dir: Path, r1: Any, folder: str, count: int, inexact: dict[int, int]
) -> None:
    recorded, ours = areal(fixtures_dir, folder, r1)
    assert len(ours) == count
    # A sampled text has, rarely, more or fewer tokens than the tokenizer's own splitting of it.
    difference = Counter(np.subtract(recorded, ours).tolist())
    assert {key: value for key, value in difference.items() if key != 0} == inexact


def test_openmath_nemotron_rollouts_have_their_recorded_length(fixtures_dir: Path, qwen: Any) -> None:
    recorded, ours = areal(fixtures_dir, "aime24_cut", qwen)
    assert ours == recorded
    assert sum(length == 12000 for length in ours) == 6


def test_areal_prompts_have_their_recorded_length(fixtures_dir: Path, r1: Any) -> None:
    import json

    folder = fixtures_dir / "areal_n32" / "aime25"
    samples, _ = read_samples("areal", [folder])
    problems, samples = group(samples, read_references(folder.parent / "gold.json"), "integer")
    assert [problem.id for problem in problems] == ["0", "16", "2", "3", "5"]
    prompts = prompt_tokens(samples, r1)
    for problem in problems:
        first = json.loads((folder / f"{problem.id}.jsonl").open().readline())
        assert len(prompts[problem.id]) == first["prompt_len"]
        assert first["question_id"] == int(problem.id)


@pytest.mark.parametrize(("budget", "shorter", "finished"), [(512, [], 0), (2048, [2047], 1), (8192, [8190], 15)])
def test_tegra_cut_completions_are_as_long_as_the_budget(
    fixtures_dir: Path, r1: Any, budget: int, shorter: list[int], finished: int
) -> None:
    path = fixtures_dir / "tegra_budget_sweep" / f"max_tokens_{budget}.jsonl"
    samples, _ = read_samples("jsonl", [path], TEGRA)
    ids, texts = completion_tokens(samples, r1)
    think = think_markers(samples, texts, {}, r1)
    ends = endings(samples, ids, texts, end_ids=end_ids(r1, None, think), cap=budget, think=think)
    cut = [len(own) for own, ending in zip(ids, ends, strict=True) if ending.finish_reason == "length"]
    assert sorted(length for length in cut if length != budget) == shorter
    assert (len(cut), len(ids)) == (30 - finished, 30)
    assert max(len(own) for own in ids) <= budget


@pytest.mark.slow  # 1.6 million tokens
def test_skythought_cut_completions_fill_the_context(fixtures_dir: Path, qwen: Any) -> None:
    """Prompt and completion together have a cap there: all that are cut at one problem have one length."""
    paths = [fixtures_dir / "skythought_aime24" / f"checkpoint_{step}.jsonl.gz" for step in (21, 84, 140)]
    samples, _ = read_samples("qwen-math", paths)
    problems, samples = group(samples, None, "integer")
    assert [s.sample_index for s in samples] == [0] * 30 + [1] * 30 + [2] * 30
    ids, texts = completion_tokens(samples, qwen)
    think = think_markers(samples, texts, {}, qwen)
    ends = endings(samples, ids, texts, end_ids=end_ids(qwen, None, think), cap=None, think=think)
    lengths: dict[str, list[int]] = {problem.id: [] for problem in problems}
    for sample, own, text, ending in zip(samples, ids, texts, ends, strict=True):
        assert (ending.finish_reason == "stop") == text.endswith("<|end_of_solution|>")
        if ending.finish_reason == "length":
            lengths[str(sample.problem_id)].append(len(own))
    assert sum(map(len, lengths.values())) == 38
    for found in lengths.values():
        assert all(32000 < length < 32768 for length in found)
        assert not found or max(found) - min(found) <= 1

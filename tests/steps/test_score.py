"""Scoring a run directory: what it finds, what it remembers, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.problems.problem import Problem
from extrap_eval.scoring.judge import judge_version
from extrap_eval.scoring.tokens import TokenTable
from extrap_eval.steps.score import ensure_scored, score
from extrap_eval.store import Completion, Run
from tests.store.making import make_run, model_card, prompts

BYTES = TokenTable(tuple(bytes([i]) for i in range(256)))
THINK = {"open": "<think>", "close": "</think>", "opened_by_prompt": True}

# Plain integers need no worker process, which keeps most tests quick.
PROBLEMS = [Problem("six", "What is 2 · 3?", "6", "math"), Problem("seven", "What is 3 + 4?", "7", "integer")]
# problem id -> the text of each sample
TEXTS = {
    "six": [r"hm </think> \boxed{6}", r"\boxed{2} no </think> \boxed{06}", "…", r"\boxed{5}\boxed{}"],
    "seven": [r"\boxed{7}", r"\boxed{07} and \boxed{8}", r"\boxed{\text{9}}{}", "I do not know"],
}
HALF = Problem("half", "What is 1/2?", r"\frac{1}{2}", "math")
HALVES = [r"\boxed{0.5}", r"\boxed{x} \boxed{1/2}", r"\boxed{}{ }", r"\boxed{}{"]


def ids(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)


def add(run: Run, texts: Mapping[str, Sequence[str]], *, first: int = 0) -> None:
    with run.writer() as writer:
        writer.append(
            [
                Completion(id, first + index, token_ids=ids(text), finish_reason="stop" if text else "length")
                for id, samples in texts.items()
                for index, text in enumerate(samples)
            ]
        )


def new_run(path: Path, problems: Sequence[Problem] = PROBLEMS, *, n: int = 4, **changes: Any) -> Run:
    defaults: dict[str, Any] = {
        "model_card": model_card(think=THINK),
        "problems": problems,
        "prompts": prompts(problems),
        "token_table": BYTES,
        "n": n,
    }
    return make_run(path, **(defaults | changes))


def verdicts(run: Run) -> dict[tuple[str, str], str]:
    frame = run.layer().answers()
    return dict(zip(zip(frame["problem_id"], frame["answer"], strict=True), frame["verdict"], strict=True))


def table(run: Run) -> pd.DataFrame:
    return run.layer().answers().sort_values(["problem_id", "answer"], ignore_index=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = new_run(tmp_path / "run")
    add(run, TEXTS)
    return run


def test_reads_and_judges_everything(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", [*PROBLEMS, HALF])
    add(run, {**TEXTS, "half": HALVES})
    seen: list[tuple[int, int]] = []
    report = score(run.path, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert verdicts(run) == {
        ("six", "6"): "correct",
        ("six", "06"): "correct",
        ("six", "2"): "incorrect",
        ("six", "5"): "incorrect",
        ("seven", "7"): "correct",
        ("seven", "07"): "correct",
        ("seven", "8"): "incorrect",
        ("seven", r"\text{9}"): "incorrect",
        ("half", "0.5"): "correct",
        ("half", "1/2"): "correct",
        ("half", "x"): "incorrect",
    }
    classes = table(run).set_index(["problem_id", "answer"])["class_id"].to_dict()
    assert classes["half", "0.5"] == classes["half", "1/2"] != classes["half", "x"]
    assert classes["seven", "7"] == classes["seven", "07"] != classes["seven", "8"]
    timelines = dict(run.layer().timelines())
    assert len(timelines) == 12
    second = timelines["six", 1]
    assert second.answers == ("2", "06")
    assert second.n_tokens == len(TEXTS["six"][1])
    assert second.think_end == TEXTS["six"][1].index("</think>") + len("</think>")
    assert second.finished
    assert timelines["six", 3].answers == ("5", "")
    assert (report.samples, report.answers, report.judged) == (12, 11, 11)
    assert report.verdicts == {"correct": 6, "incorrect": 5}
    assert report.gold_errors == {}
    assert str(report) == "12 samples, 11 distinct answers (11 judged now): 6 correct, 5 incorrect"
    assert seen == [(done, 12) for done in range(1, 13)]
    assert run.layer().score()["versions"]["judge"] == judge_version()


def test_an_unchanged_run_is_left_alone(run: Run) -> None:
    score(run.path)
    before = run.layer().score()
    report = score(run.path)
    assert report.judged == 0
    assert report.verdicts == {"correct": 4, "incorrect": 4}
    ensure_scored(run.path)
    assert run.layer().score() == before


def test_after_a_top_up_only_new_answers_are_judged_and_the_result_is_that_of_a_fresh_start(
    run: Run, tmp_path: Path
) -> None:
    score(run.path)
    run = new_run(run.path, n=5)
    with pytest.raises(UserError, match="2 of 10 promised samples are missing"):
        score(run.path)
    more = {"six": [r"\boxed{+6} \boxed{5}"], "seven": [r"\boxed{7}"]}
    add(run, more, first=4)
    assert score(run.path).judged == 1
    assert verdicts(run)["six", "+6"] == "correct"

    fresh = new_run(tmp_path / "fresh", n=5)
    add(fresh, TEXTS)
    add(fresh, more, first=4)
    assert score(fresh.path).judged == 9
    pd.testing.assert_frame_equal(table(run), table(fresh))


def test_missing_samples_are_refused_with_the_command_that_tops_up(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    add(run, {"six": TEXTS["six"], "seven": TEXTS["seven"][:1]})
    with pytest.raises(UserError) as caught:
        score(run.path)
    message = str(caught.value)
    assert "3 of 8 promised samples are missing (first: sample 1 of problem seven)" in message
    command = f"extrap-eval sample --model {run.path / 'model.yaml'} --benchmark {run.path / 'benchmark.yaml'}"
    assert f"{command} --out {run.path} --n 4" in message
    with pytest.raises(UserError, match="3 of 8 promised"):
        ensure_scored(run.path)
    assert not run.layer().exists()


def test_the_command_that_made_the_run_is_the_one_to_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["sample", "--model", "a card", "--endpoint", "http://host:1"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/extrap-eval", *arguments])
    run = new_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"extrap-eval sample --model 'a card' --endpoint http://host:1$"):
        score(run.path)


def test_a_gold_that_does_not_parse_leaves_its_problem_out_and_says_so(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", [*PROBLEMS, Problem("bad", "?", "seventy", "integer")], n=1)
    add(run, {"six": [r"\boxed{6}"], "seven": [r"\boxed{7}"], "bad": [r"\boxed{7}"]})
    report = score(run.path)
    assert report.gold_errors == {"bad": "gold 'seventy' is not an integer"}
    assert run.layer().score()["settings"]["gold_errors"] == report.gold_errors
    assert set(verdicts(run)) == {("six", "6"), ("seven", "7")}
    assert str(report).endswith("; 1 problems left out, first bad: gold 'seventy' is not an integer")
    assert len(dict(run.layer().timelines())) == 3
    assert score(run.path).gold_errors == report.gold_errors


def test_a_gold_mended_in_place_is_judged_anew(run: Run) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    score(run.path)
    path = run.path / "problems.parquet"
    old = pq.read_table(path)
    golds = pa.array([gold.replace("6", "2") for gold in old["gold"].to_pylist()])
    column = old.schema.get_field_index("gold")
    pq.write_table(old.set_column(column, old.schema.field(column), golds), path, write_page_checksum=True)
    assert score(run.path).judged == 4  # the answers to that problem
    assert verdicts(run)["six", "2"] == "correct"
    assert verdicts(run)["six", "6"] == "incorrect"


def test_a_timeout_is_tried_again_only_with_more_time(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", PROBLEMS[:1], n=2)
    add(run, {"six": [r"\boxed{9^{9^{9^9}}}", r"\boxed{6}"]})
    report = score(run.path, workers=1, timeout=0.3)
    assert report.verdicts == {"correct": 1, "timeout": 1}
    assert score(run.path, workers=1, timeout=0.3).judged == 0
    assert score(run.path, workers=1, timeout=0.2).judged == 0
    again = score(run.path, workers=1, timeout=0.4)
    assert again.judged == 1
    assert again.verdicts == {"correct": 1, "timeout": 1}
    ensure_scored(run.path)
    assert run.layer().score()["settings"]["timeout"] == 0.4


def test_other_rules_score_again(run: Run) -> None:
    score(run.path)
    path = run.path / "scores" / "default" / "score.json"
    stored = json.loads(path.read_text())
    stored["versions"]["judge"] = "0"
    path.write_text(json.dumps(stored))
    assert score(run.path).judged == 8


def test_a_marker_mended_in_place_is_read_anew(run: Run) -> None:
    from extrap_eval.cards.load import dump_card

    score(run.path)
    (run.path / "model.yaml").write_text(dump_card(model_card(think={**THINK, "close": "no"})), encoding="utf-8")
    assert score(run.path).judged == 0
    assert dict(run.layer().timelines())["six", 1].think_end == TEXTS["six"][1].index("no") + 2


def test_an_unfinished_completion_is_cut(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", PROBLEMS[1:], n=1, model_card=model_card())
    with run.writer() as writer:
        writer.append([Completion("seven", 0, token_ids=ids(r"\boxed{7} and"), finish_reason="length")])
    score(run.path)
    ((_, timeline),) = run.layer().timelines()
    assert not timeline.finished
    assert timeline.think_end == 0  # a model without a thought


def test_a_run_without_a_token_table_is_decoded_by_its_tokenizer(tmp_path: Path) -> None:
    from tests.scoring.test_tokens import wordpiece

    tokenizer = wordpiece()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    card = model_card(tokenizer=str(tmp_path / "tokenizer"))
    run = new_run(tmp_path / "run", PROBLEMS[1:], n=1, model_card=card, token_table=None)
    tokens = tokenizer.encode("the \\boxed{42} is", add_special_tokens=False)
    with run.writer() as writer:
        writer.append([Completion("seven", 0, token_ids=np.array(tokens, np.int32), finish_reason="stop")])
    score(run.path)
    ((_, timeline),) = run.layer().timelines()
    text = tokenizer.decode(tokens)
    assert timeline.n_tokens == len(tokens)
    assert len(timeline.answers) == text.count("\\boxed {") + text.count("\\boxed{")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        score(tmp_path / "nothing")


SAMPLES, TOKENS = 900, 8192

MEASURED = """
import resource, sys
from extrap_eval.steps.score import score
score(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mb(path: Path, samples: int) -> float:
    """Peak resident memory, in MiB, of a process that scores a run of so many long completions."""
    run = new_run(path, PROBLEMS[1:], n=samples)
    rng = np.random.default_rng(0)
    with run.writer() as writer:
        for index in range(samples):
            text = rng.integers(97, 123, size=TOKENS).astype(np.int32)
            text[-9:] = ids(rf"\boxed{{{index % 7}}}")
            writer.append([Completion("seven", index, token_ids=text, finish_reason="stop")])
        writer.seal()
    done = subprocess.run([sys.executable, "-c", MEASURED, str(run.path)], capture_output=True, text=True, check=True)
    assert len(run.layer().timeline_frame()) == samples
    return int(done.stdout) / 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_completions(tmp_path: Path) -> None:
    # The first hundreds fill the buffers that the readers keep.
    small, large = peak_mb(tmp_path / "small", SAMPLES), peak_mb(tmp_path / "large", 4 * SAMPLES)
    ids_mb = 3 * SAMPLES * TOKENS * 4 / 2**20  # what keeping the ids of the additional completions would add
    assert ids_mb > 80
    assert large - small < ids_mb / 4

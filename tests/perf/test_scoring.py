"""How fast completions are scored, against cutting, decoding and parsing at every budget."""

from __future__ import annotations

import gzip
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.scoring.judge import Judge, Question, Verdict
from extrap_eval.scoring.loops import final_loop
from extrap_eval.scoring.outcomes import sample_outcomes
from extrap_eval.scoring.quality import read_quality
from extrap_eval.scoring.timeline import answer_index, read_timeline
from extrap_eval.scoring.tokens import TokenTable

pytestmark = pytest.mark.perf

SIX = np.array([512, 1024, 2048, 4096, 8192, 16384])
THINK_CLOSE = "<|box_end|>"  # the id that R1-Distill calls </think>, as Qwen2.5's tokenizer calls it


@pytest.fixture(scope="module")
def tokenizer(fixtures_dir: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(fixtures_dir / "tokenizers" / "qwen2.5"))


@pytest.fixture(scope="module")
def rows(fixtures_dir: Path) -> list[tuple[np.ndarray, str]]:
    """Ids and gold of 30 real completions of up to 16384 tokens."""
    import pyarrow.parquet as pq

    path = fixtures_dir / "saturn_lighteval" / "r1_distill_qwen_1.5b_aime24.parquet"
    table = pq.read_table(path, columns=["cont_tokens", "gold"]).to_pylist()
    return [(np.array(row["cont_tokens"][0][0], dtype=np.int32), row["gold"][0]) for row in table]


def seconds(work: Callable[[], object], repetitions: int, clock: Callable[[], float] = time.process_time) -> float:
    """The best of three rounds, per repetition, after one to warm up; of this process alone by default."""
    work()
    rounds = []
    for _ in range(3):
        began = clock()
        for _ in range(repetitions):
            work()
        rounds.append((clock() - began) / repetitions)
    return min(rounds)


def by_timeline(
    rows: list[tuple[np.ndarray, str]],
    table: TokenTable,
    memory: dict[tuple[str, str], Verdict],
    budgets: np.ndarray,
) -> np.ndarray:
    """bool[rows, budgets]: right by the answer so far."""
    correct = np.zeros((len(rows), len(budgets)), dtype=bool)
    for row, (ids, gold) in enumerate(rows):
        timeline = read_timeline(ids, table, finished=True, think_close=THINK_CLOSE)
        right = [memory[gold, answer] == "correct" for answer in timeline.answers]
        correct[row] = np.array([*right, False])[answer_index(timeline, budgets)]
    return correct


def naively(rows: list[tuple[np.ndarray, str]], tokenizer: Any, budgets: np.ndarray) -> np.ndarray:
    """The same by cutting, decoding, math-verify's own extraction, and verify, at every budget."""
    from math_verify import parse, verify

    correct = np.zeros((len(rows), len(budgets)), dtype=bool)
    for row, (ids, gold) in enumerate(rows):
        for column, budget in enumerate(budgets.tolist()):
            text = tokenizer.decode(ids[:budget].tolist(), skip_special_tokens=False)
            said = parse(text, parsing_timeout=None)
            correct[row, column] = verify(parse(gold, parsing_timeout=None), said, timeout_seconds=None)
    return correct


def test_the_timeline_is_far_faster_than_cutting_at_every_budget(
    tokenizer: Any, rows: list[tuple[np.ndarray, str]]
) -> None:
    table = TokenTable.from_tokenizer(tokenizer)
    said = {(gold, a) for ids, gold in rows for a in read_timeline(ids, table, finished=True, think_close=None).answers}
    with Judge(workers=1) as judge:
        verdicts = judge.verdicts([Question("p", gold, answer, "integer") for gold, answer in said])
    memory = dict(zip(said, verdicts, strict=True))

    logging.disable(logging.CRITICAL)
    naively(rows[:1], tokenizer, SIX[:1])
    began = time.process_time()
    naive_correct = naively(rows, tokenizer, SIX)
    naive = (time.process_time() - began) / len(rows)
    logging.disable(logging.NOTSET)
    budgets = {1: SIX[-1:], 6: SIX, 64: np.arange(256, 256 * 65, 256)}
    fast = {count: [math.inf] for count in budgets}
    for _ in range(8):  # in turns, so that what else the machine does hits them alike
        for count, at in budgets.items():
            fast[count].append(seconds(lambda at=at: by_timeline(rows, table, memory, at), 3) / len(rows))
    one, six, many = (min(fast[count]) for count in budgets)

    mean = sum(len(ids) for ids, _ in rows) / len(rows)
    print(f"\n{len(rows)} real completions, {mean:.0f} tokens on average; one core, verdicts known")
    print(f"{'way':44}{'completions/s':>14}{'ms each':>10}")
    lines = [
        ("6 budgets, cut + decode + parse + verify", naive),
        ("6 budgets, timeline", six),
        ("1 budget, timeline", one),
        ("64 budgets, timeline", many),
    ]
    for name, value in lines:
        print(f"{name:44}{1 / value:14.1f}{1000 * value:10.3f}")
    print(f"timeline is {naive / six:.0f} times as fast; 64 budgets cost {many / one:.2f} of one")
    fast_correct = by_timeline(rows, table, memory, SIX)
    # math-verify also credits answers that are not boxed, never fewer than the boxed ones here.
    assert not (fast_correct & ~naive_correct).any()
    assert naive / six >= 200
    assert many / one <= 1.2


def test_parts(tokenizer: Any, rows: list[tuple[np.ndarray, str]]) -> None:
    """Where the time goes; the loop search must be a small part of reading a completion, loop or not."""
    table = TokenTable.from_tokenizer(tokenizer)
    rng = np.random.default_rng(0)
    text = np.concatenate([ids for ids, _ in rows])
    block = text[:200]
    completions = {
        "8k real": text[:8192],
        "32k real": text[:32768],
        "32k, loop of 200": np.concatenate([text[:8192], np.tile(block, 123)])[:32768],
        "32k, loop of 1": np.concatenate([text[:8192], np.full(24576, 11, np.int32)]),
        "32k of two tokens": rng.integers(0, 2, 32768).astype(np.int32),
        "32k, 64 tokens over and over, no loop": near_loop(),
    }
    print(f"\n{'completion':40}{'bytes':>9}{'offsets':>9}{'loop':>9}{'all':>9}   ms")
    budgets = np.arange(512, 32769, 512)
    for name, ids in completions.items():
        parts = [
            seconds(lambda ids=ids: table.text_bytes(ids), 5),
            seconds(lambda ids=ids: table.ends(ids), 5),
            seconds(lambda ids=ids: final_loop(ids), 5),
            seconds(lambda ids=ids: read_timeline(ids, table, finished=False, think_close=THINK_CLOSE), 5),
        ]
        print(f"{name:40}" + "".join(f"{1000 * part:9.3f}" for part in parts))
        if "real" in name:
            assert parts[2] < parts[3] / 3
    timeline = read_timeline(text[:32768], table, finished=False, think_close=THINK_CLOSE)
    verdicts: list[Verdict] = ["incorrect"] * len(timeline.answers)
    outcomes = seconds(lambda: sample_outcomes(timeline, verdicts, budgets), 20)
    print(f"outcomes at {len(budgets)} budgets: {1000 * outcomes:.3f} ms")


def test_loops_and_quality_of_completions_that_loop(tokenizer: Any, fixtures_dir: Path) -> None:
    """90 real completions, 38 of them cut at 32k tokens: what a looped ending and all of the quality measures cost.

    The whole reading must not grow with the budgets as reading every prefix anew would.
    """
    table = TokenTable.from_tokenizer(tokenizer)
    texts = []
    for step in (21, 84, 140):
        with gzip.open(fixtures_dir / "skythought_aime24" / f"checkpoint_{step}.jsonl.gz", "rt") as lines:
            texts += [json.loads(line)["code"][0] for line in lines]
    ids = [np.array(each, np.int32) for each in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    long = [each for each in ids if len(each) > 32_000]
    budgets = {count: np.geomspace(512, 32768, count).astype(np.int64) for count in (7, 64)}
    parts: dict[str, Callable[[np.ndarray], object]] = {
        "looped ending": final_loop,
        "all at 1 budget": lambda each: read_quality(each, table, np.array([32768])),
        "all at 7 budgets": lambda each: read_quality(each, table, budgets[7]),
        "all at 64 budgets": lambda each: read_quality(each, table, budgets[64]),
        "7 prefixes read anew": lambda each: [read_quality(each[:b], table, budgets[7][-1:]) for b in budgets[7]],
    }
    print(f"\n{len(long)} real completions of 32k tokens, ms each{'mean':>12}{'slowest':>10}")
    mean = {}
    for name, work in parts.items():
        took = [seconds(lambda each=each, work=work: work(each), 2) for each in long]
        mean[name] = sum(took) / len(took)
        print(f"{name:48}{1000 * mean[name]:10.3f}{1000 * max(took):10.3f}")
    assert mean["looped ending"] < mean["all at 1 budget"]
    assert mean["all at 7 budgets"] < mean["7 prefixes read anew"]


def near_loop() -> np.ndarray:
    """The last 64 tokens recur at many distances, and no distance is a period: the longest search."""
    recurring = np.arange(100, 164)
    blocks = [np.append(recurring, 1000 + i) for i in range(503)]
    return np.append(np.concatenate(blocks), recurring).astype(np.int32)


def test_the_judge(rows: list[tuple[np.ndarray, str]]) -> None:
    """Questions per second: decided here, and by math-verify in one worker."""
    integers = [Question("p", "70", str(i), "integer") for i in range(20_000)]
    fractions = [Question("p", r"\frac{3}{7}", rf"\frac{{{i}}}{{7}}", "math") for i in range(1500)]
    with Judge(workers=1) as judge:
        judge.verdicts(fractions[:5])
        rates = {
            "plain integers": len(integers) / seconds(lambda: judge.verdicts(integers), 1, time.perf_counter),
            "fractions, one worker": len(fractions) / seconds(lambda: judge.verdicts(fractions), 1, time.perf_counter),
        }
    print(f"\n{'questions':24}{'per second':>12}")
    for name, rate in rates.items():
        print(f"{name:24}{rate:12.0f}")
    assert rates["plain integers"] > 20 * rates["fractions, one worker"]

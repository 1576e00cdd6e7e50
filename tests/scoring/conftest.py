"""Tokenizers and completions shared by the scoring tests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.scoring.judge import Judge
from extrap_eval.scoring.tokens import TokenTable
from tests.scoring import reference


def load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


@pytest.fixture(scope="session")
def qwen(fixtures_dir: Path) -> Any:
    return load(fixtures_dir / "tokenizers" / "qwen2.5")


@pytest.fixture(scope="session")
def qwen_table(qwen: Any) -> TokenTable:
    return TokenTable.from_tokenizer(qwen)


@pytest.fixture(scope="session")
def saturn(fixtures_dir: Path) -> list[dict[str, Any]]:
    """30 real completions: ids (int32), text as the other harness decoded it, gold."""
    import pyarrow.parquet as pq

    path = fixtures_dir / "saturn_lighteval" / "r1_distill_qwen_1.5b_aime24.parquet"
    rows = pq.read_table(path, columns=["cont_tokens", "predictions", "gold"]).to_pylist()
    return [
        {
            "ids": np.array(row["cont_tokens"][0][0], dtype=np.int32),
            "text": row["predictions"][0],
            "gold": row["gold"][0],
        }
        for row in rows
    ]


def saturn_answers(tokenizer: Any, ids: np.ndarray) -> list[str]:
    """Cut, decode, extract at every budget 1…n by the tokenizers library and ``reference.last_box``; "": no answer.

    Decoding every whole prefix of a 16k-token completion takes a minute, so the text at budget B is put together
    from two decodes: of the tokens up to a checkpoint (every 16 tokens or so) and of those from there to B. A
    checkpoint stands only between tokens that each decode without a replacement character, so that no character is
    torn; at every 1000th budget the two are compared with decoding the whole prefix. The text is searched again
    wherever it is more than the text at B - 1 and something without a closing brace, for without one no box can
    have been completed.
    """
    tokens = ids.tolist()
    whole = [tokenizer.decode([token], skip_special_tokens=False) for token in tokens]
    safe = [False] + ["\ufffd" not in a + b for a, b in pairwise(whole)]
    checkpoints, checkpoint = [], 0
    for budget in range(1, len(tokens) + 1):
        if budget - 1 - checkpoint >= 16 and safe[budget - 1]:
            checkpoint = budget - 1
        checkpoints.append(checkpoint)
    windows = [tokens[start : end + 1] for end, start in enumerate(checkpoints)]
    tails = tokenizer.backend_tokenizer.decode_batch(windows, skip_special_tokens=False)

    answers: list[str] = []
    before, last_start, last_tail, answer = "", 0, "", ""
    for budget, (start, tail) in enumerate(zip(checkpoints, tails, strict=True), start=1):
        if start != last_start:
            before += tokenizer.decode(tokens[last_start:start], skip_special_tokens=False)
            added = tail
            last_start = start
        else:
            added = tail[len(last_tail) :] if tail.startswith(last_tail) else "}"
        last_tail = tail
        if "}" in added:
            answer = reference.last_box(before + tail) or ""
        if budget % 1000 == 0 or budget == len(tokens):
            assert before + tail == tokenizer.decode(tokens[:budget], skip_special_tokens=False)
        answers.append(answer)
    return answers


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    with Judge(workers=2, timeout=20) as judge:
        yield judge


@pytest.fixture(scope="session")
def impatient() -> Iterator[Judge]:
    """For what hangs; long enough for everything else, on a busy machine too."""
    with Judge(workers=2, timeout=1.0) as judge:
        yield judge

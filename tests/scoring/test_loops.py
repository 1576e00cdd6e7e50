"""The loop a completion ends in, against trying every period on every token."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.scoring.loops import MIN_REPETITIONS, MIN_TOKENS, Loop, certain_length, final_loop
from tests.scoring import reference


def looping(before: int, period: int, length: int) -> np.ndarray:
    """Distinct tokens, then ``length`` tokens of a repeated block of distinct tokens."""
    return np.concatenate([np.arange(before), 10_000 + np.arange(length) % period]).astype(np.int32)


CASES = [
    (looping(0, 1, 96), Loop(0, 1)),
    (looping(0, 1, 95), None),
    (looping(50, 1, 96), Loop(50, 1)),
    (looping(50, 10, 95), None),
    (looping(50, 10, 99), Loop(50, 10)),  # the last repetition may be incomplete
    (looping(50, 32, 96), Loop(50, 32)),
    (looping(50, 33, 98), None),  # long enough, but not three repetitions
    (looping(50, 33, 99), Loop(50, 33)),
    (looping(500, 400, 1199), None),
    (looping(500, 400, 1200), Loop(500, 400)),
    (np.arange(1000, dtype=np.int32), None),
    (np.array([], dtype=np.int32), None),
    (np.append(looping(0, 5, 500), 7).astype(np.int32), None),  # it found its way out
    (np.array([1] * 60 + [2] + [1] * 60, dtype=np.int32), None),
]


@pytest.mark.parametrize(("ids", "loop"), CASES)
def test_cases(ids: np.ndarray, loop: Loop | None) -> None:
    assert final_loop(ids) == loop


@pytest.mark.parametrize(("period", "length"), [(1, 96), (32, 96), (33, 99), (1000, 3000)])
def test_certain_length(period: int, length: int) -> None:
    assert certain_length(period) == length
    assert Loop(onset=7, period=period).certain_at == 7 + length


@st.composite
def endings(draw: st.DrawFn) -> list[int]:
    """Tokens of a small alphabet whose end repeats a block, nested repetitions and near misses included."""
    token = st.integers(0, 2)
    block = draw(st.lists(token, min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 2))):
        block = block * draw(st.integers(1, 4)) + draw(st.lists(token, max_size=3))
    ids = draw(st.lists(token, max_size=60)) + block * draw(st.integers(1, 100))
    ids = ids[-420:] + block[: draw(st.integers(0, len(block)))]
    return ids + draw(st.sampled_from([[], [], [], [5]]))


@settings(max_examples=400, deadline=None)
@given(endings())
def test_as_the_slow_reference_says(ids: list[int]) -> None:
    loop = final_loop(reference.as_ids(ids))
    expected = reference.final_loop(ids, MIN_REPETITIONS, MIN_TOKENS)
    assert (None if loop is None else (loop.onset, loop.period)) == expected


@settings(max_examples=50, deadline=None)
@given(endings())
def test_from_certain_on_every_prefix_ends_in_a_loop(ids: list[int]) -> None:
    loop = final_loop(reference.as_ids(ids))
    if loop is not None:
        assert loop.certain_at <= len(ids)
        for cut in range(loop.certain_at, len(ids) + 1):
            assert final_loop(reference.as_ids(ids[:cut])) is not None


@pytest.mark.slow
def test_as_the_slow_reference_says_of_real_completions(fixtures_dir: Path) -> None:
    """90 completions of up to 32k tokens, many of them cut in a loop."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(fixtures_dir / "tokenizers" / "qwen2.5"))
    texts = []
    for step in (21, 84, 140):
        with gzip.open(fixtures_dir / "skythought_aime24" / f"checkpoint_{step}.jsonl.gz", "rt") as lines:
            texts += [json.loads(line)["code"][0] for line in lines]
    assert len(texts) == 90
    loops = 0
    for tokens in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        loop = final_loop(reference.as_ids(tokens))
        expected = reference.final_loop(tokens, MIN_REPETITIONS, MIN_TOKENS)
        assert (None if loop is None else (loop.onset, loop.period)) == expected
        loops += loop is not None
    assert loops > 30

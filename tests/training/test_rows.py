"""Training rows: within 512 tokens, far positions, the right tokens learned, the same each time."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random
from typing import Any

import numpy as np
import pytest

from training.residue_search import rows as rows_module
from training.residue_search.rows import (
    FARTHEST,
    ROW,
    Batch,
    Encode,
    Row,
    batches,
    block_of_batches,
    build_row,
    encoder,
)
from training.residue_search.tokenizer import CLOSE, END, THINK, train_tokenizer
from training.residue_search.trace import PROBE, Habits

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", 96)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


@pytest.fixture(scope="module")
def encode(tokenizer: Any) -> Encode:
    return encoder(tokenizer)


@pytest.fixture(scope="module")
def rows(encode: Encode) -> list[Row]:
    rng = Random(7)
    return [build_row(rng, encode, Habits()) for _ in range(400)]


def test_lengths_and_positions(rows: list[Row]) -> None:
    far = 0
    for row in rows:
        assert len(row.ids) == len(row.positions) == len(row.mask) <= ROW
        jumps = [b - a for a, b in pairwise(row.positions)]
        assert min(jumps) >= 1
        assert sum(jump > 1 for jump in jumps) <= 1
        assert row.positions[0] == 0
        assert row.positions[-1] < FARTHEST
        far += row.positions[-1] > 1000
    assert 0.3 < far / len(rows) < 0.5
    assert max(row.positions[-1] for row in rows) > 4000


def test_leaps_skip_positions_again_and_again(encode: Encode) -> None:
    rng = Random(8)
    counts = []
    for _ in range(200):
        row = build_row(rng, encode, Habits(leap=0.3))
        jumps = [b - a for a, b in pairwise(row.positions)]
        assert min(jumps) >= 1
        assert len(row.ids) <= ROW
        assert row.positions[-1] < FARTHEST
        counts.append(sum(jump > 1 for jump in jumps))
    assert max(counts) >= 4
    assert sum(count > 1 for count in counts) > 100


def test_what_is_learned(rows: list[Row], tokenizer: Any) -> None:
    probes = finished = 0
    for row in rows:
        learned = tokenizer.decode([i for i, m in zip(row.ids, row.mask, strict=True) if m])
        whole = tokenizer.decode(row.ids)
        assert learned.startswith(f"{THINK}\nNumbers")
        assert "<|im_start|>" not in learned
        assert "Time is up." not in learned
        if PROBE in whole:
            probes += 1
            answer = whole.split(PROBE)[1]
            assert answer.startswith("Best candidate:** n = ")
            assert answer.endswith(f"}}{END}")
            assert learned.endswith(answer)
        elif whole.endswith(END) and len(row.ids) < ROW:
            finished += 1
            assert f"\n{CLOSE}\n\n" in whole
        else:
            assert len(row.ids) == ROW
    assert 0.08 < probes / len(rows) < 0.20
    assert finished > 100


def test_blocks_repeat_and_differ(encode: Encode) -> None:
    def digest(seed: int, block: int) -> str:
        chain = ""
        for batch in block_of_batches(seed, block, encode, Habits(), tokens=4096):
            chain = batch.digest(chain)
        return chain

    assert digest(1, 0) == digest(1, 0)
    assert len({digest(1, 0), digest(1, 1), digest(2, 0)}) == 3


def test_batches_are_small_enough_and_padded_without_loss(encode: Encode) -> None:
    for batch in block_of_batches(0, 0, encode, Habits(), tokens=2048):
        assert batch.ids.shape == batch.positions.shape == batch.mask.shape
        assert batch.ids.size <= 2048
        lengths = batch.positions.argmax(axis=1) + 1
        assert batch.tokens == lengths.sum()
        for length, mask in zip(lengths, batch.mask, strict=True):
            assert not mask[length:].any()
            assert mask[:length].any()


def test_the_stream_goes_on_where_it_stopped(encode: Encode) -> None:
    def equal(a: Batch, b: Batch) -> bool:
        return np.array_equal(a.ids, b.ids) and np.array_equal(a.mask, b.mask)

    whole = list(islice(batches(0, encode, Habits(), 4096), 24))
    assert whole[-1][0] > 0, "the piece below must cross into another block"
    block, index, _ = whole[7]
    rest = islice(batches(0, encode, Habits(), 4096, block, index), 17)
    assert all(a[:2] == b[:2] and equal(a[2], b[2]) for a, b in zip(whole[7:], rest, strict=True))


def test_the_digest_sees_every_array() -> None:
    ids = np.arange(6).reshape(2, 3)
    batch = Batch(ids, ids, ids > 1, 6)
    others = [Batch(ids + 1, ids, ids > 1, 6), Batch(ids, ids + 1, ids > 1, 6), Batch(ids, ids, ids > 2, 6)]
    assert len({batch.digest(""), batch.digest("x"), *(other.digest("") for other in others)}) == 5

from __future__ import annotations

import numpy as np

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.local.room import SHARE, Room, measure_room
from extrap_eval.engines.local.row import Row
from tests.engines.local.conftest import Folder, Reference
from tests.engines.local.models import ATTENTION


def row(prompt: int, max_tokens: int) -> Row:
    return Row(GenerationRequest(np.zeros(prompt, np.int32), max_tokens), frozenset())


def test_rows_and_tokens_are_both_limits() -> None:
    room = Room(rows=3, tokens=100)
    assert room.fits(row(10, 30), [])
    assert room.fits(row(10, 20), [row(10, 30), row(10, 20)])
    assert not room.fits(row(10, 21), [row(10, 30), row(10, 20)])
    assert not room.fits(row(1, 1), [row(1, 1)] * 3)
    assert room.fits(row(1000, 1000), [])  # alone it may always try


def test_the_memory_of_a_token_is_measured(folder: Folder, reference: Reference) -> None:
    import psutil

    for kind, heads in (("llama", 2), ("qwen3", 4)):
        room = measure_room(reference(folder(kind)), 7)
        each = ATTENTION["num_hidden_layers"] * 2 * heads * ATTENTION["head_dim"] * 4
        assert room.rows == 7
        assert 0.5 < room.tokens * each / (SHARE * psutil.virtual_memory().available) < 2

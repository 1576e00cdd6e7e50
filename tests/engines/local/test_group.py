"""Keys and values of a group of rows, against lists that each row keeps for itself."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.local.group import RowGroup
from extrap_eval.engines.local.row import Row

LAYERS, HEADS, KEY, VALUE = 2, 2, 3, 2


class Histories:
    """What every row should remember: per layer a list of (key, value), each (heads, size)."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.of: dict[Row, list[list[tuple[torch.Tensor, torch.Tensor]]]] = {}

    def grow(self, row: Row) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """One more token of ``row``; its (key, value) per layer."""
        made = [(self._random(KEY), self._random(VALUE)) for _ in range(LAYERS)]
        for layer, pair in zip(self.of.setdefault(row, [[] for _ in range(LAYERS)]), made, strict=True):
            layer.append(pair)
        return made

    def _random(self, size: int) -> torch.Tensor:
        return torch.rand(HEADS, size, generator=self._generator) + 1  # never 0, which is what padding holds


def new_row() -> Row:
    return Row(GenerationRequest(np.zeros(1, np.int32), 1), frozenset())


def new_group(lengths: list[int], histories: Histories) -> RowGroup:
    end = max(lengths)
    group = RowGroup([new_row() for _ in lengths], [end - length for length in lengths], end)
    for _ in range(LAYERS):
        group.open(HEADS, KEY, VALUE, torch.zeros(1))
    for place, length in enumerate(lengths):
        for column in range(end - length, end):
            for layer, (key, value) in enumerate(histories.grow(group.rows[place])):
                group.keys[layer][place, :, column], group.values[layer][place, :, column] = key, value
    return group


def advance(group: RowGroup, histories: Histories) -> None:
    group.advance()
    made = [histories.grow(row) for row in group.rows]
    for layer in range(LAYERS):
        group.append(layer, torch.stack([m[layer][0] for m in made]), torch.stack([m[layer][1] for m in made]))


def check(group: RowGroup, histories: Histories, size: int | None) -> None:
    lengths = [len(histories.of[row][0]) for row in group.rows]
    assert group.width == max(lengths)
    assert group.padding == sum(group.width - length for length in lengths)
    for layer in range(LAYERS):
        keys, values, mask = group.window(layer, size)
        assert keys.shape[2] == values.shape[2] == min(group.width, size or group.width)
        for place, row in enumerate(group.rows):
            remembered = histories.of[row][layer][-(size or len(histories.of[row][layer])) :]
            seen = torch.ones(keys.shape[2], dtype=torch.bool) if mask is None else mask[place, 0, 0] == 0
            assert seen.tolist() == [False] * (len(seen) - len(remembered)) + [True] * len(remembered)
            assert torch.equal(keys[place][:, seen], torch.stack([key for key, _ in remembered], dim=1))
            assert torch.equal(values[place][:, seen], torch.stack([value for _, value in remembered], dim=1))
            assert mask is None or torch.isneginf(mask[place, 0, 0][~seen]).all()
            assert torch.isfinite(keys[place]).all()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    first=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    actions=st.lists(
        st.one_of(
            st.integers(1, 150),  # so many tokens more
            st.just("leave"),
            st.lists(st.integers(1, 12), min_size=1, max_size=4),  # rows of these lengths join
        ),
        max_size=12,
    ),
    size=st.none() | st.integers(1, 30),
)
def test_every_row_finds_its_own_past(
    seed: int, first: list[int], actions: list[int | str | list[int]], size: int | None
) -> None:
    histories, chance = Histories(seed), np.random.default_rng(seed)
    group = new_group(first, histories)
    for action in actions:
        if isinstance(action, int):
            for _ in range(action):
                advance(group, histories)
        elif isinstance(action, list):
            other = new_group(action, histories)
            if other.width <= group.width:
                group.join(other)
        elif len(group.rows) > 1:
            group.leave(int(chance.integers(len(group.rows))))
        check(group, histories, size)


def test_columns_that_no_row_needs_any_more_are_given_up() -> None:
    histories = Histories(0)
    group = new_group([3000, 2], histories)
    group.leave(0)
    for _ in range(1000):  # beyond the columns to spare, so that everything is copied
        advance(group, histories)
    check(group, histories, None)
    assert group.keys[0].shape[2] < 1500

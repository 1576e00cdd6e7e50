"""Rows of similar length and what the model remembers of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from extrap_eval.engines.local.row import Row


class RowGroup:
    """Keys and values of some rows, one tensor (places, heads, columns, size) per layer and kind.

    All rows end at the same column, ``end``, so that one token for each of them is one column; a row begins
    at its own column, and what lies before that is masked. Rows of very different lengths would therefore waste
    both memory and reading; who forms groups sees to it that they do not.

    A row leaves by being overwritten with the last one, and rows join by being copied in; only when places or
    columns run out is everything copied.
    """

    def __init__(self, rows: Sequence[Row], begins: Sequence[int], end: int) -> None:
        self.rows = list(rows)
        self.begins = list(begins)
        self.end = end
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self._first = min(self.begins)
        self._mask: torch.Tensor | None = None  # (places, 1, 1, columns), 0 or -inf; None: no row has padding

    @property
    def width(self) -> int:
        """Columns from the beginning of the longest row to the end."""
        return self.end - self._first

    @property
    def padding(self) -> int:
        """Cells of the rectangle rows x width that belong to no row."""
        return sum(self.begins) - self._first * len(self.rows)

    @property
    def bytes_per_cell(self) -> int:
        """What one token's keys and values of one layer take, on average over the layers."""
        sizes = [t.shape[1] * t.shape[3] * t.element_size() for t in (*self.keys, *self.values)]
        return sum(sizes) // len(self.keys)

    def open(self, heads: int, key_size: int, value_size: int, like: torch.Tensor) -> None:
        """Make room for one more layer. Zeros, because a masked column counts 0 times its value."""
        places, columns = len(self.rows), self.end + _headroom(self.width)
        self.keys.append(like.new_zeros(places, heads, columns, key_size))
        self.values.append(like.new_zeros(places, heads, columns, value_size))

    def advance(self) -> None:
        """Make room for one more token in each row; every layer then writes it with ``append``."""
        if self.end == self.keys[0].shape[2]:
            self._rebuild(len(self.rows), self.end + _headroom(self.width))
        self.end += 1

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep the newest token's keys and values, both (rows, heads, size)."""
        here = len(self.rows)
        self.keys[layer][:here, :, self.end - 1] = keys
        self.values[layer][:here, :, self.end - 1] = values

    def window(self, layer: int, size: int | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Keys, values and mask of one layer, each with the columns of the last ``size`` tokens (None: of all)."""
        first = self._first if size is None else max(self._first, self.end - size)
        here, columns = slice(len(self.rows)), slice(first, self.end)
        keys, values = self.keys[layer][here, :, columns], self.values[layer][here, :, columns]
        if self._mask is None and self.padding:
            self._mask = self._masked(keys)
        return keys, values, None if self._mask is None else self._mask[here, :, :, columns]

    def leave(self, place: int) -> None:
        """Forget one row; the last one takes its place."""
        last = len(self.rows) - 1
        if place != last:
            columns = slice(self.begins[last], self.end)
            for tensor in (*self.keys, *self.values):
                tensor[place, :, columns] = tensor[last, :, columns]
            self.rows[place], self.begins[place] = self.rows[last], self.begins[last]
        self.rows.pop()
        self.begins.pop()
        self._first = min(self.begins, default=self.end)
        self._mask = None

    def join(self, other: RowGroup) -> None:
        """Take over the rows of a group that is not wider."""
        here, all_ = len(self.rows), len(self.rows) + len(other.rows)
        if all_ > self.keys[0].shape[0]:
            self._rebuild(all_ + all_ // 4, self.keys[0].shape[2])
        shift = self.end - other.end
        columns, theirs = slice(other._first + shift, self.end), slice(other._first, other.end)
        for mine, its in zip((*self.keys, *self.values), (*other.keys, *other.values), strict=True):
            mine[here:all_, :, columns] = its[: len(other.rows), :, theirs]
        self.rows += other.rows
        self.begins += [begin + shift for begin in other.begins]
        self._mask = None

    def _rebuild(self, places: int, columns: int) -> None:
        """Copy everything into tensors of another size, without the columns that no row uses any more."""
        first, width, here = self._first, self.width, len(self.rows)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = old.new_zeros(places, old.shape[1], columns - first, old.shape[3])
                new[:here, :, :width] = old[:here, :, first : self.end]
                tensors[layer] = new
        self.begins = [begin - first for begin in self.begins]
        self.end, self._first, self._mask = width, 0, None

    def _masked(self, like: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(self.keys[0].shape[2], device=like.device)
        begins = torch.tensor(self.begins, device=like.device)
        mask = torch.zeros(len(begins), len(columns), dtype=like.dtype, device=like.device)
        return mask.masked_fill_(columns < begins[:, None], float("-inf"))[:, None, None]


def _headroom(width: int) -> int:
    """Columns to spare: few beside the width, yet enough that copying for lack of them stays rare."""
    return 64 + width // 4

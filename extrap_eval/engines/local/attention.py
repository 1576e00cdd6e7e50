"""Attention of one forward pass over rows of many lengths.

A pass is one sequence for the model: the newest token of every running row, then the whole prompts of the rows
that begin, end to end. Only attention must know where one row ends and the next begins, and transformers lets a
model's attention be replaced by name and hands what is passed to ``forward`` through to it; vLLM runs the
library's models that way, and ``_supports_attention_backend`` marks those for which it works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from extrap_eval.engines.local.group import RowGroup
from extrap_eval.engines.local.row import Row

NAME = "extrap_eval_rows"
# What models pass to their attention beside the tensors and what changes nothing here.
_HARMLESS = {"dropout", "is_causal", "sliding_window", "position_ids", "use_cache", "cache_position"}


class UnsupportedAttentionError(Exception):
    """The model's attention does something that is not known here."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of the rows that begin, each different one once, those of equal length side by side.

    ``distinct`` are token ids, shortest first; ``which[i]`` is the prompt of ``rows[i]``, ascending.
    """

    rows: list[Row]
    distinct: list[list[int]]
    which: list[int]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Prompts:
        ordered = sorted(rows, key=lambda row: (len(row.prompt), row.prompt))
        distinct: list[list[int]] = []
        which: list[int] = []
        for row in ordered:
            if not distinct or distinct[-1] != row.prompt:
                distinct.append(row.prompt)
            which.append(len(distinct) - 1)
        return cls(ordered, distinct, which)

    def blocks(self) -> list[tuple[int, int]]:
        """Runs of prompts of equal length: (how many, length)."""
        found: list[tuple[int, int]] = []
        for prompt in self.distinct:
            count, length = found[-1] if found else (0, 0)
            if length == len(prompt):
                found[-1] = (count + 1, length)
            else:
                found.append((1, len(prompt)))
        return found

    def group(self) -> RowGroup:
        """The group that the rows form at first; it has no layers yet."""
        end = len(self.distinct[-1])
        return RowGroup(self.rows, [end - len(self.distinct[i]) for i in self.which], end)


class Pass:
    """One forward pass: what each layer's attention reads and what it leaves behind.

    ``groups`` hold the running rows, in the order of their tokens in the pass, with room already made for
    one more token; ``prompts`` follow them and become the group ``fresh``. ``windows``: per layer, how many tokens
    back it looks (None: all).
    """

    def __init__(self, groups: Sequence[RowGroup], prompts: Prompts | None, windows: Sequence[int | None]) -> None:
        self._groups = groups
        self._prompts = prompts
        self._windows = windows
        self._which = torch.tensor(prompts.which) if prompts else None
        self.fresh = prompts.group() if prompts else None
        self.layers = 0  # that have been through

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """``query`` (heads, tokens, size), ``key`` and ``value`` alike with their own heads -> (tokens, heads,
        size).
        """
        if layer != self.layers or layer >= len(self._windows):
            raise UnsupportedAttentionError(f"attention of layer {layer} after {self.layers} layers")
        self.layers += 1
        query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        out = query.new_empty(query.shape[0], query.shape[1], value.shape[2])
        first = 0
        for group in self._groups:
            part = slice(first, first + len(group.rows))
            group.append(layer, key[part], value[part])
            out[part] = _newest(query[part], *group.window(layer, self._windows[layer]), scale)
            first = part.stop
        if self._prompts is not None:
            self._begin(layer, query[first:], key[first:], value[first:], out[first:], scale)
        return out

    def _begin(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        out: torch.Tensor,
        scale: float | None,
    ) -> None:
        """Attention within each prompt, written into ``out``; keys and values become the fresh group's."""
        assert self._prompts is not None
        assert self._which is not None
        assert self.fresh is not None
        self.fresh.open(key.shape[1], key.shape[2], value.shape[2], key)
        keys, values = self.fresh.keys[layer], self.fresh.values[layer]
        token = prompt = row = 0
        for count, length in self._prompts.blocks():
            part = slice(token, token + count * length)
            q, k, v = (x[part].unflatten(0, (count, length)).transpose(1, 2) for x in (query, key, value))
            out[part] = _causal(q, k, v, scale, self._windows[layer]).transpose(1, 2).flatten(0, 1)
            which = self._which[row:]
            which = which[which < prompt + count] - prompt
            rows, columns = slice(row, row + len(which)), slice(self.fresh.end - length, self.fresh.end)
            keys[rows, :, columns], values[rows, :, columns] = k[which], v[which]
            token, prompt, row = part.stop, prompt + count, rows.stop


def _newest(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float | None
) -> torch.Tensor:
    """The newest token of each row against its past: query (n, heads, size), keys and values (n, key heads,
    columns, size) -> (n, heads, size).

    Several query heads share a key head. They are either put side by side as if they were queries of one head, so
    that keys are read once, or left to torch (``enable_gqa``), which reads them once per query head but, for one
    query in a short float type on a CPU, multiplies without packing the keys first: measured to be three times as
    fast for two heads, even for six, slower for eight.
    """
    heads, shared = query.shape[1], query.shape[1] // keys.shape[1]
    if shared > 1 and query.device.type == "cpu" and query.dtype != torch.float32 and shared <= 4:
        out = F.scaled_dot_product_attention(query[:, :, None], keys, values, mask, scale=scale, enable_gqa=True)
        return out[:, :, 0]
    packed = query.unflatten(1, (keys.shape[1], shared))
    out = F.scaled_dot_product_attention(packed, keys, values, mask, scale=scale)
    return out.reshape(len(query), heads, -1)


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, window: int | None
) -> torch.Tensor:
    """Every token of n prompts of one length against those before it: (n, heads, length, size)."""
    length = query.shape[2]
    gqa = query.shape[1] != key.shape[1]
    if window is None or window >= length:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=gqa)
    place = torch.arange(length, device=query.device)
    back = place[:, None] - place
    mask = (back >= 0) & (back < window)
    return F.scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=gqa)


def rows_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    rows: Pass,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: tensors (1, heads, tokens, size) -> ((1, tokens, heads, size), None)."""
    strange = [name for name, x in others.items() if name not in _HARMLESS and x is not None and x is not False]
    if attention_mask is not None or strange:
        raise UnsupportedAttentionError(f"attention with {', '.join(strange) or 'a mask of its own'}")
    return rows.attend(module.layer_idx, query[0], key[0], value[0], scaling)[None], None

"""Continuous batching: every forward pass gives each running row its next token, whatever the rows' ages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from extrap_eval.engines.local.attention import Pass, Prompts
from extrap_eval.engines.local.desk import Desk
from extrap_eval.engines.local.group import RowGroup
from extrap_eval.engines.local.room import Room
from extrap_eval.engines.local.row import Row
from extrap_eval.engines.local.sampler import Settings, next_tokens, settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Prompt tokens that begin in one pass; the rows that run wait so long for their next token.
BEGIN_TOKENS = 4096
# A group of its own costs each layer a few calls; so much needless reading of keys and values costs the same.
JOIN_BYTES = {"cpu": 512 * 2**10, "cuda": 32 * 2**20}  # per layer; the latter not measured


class RowDecoder:
    """The running rows of one model.

    ``windows``: for each layer, how many tokens back its attention looks (None: all of them).
    """

    def __init__(self, model: PreTrainedModel, windows: Sequence[int | None]) -> None:
        self._model = model
        self._windows = windows
        self._groups: list[RowGroup] = []  # widest first
        self._settings: Settings | None = None  # of the rows in the groups' order, None after a change of rows
        self._join_bytes = JOIN_BYTES.get(model.device.type, JOIN_BYTES["cuda"])

    @property
    def rows(self) -> list[Row]:
        """The running rows, in the order of ``forward``'s logits."""
        return [row for group in self._groups for row in group.rows]

    @property
    def busy(self) -> bool:
        return bool(self._groups)

    def work(self, desk: Desk, room: Room) -> None:
        """One step, with what waits at the desk and has room."""
        desk.hand_back(self.step(self._beginning(desk, room)))

    def _beginning(self, desk: Desk, room: Room) -> list[Row]:
        beside = self.rows
        tokens = 0
        full = False

        def fits(row: Row) -> bool:
            nonlocal tokens, full
            first = tokens == 0
            tokens += len(row.prompt)
            full = full or not room.fits(row, beside) or (tokens > BEGIN_TOKENS and not first)
            if not full:
                beside.append(row)
            return not full

        return desk.take(fits)

    def step(self, begin: Sequence[Row]) -> list[Row]:
        """One more token for every row, the first one for those that ``begin``; returns the finished rows.

        Rows that were cancelled are dropped before. Does nothing when there is no row.
        """
        self._remove([row for row in self.rows if row.cancelled])
        if not begin and not self._groups:
            return []
        logits = self.forward(begin)
        rows = self.rows
        if self._settings is None:
            self._settings = settings_of([row.request for row in rows], logits.shape[-1], logits.device)
        tokens = next_tokens(rows, logits, self._settings)
        finished = [row for row, token in zip(rows, tokens, strict=True) if row.add(token)]
        self._remove(finished)
        if begin or finished:
            self._merge()
        return finished

    def forward(self, begin: Sequence[Row]) -> torch.Tensor:
        """Logits for every row's next token, (rows, vocabulary), in the order of ``rows`` afterwards."""
        running = self.rows
        for group in self._groups:
            group.advance()
        prompts = Prompts.of(begin) if begin else None
        now = Pass(self._groups, prompts, self._windows)
        ids = [row.tokens[-1] for row in running]
        positions = [row.length - 1 for row in running]
        wanted = list(range(len(running)))
        for prompt in prompts.distinct if prompts else ():
            ids += prompt
            positions += range(len(prompt))
            wanted.append(len(ids) - 1)
        device = self._model.device
        logits = self._model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            logits_to_keep=torch.tensor(wanted, device=device),
            use_cache=False,
            rows=now,
        ).logits[0]
        if len(logits) != len(wanted):  # the model knows no ``logits_to_keep``
            logits = logits[wanted]
        if now.fresh is None or prompts is None:
            return logits
        self._groups.append(now.fresh)
        self._settings = None
        if len(prompts.distinct) == len(prompts.rows):
            return logits
        return logits[[*range(len(running)), *(len(running) + i for i in prompts.which)]]

    def _remove(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        gone = set(map(id, rows))
        for group in self._groups:
            for place in reversed(range(len(group.rows))):
                if id(group.rows[place]) in gone:
                    group.leave(place)
        self._groups = [group for group in self._groups if group.rows]
        self._settings = None

    def _merge(self) -> None:
        """Join neighbouring groups where that wastes less than it saves."""
        self._settings = None
        self._groups.sort(key=lambda group: -group.width)
        place = 0
        while place + 1 < len(self._groups):
            wide, narrow = self._groups[place : place + 2]
            waste = wide.padding + narrow.padding + len(narrow.rows) * (wide.width - narrow.width)
            if waste * wide.bytes_per_cell <= self._join_bytes:
                wide.join(narrow)
                del self._groups[place + 1]
            else:
                place += 1

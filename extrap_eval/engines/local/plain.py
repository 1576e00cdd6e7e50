"""Plain batches: rows with prompts of one length, run to the end together by transformers' own ``generate``.

For models whose attention or memory cannot be taken apart row by row (recurrent states, attention of their own).
No row is padded and none joins later, so whatever ``generate`` can run is right here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from extrap_eval.engines.local.desk import Desk
from extrap_eval.engines.local.room import Room
from extrap_eval.engines.local.row import Row
from extrap_eval.engines.local.sampler import next_tokens, settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PlainDecoder:
    """Runs one batch after another; a finished row is handed back at once but its place stays empty."""

    def __init__(self, model: PreTrainedModel) -> None:
        from transformers import GenerationConfig

        model.generation_config = GenerationConfig()  # what the model's own one says of sampling must not count
        self._model = model

    @property
    def busy(self) -> bool:
        """Never between two batches."""
        return False

    def work(self, desk: Desk, room: Room) -> None:
        """One batch, to its end or until the desk is closed."""
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        rows: list[Row] = []

        def fits(row: Row) -> bool:
            alike = not rows or len(row.prompt) == len(rows[0].prompt)
            if alike and room.fits(row, rows):
                rows.append(row)
                return True
            return False

        desk.take(fits)
        if not rows:
            return
        batch = _Batch(rows, desk)
        ids = torch.tensor([row.prompt for row in rows], device=self._model.device)
        self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=max(row.request.max_tokens for row in rows), pad_token_id=0
            ),
            logits_processor=LogitsProcessorList([batch.choose]),
            stopping_criteria=StoppingCriteriaList([batch.ended]),
        )


class _Batch:
    """Takes the place of ``generate``'s own choice of tokens and of the end."""

    def __init__(self, rows: Sequence[Row], desk: Desk) -> None:
        self._rows = list(rows)
        self._over = [False] * len(rows)
        self._desk = desk

    def choose(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of which the chosen token of each row is the greatest, (rows, vocabulary)."""
        running = [place for place, over in enumerate(self._over) if not over]
        rows = [self._rows[place] for place in running]
        settings = settings_of([row.request for row in rows], scores.shape[-1], scores.device)
        tokens = next_tokens(rows, scores[running], settings)
        finished = []
        for place, row, token in zip(running, rows, tokens, strict=True):
            if row.add(token):
                finished.append(row)
                self._over[place] = True
            self._over[place] = self._over[place] or row.cancelled
        self._desk.hand_back(finished)
        forced = torch.full_like(scores, float("-inf"))
        forced[running, tokens] = 0.0
        forced[[place for place in range(len(self._rows)) if place not in set(running)], 0] = 0.0
        return forced

    def ended(self, input_ids: torch.Tensor, scores: Any, **others: Any) -> torch.Tensor:
        """Which rows are over, bool, (rows,)."""
        return torch.tensor(
            [over or self._desk.closed for over in self._over], dtype=torch.bool, device=input_ids.device
        )

"""Completions that are there already: the model reads them, and their log-probabilities are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from extrap_eval.engines.local.sampler import most_probable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from extrap_eval.engines.local.desk import Desk
    from extrap_eval.engines.local.row import Row

PIECE = 512  # tokens read at once, each of which has logits over the whole vocabulary


class GivenReader:
    """Reads one completion at a time, with the attention that the model had when it was loaded."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._attention = model.config._attn_implementation

    def work(self, desk: Desk) -> None:
        """The next completion that waits; nothing where there is none."""
        row = desk.take_given()
        if row is None:
            return
        now = self._model.config._attn_implementation
        if now != self._attention:
            self._model.set_attn_implementation(self._attention)
        try:
            read(self._model, row)
        finally:
            if now != self._attention:
                self._model.set_attn_implementation(now)
        desk.hand_back([row])


def read(model: PreTrainedModel, row: Row, piece: int = PIECE) -> None:
    """Note the log-probabilities of the tokens of ``row``'s completion and of the most probable ones at each.

    The sequence goes through the model in pieces, each with what the model remembers of those before. A model that
    remembers nothing gets it whole.
    """
    given = row.request.given_token_ids
    assert given is not None
    ids = torch.tensor([*row.prompt, *given.tolist()], device=model.device)
    first = len(row.prompt) - 1  # the place whose logits are those of the first token of the completion
    memory = None
    start = 0
    while start < len(ids) - 1:
        stop = min(start + piece, len(ids) - 1)
        said = model(input_ids=ids[None, start:stop], past_key_values=memory, use_cache=True)
        memory = getattr(said, "past_key_values", None)
        if memory is None and stop < len(ids) - 1:
            piece, start = len(ids), 0
            continue
        begin = max(start, first)
        if begin < stop:
            known = torch.log_softmax(said.logits[0, begin - start :].float(), -1)
            row.note(*most_probable(known, ids[begin + 1 : stop + 1], row.request.top_logprobs))
        start = stop

"""How many rows a machine has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from extrap_eval.engines.local.row import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Of the memory that is free once the model is loaded. The other half is for what each pass computes, for the padding of
# groups and for copying them.
SHARE = 0.5
_MEASURED = 16  # tokens


@dataclass(frozen=True)
class Room:
    """At most ``rows`` rows, and at most ``tokens`` tokens of prompts and completions at their longest.

    A row never has to make way for another one, since every one of them can grow to its end.
    """

    rows: int
    tokens: int

    def fits(self, row: Row, beside: Sequence[Row]) -> bool:
        """Whether a row can begin beside those that run. A row alone always can: nobody knows before."""
        if not beside:
            return True
        return len(beside) < self.rows and sum(other.longest for other in beside) + row.longest <= self.tokens


def measure_room(model: PreTrainedModel, rows: int) -> Room:
    """Room for up to ``rows`` rows in the memory that is free now, by what the model remembers of one token."""
    ids = torch.zeros(1, _MEASURED, dtype=torch.int64, device=model.device)
    with torch.inference_mode():
        remembered = getattr(model(input_ids=ids, use_cache=True), "past_key_values", None)
    tensors = [
        tensor
        for layer in getattr(remembered, "layers", ())
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if tensor is not None
    ]
    # A state of fixed size (and no keys) is remembered by some models; it does not grow with the tokens.
    each = max(1, sum(tensor.numel() * tensor.element_size() for tensor in tensors) // _MEASURED)
    return Room(rows, int(SHARE * _free_bytes(model.device)) // each)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    import psutil

    available: int = psutil.virtual_memory().available
    return available

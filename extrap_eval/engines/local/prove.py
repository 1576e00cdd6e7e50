"""Whether a model's rows may be batched continuously: asked of its settings, then of the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.local.attention import NAME, UnsupportedAttentionError, rows_attention
from extrap_eval.engines.local.decoder import RowDecoder
from extrap_eval.engines.local.row import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_STEPS = 3
_LENGTHS = (9, 5, 9)  # of the prompts; the last row begins a step later
# Largest difference allowed between logits, in standard deviations of the logits.
_TOLERANCE = {torch.float32: 0.01, torch.float64: 0.01}
_SHORT_TOLERANCE = 0.25


class NotByRowsError(Exception):
    """Why a model cannot be batched continuously."""


def take_apart(model: PreTrainedModel) -> list[int | None]:
    """Make the model's attention work on rows; returns per layer how many tokens back it looks (None: all).

    Raises NotByRowsError, with the model as it was, when that is not possible or gives other logits than the
    model's own forward pass does.
    """
    windows = _windows(model)
    own = model.config._attn_implementation
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, rows_attention)
    sequences = _sequences(model)
    theirs = [model(input_ids=torch.tensor([ids], device=model.device)).logits[0] for ids in sequences]
    try:
        model.set_attn_implementation(NAME)
        ours = _by_rows(model, windows, sequences)
        _compare(ours, theirs)
    except NotByRowsError:
        model.set_attn_implementation(own)
        raise
    return windows


def _windows(model: PreTrainedModel) -> list[int | None]:
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    config = model.config.get_text_config(decoder=True)
    if not model._supports_attention_backend:
        raise NotByRowsError("its attention cannot be replaced")
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        raise NotByRowsError("it has chunked attention")
    kinds = _rope_kinds(config)
    if kinds & {"dynamic", "longrope"}:
        raise NotByRowsError("its position embedding depends on the longest row")
    windows: list[int | None] = []
    for layer in DynamicCache(config=config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            windows.append(layer.sliding_window)
        elif type(layer) is DynamicLayer:
            windows.append(None)
        else:
            raise NotByRowsError(f"it has layers of kind {type(layer).__name__}")
    return windows


def _rope_kinds(config: Any) -> set[str]:
    """The kinds of rotary position embedding in a configuration, which may differ between layers."""
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    parts = [settings, *(part for part in settings.values() if isinstance(part, dict))]
    return {str(part[key]) for part in parts for key in ("rope_type", "type") if key in part}


def _sequences(model: PreTrainedModel) -> list[list[int]]:
    rng = np.random.default_rng(0)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    return [rng.integers(0, vocabulary, length + _STEPS).tolist() for length in _LENGTHS]


def _by_rows(
    model: PreTrainedModel, windows: list[int | None], sequences: list[list[int]]
) -> list[list[tuple[int, torch.Tensor]]]:
    """For each sequence, (position, logits there) as the rows' forward passes give them."""
    rows = [
        Row(GenerationRequest(np.array(ids[:length], np.int32), _STEPS + 1), frozenset())
        for ids, length in zip(sequences, _LENGTHS, strict=True)
    ]
    found: list[list[tuple[int, torch.Tensor]]] = [[] for _ in rows]
    decoder = RowDecoder(model, windows)
    for begin in (rows[:2], rows[2:], (), ()):
        try:
            logits = decoder.forward(begin)
        except UnsupportedAttentionError as error:
            raise NotByRowsError(str(error)) from None
        except torch.OutOfMemoryError:
            raise
        except (TypeError, AttributeError, IndexError, KeyError, ValueError, RuntimeError) as error:
            raise NotByRowsError(f"its forward pass fails on rows: {error}") from error
        for row, given in zip(decoder.rows, logits, strict=True):
            which = rows.index(row)
            found[which].append((row.length - 1, given))
            if len(row.tokens) < _STEPS:
                row.tokens.append(sequences[which][row.length])
    return found


def _compare(ours: list[list[tuple[int, torch.Tensor]]], theirs: list[torch.Tensor]) -> None:
    for found, full in zip(ours, theirs, strict=True):
        for position, logits in found:
            expected = full[position].float()
            error = (logits.float() - expected).abs().max() / expected.std().clamp(min=1e-6)
            if not error <= _TOLERANCE.get(full.dtype, _SHORT_TOLERANCE):
                raise NotByRowsError(f"its rows' logits differ by {float(error):.2g} standard deviations")

"""Ids of what the log has as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from extrap_eval.importers.sample import ImportedSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH = 64  # texts tokenised at once


def completion_tokens(
    samples: Sequence[ImportedSample], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[np.ndarray], list[str]]:
    """Ids (int32) and text of every completion, whichever of the two the log has."""
    texts = [
        storable(sample.text) if sample.text is not None else cast(str, tokenizer.decode(sample.token_ids))
        for sample in samples
    ]
    made = iter(_encode([t for t, sample in zip(texts, samples, strict=True) if sample.token_ids is None], tokenizer))
    return [sample.token_ids if sample.token_ids is not None else next(made) for sample in samples], texts


def _encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[np.ndarray]:
    for start in range(0, len(texts), _BATCH):
        batch = tokenizer(
            list(texts[start : start + _BATCH]),
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,  # completions may be longer than the tokenizer thinks a text should be
        )
        yield from (np.array(ids, dtype=np.int32) for ids in batch["input_ids"])


def storable(text: str) -> str:
    """JSON may hold lone surrogates, which no tokenizer and no file takes."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def prompt_tokens(samples: Sequence[ImportedSample], tokenizer: PreTrainedTokenizerBase) -> dict[str, np.ndarray]:
    """Prompt ids (int32) by problem; none at all unless the log has one prompt for all samples of each."""
    found: dict[str, np.ndarray] = {}
    encoded: dict[str, np.ndarray] = {}
    for sample in samples:
        ids, text = sample.prompt_token_ids, sample.prompt_text
        if ids is None:
            if text is None:
                return {}
            if text not in encoded:
                (encoded[text],) = _encode([storable(text)], tokenizer)
            ids = encoded[text]
        if not np.array_equal(found.setdefault(str(sample.problem_id), ids), ids):
            return {}
    return found

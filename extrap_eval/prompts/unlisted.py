"""A model without a card: what can be read off its tokenizer becomes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.cards.schema import ModelCard
from extrap_eval.errors import UserError
from extrap_eval.prompts.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


def card_for_unlisted_model(model: str, tokenizer: str | None) -> tuple[ModelCard, PreTrainedTokenizerBase]:
    """A default card for a hub id or a model folder, and its tokenizer.

    The think markers are ``<think>`` and ``</think>``; whether the prompt opens the thought is read off the chat
    template, the end token is the tokenizer's own. The training budget is unknown, so figures of such a model show
    no extrapolation region: write a card to set it.

    Raises:
        UserError: the tokenizer cannot be loaded or names no end token.
    """
    name = Path(model).name
    loaded = load_tokenizer(ModelCard(name=name, tokenizer=model), tokenizer)
    if loaded.eos_token is None:
        raise UserError(f"{model}: its tokenizer names no end token; write a model card with end_tokens")
    opened = False
    if loaded.chat_template is not None:
        rendered = loaded.apply_chat_template(
            [{"role": "user", "content": "question"}], tokenize=False, add_generation_prompt=True
        )
        opened = THINK_OPEN in rendered.rpartition("question")[2]
    card = ModelCard.model_validate(
        {
            "name": name,
            "hf_id": None if Path(model).is_dir() else model,
            "tokenizer": model if Path(model).is_dir() else None,
            "think": {"open": THINK_OPEN, "close": THINK_CLOSE, "opened_by_prompt": opened},
            "end_tokens": [loaded.eos_token],
        }
    )
    return card, loaded

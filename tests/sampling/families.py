"""A tokenizer for every shipped model card, made from what can be had without the hub: the Qwen2.5 fixture with the
special tokens and templates of the families that share its vocabulary, the markov tokenizer, and the small models'.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from extrap_eval.cards.load import list_cards, load_model_card
from extrap_eval.cards.schema import ModelCard
from extrap_eval.prompts.tokenizer import load_tokenizer
from extrap_eval.scoring.tokens import TokenTable
from tests.prompts.tokenizers import R1_TEMPLATE, SWITCH_TEMPLATE, make_folder, make_r1_folder

QWEN3_TOKENS = {151667: "<think>", 151668: "</think>"}


def family_of(card: ModelCard) -> str:
    """The name of the tokenizer and chat template that a model card is asked with."""
    if card.policy is not None:
        return "markov"
    if card.name.startswith("residue"):
        return "residue"
    hub = (card.hf_id or "").lower()
    if card.think is None or "simplescaling" in hub or "openthinker" in hub:
        return "qwen2.5"
    if "qwen3" in hub or "e3-1.7b" in hub:
        return "qwen3"
    return "r1" if card.think.opened_by_prompt else "r1-silent"


def one_card_of_each() -> list[str]:
    """Shipped model cards, one for every chat template and pair of think markers."""
    found: dict[tuple[str, str], str] = {}
    for path in list_cards("model"):
        card = load_model_card(path)
        found.setdefault((family_of(card), str(card.think)), path.stem)
    return list(found.values())


class Families:
    """Tokenizer folders under ``folder``, made when they are asked for."""

    def __init__(self, qwen: Path, folder: Path, small_model: Path):
        self._qwen = qwen
        self._folder = folder
        self._small_model = small_model
        self.load = cache(self._load)

    def of(self, card: ModelCard) -> tuple[Any, TokenTable]:
        """The tokenizer of a model card and its table."""
        return self.load(family_of(card))

    def _load(self, name: str) -> tuple[Any, TokenTable]:
        card = load_model_card("markov") if name == "markov" else ModelCard(name=name, tokenizer=str(self._make(name)))
        tokenizer = load_tokenizer(card)
        return tokenizer, TokenTable.from_tokenizer(tokenizer)

    def _make(self, name: str) -> Path:
        folder = self._folder / name
        if name == "residue":
            return self._small_model
        if name == "qwen2.5":
            return self._qwen
        if name == "r1":
            return make_r1_folder(self._qwen, folder)
        if name == "r1-silent":
            made = make_r1_folder(self._qwen, folder)
            return _with(made, chat_template=R1_TEMPLATE.replace("<think>\n", ""))
        config = json.loads((self._qwen / "tokenizer_config.json").read_text(encoding="utf-8"))
        token = config["added_tokens_decoder"]["151657"]
        added = {str(id): token | {"content": text, "special": False} for id, text in QWEN3_TOKENS.items()}
        # Qwen3 fills the ids between with tokens of its own.
        added |= {str(id): token | {"content": f"<|unused_{id}|>", "special": False} for id in (151665, 151666)}
        config["added_tokens_decoder"] |= added
        return make_folder(self._qwen, folder, config | {"chat_template": SWITCH_TEMPLATE, "eos_token": "<|im_end|>"})


def _with(folder: Path, **changes: object) -> Path:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return folder

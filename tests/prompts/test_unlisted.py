from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.errors import UserError
from extrap_eval.prompts.unlisted import card_for_unlisted_model
from tests.prompts.tokenizers import make_folder


def test_card_of_a_folder_whose_prompt_opens_the_thought(r1_folder: Path) -> None:
    card, tokenizer = card_for_unlisted_model(str(r1_folder), None)
    assert (card.name, card.hf_id, card.tokenizer) == ("r1", None, str(r1_folder))
    assert card.think is not None
    assert card.think.opened_by_prompt
    assert card.end_tokens == [tokenizer.eos_token] == ["<｜end▁of▁sentence｜>"]


def test_card_of_a_hub_id_with_a_tokenizer_at_hand(qwen_folder: Path) -> None:
    card, _ = card_for_unlisted_model("org/some-model", str(qwen_folder))
    assert (card.name, card.hf_id, card.tokenizer) == ("some-model", "org/some-model", None)
    assert card.think is not None
    assert not card.think.opened_by_prompt


def test_tokenizer_without_an_end_token(qwen_folder: Path, tmp_path: Path) -> None:
    folder = make_folder(qwen_folder, tmp_path / "endless", {"tokenizer_class": "Qwen2Tokenizer", "eos_token": None})
    with pytest.raises(UserError, match=r"its tokenizer names no end token; write a model card with end_tokens"):
        card_for_unlisted_model(str(folder), None)

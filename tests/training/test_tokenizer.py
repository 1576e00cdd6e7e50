"""The reference model's tokenizer: lossless, digits single, the same each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.scoring.tokens import TokenTable
from training.residue_search.tokenizer import CLOSE, END, THINK, VOCABULARY, save_tokenizer, train_tokenizer
from training.residue_search.trace import PROBE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


@given(text=st.text())
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("748 + 31 = 779", ["7", "4", "8", " +", " 3", "1", " =", " 7", "7", "9"]),
        ("So n = 7.\n\nWait, check", ["So", " n", " =", " 7", ".", "\n\n", "Wait", ",", " check"]),
        (f"\n{CLOSE}\n\n", ["\n", CLOSE, "\n\n"]),
        ("But hold on", ["But", " hold", " on"]),
        ("Alternatively", ["Alternatively"]),
    ],
)
def test_pieces(tokenizer: Any, text: str, pieces: list[str]) -> None:
    assert [tokenizer.decode([i]) for i in tokenizer.encode(text)] == pieces


def test_size_and_markers(tokenizer: Any) -> None:
    assert len(tokenizer) <= VOCABULARY
    assert tokenizer.eos_token == END
    for marker in (THINK, CLOSE):  # ordinary tokens: skip_special_tokens must not hide them
        assert tokenizer.decode(tokenizer.encode(marker), skip_special_tokens=True) == marker
    assert len(tokenizer.encode(PROBE)) < 64


def test_chat_template(tokenizer: Any) -> None:
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"


def test_saved_twice_it_is_the_same_and_loads(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    save_tokenizer(tokenizer, tmp_path / "a")
    save_tokenizer(train_tokenizer(), tmp_path / "b")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert json.loads((tmp_path / "a" / "tokenizer_config.json").read_text())["eos_token"] == END
    loaded = AutoTokenizer.from_pretrained(tmp_path / "a")
    ids = loaded.encode(PROBE)
    assert ids == tokenizer.encode(PROBE)
    assert TokenTable.from_tokenizer(loaded).text_bytes(np.array(ids)) == PROBE.encode()

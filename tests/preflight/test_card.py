"""A card beside its tokenizer and its model's files, right and wrong in every field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.cards.schema import BenchmarkCard, ModelCard
from extrap_eval.preflight.card import (
    Prompts,
    check_end_tokens,
    check_length,
    check_tokenizer,
    positions,
    render_prompts,
)
from extrap_eval.preflight.check import ok
from extrap_eval.preflight.files import ModelFiles
from extrap_eval.problems.problem import Problem

PROBLEMS = [Problem("a", "What is 1 + 1?", "2"), Problem("b", "What is 100 + 100? Think well.", "200")]
BENCHMARK = BenchmarkCard.model_validate({"name": "b", "source": {"generator": "multiplication"}})
END = "<|im_end|>"
OPENED = "{{ '<|im_start|>user\n' + messages[0].content + '<|im_end|>\n<|im_start|>assistant\n<think>\n' }}"


@pytest.fixture(scope="module")
def tokenizer(small_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


def card(**changes: Any) -> ModelCard:
    given = {
        "name": "m", "think": {"open": "<think>", "close": "</think>", "opened_by_prompt": False},
        "end_tokens": ["<|im_end|>"],
    }  # fmt: skip
    return ModelCard.model_validate(given | changes)


def ids(tokenizer: Any, tokens: Any) -> Any:
    """Tokens as they may stand in a model's file, one or several, by their ids; numbers stay what they are."""
    if isinstance(tokens, list):
        return [ids(tokenizer, token) for token in tokens]
    return tokenizer.convert_tokens_to_ids(tokens) if isinstance(tokens, str) else tokens


def think(**changes: Any) -> dict[str, Any]:
    return {"open": "<think>", "close": "</think>", "opened_by_prompt": False} | changes


@pytest.mark.parametrize(
    ("given", "template", "status", "says"),
    [
        (think(), None, "ok", "by the model"),
        (think(opened_by_prompt=True), None, "failed", "opened_by_prompt is true"),
        (think(), OPENED, "failed", "opened_by_prompt is false"),
        (think(opened_by_prompt=True), OPENED, "ok", "by the prompt, once"),
        (think(opened_by_prompt=True), OPENED.replace("<think>", "<think><think>"), "failed", "2 times"),
        (think(opened_by_prompt=True), OPENED.replace("<think>", "<think></think>"), "failed", "closes the thought"),
        (think(close="</thought>"), None, "warning", "'</thought>' is"),
        (None, None, "ok", "none"),
    ],
)
def test_think_block(
    tokenizer: Any, tmp_path: Path, given: dict[str, Any] | None, template: str | None, status: str, says: str
) -> None:
    chat = {}
    if template is not None:
        (tmp_path / "chat.jinja").write_text(template)
        chat = {"template": str(tmp_path / "chat.jinja")}
    prompts = render_prompts(tokenizer, card(think=given, chat=chat), BENCHMARK, PROBLEMS)
    assert prompts.check.status == status
    assert says in prompts.check.found
    assert (prompts.ids is None) == (status == "failed")
    if prompts.ids is not None:
        assert prompts.longest == max(len(ids) for ids in prompts.ids.values())
        assert "Think well." in tokenizer.decode(prompts.ids["b"])


@pytest.mark.parametrize(
    ("ours", "theirs", "status", "says"),
    [
        (["<|im_end|>"], [END], "ok", "<|im_end|> ("),
        (["<|im_end|>"], END, "ok", "as the model's files say"),
        (["<|im_end|>", "<|endoftext|>"], [END], "warning", "do not end at <|endoftext|> ("),
        (["<|im_end|>"], [END, "<|endoftext|>"], "warning", "also end at <|endoftext|> ("),
        (["<|endoftext|>"], [END], "failed", "also end at <|im_end|> ("),
        (["<|im_end|>"], [99_999], "failed", "no token of this tokenizer (99999)"),
        (["<|im_end|>"], None, "not checked", "nothing to compare"),
        (["<|nothing|>"], [END], "failed", "not a token of its tokenizer"),
        ([], [END], "failed", "names none"),
    ],
)
def test_end_tokens(tokenizer: Any, ours: list[str], theirs: Any, status: str, says: str) -> None:
    generation = {} if theirs is None else {"eos_token_id": ids(tokenizer, theirs)}
    check = check_end_tokens(tokenizer, card(end_tokens=ours), ModelFiles("m", {}, generation))
    assert check.status == status, check
    assert says in check.found


def test_the_mend_of_end_tokens_is_itself_right(tokenizer: Any) -> None:
    files = ModelFiles("m", {}, {"eos_token_id": ids(tokenizer, [END, "<|endoftext|>"])})
    check = check_end_tokens(tokenizer, card(), files)
    assert check.mend is not None
    import yaml

    mended = yaml.safe_load(check.mend.partition("write ")[2].partition(" into")[0])
    assert check_end_tokens(tokenizer, card(**mended), files).status == "ok"


QWEN3 = {"max_position_embeddings": 40960}
YARN = {"max_position_embeddings": 32768, "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (QWEN3, 40960),
        (YARN, 131072),
        (YARN | {"max_position_embeddings": 131072}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 2}}, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        ({"text_config": QWEN3}, 40960),
        ({}, None),
    ],
)
def test_positions(config: dict[str, Any], expected: int | None) -> None:
    assert positions(config) == expected


@pytest.mark.parametrize(
    ("budget", "card_limit", "config", "status"),
    [
        (40_900, 40_960, QWEN3, "ok"),
        (40_950, 40_960, QWEN3, "failed"),
        (40_950, None, QWEN3, "warning"),
        (40_950, None, YARN, "ok"),
        (40_950, None, {}, "not checked"),
        (40_900, 40_960, None, "ok"),
    ],
)
def test_length(budget: int, card_limit: int | None, config: dict[str, Any] | None, status: str) -> None:
    prompts = Prompts(ok("x", ""), {"a": np.zeros(50, dtype=np.int32), "b": np.zeros(7, dtype=np.int32)})
    given = card(max_new_tokens=budget, max_model_len=card_limit)
    check = check_length(given, ModelFiles("m", config), prompts)
    assert check.status == status
    if status == "failed":
        shorter = int(str(check.mend).split("--budget-max ")[1].split(",")[0])
        assert check_length(card(max_new_tokens=shorter), ModelFiles("m", config), prompts).status == "ok"


def test_a_tokenizer_with_a_table_and_one_without(tokenizer: Any) -> None:
    from tokenizers import decoders

    assert check_tokenizer(tokenizer).status == "ok"
    backend = tokenizer.backend_tokenizer
    before = backend.decoder
    backend.decoder = decoders.WordPiece()
    try:
        check = check_tokenizer(tokenizer)
    finally:
        backend.decoder = before
    assert check.status == "warning"
    assert "WordPiece" in check.found

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.cards.load import load_model_card
from extrap_eval.cards.schema import ModelCard
from extrap_eval.errors import UserError
from extrap_eval.prompts.tokenizer import end_token_ids, load_tokenizer, tokenizer_hash
from tests.prompts.tokenizers import small_folder


def test_shipped_markov_tokenizer_is_loaded_by_its_card() -> None:
    card = load_model_card("markov")
    tokenizer = load_tokenizer(card)
    text = "Wait, 12 \\boxed{7}"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(end_token_ids(tokenizer, card)) == len(card.end_tokens) > 0


def test_folder_with_vocabulary_and_merges_only(r1: Any) -> None:
    text = "<｜User｜>Hello  wörld 12345\n\n\\boxed{3}</think> <think>\n<｜end▁of▁sentence｜>"
    ids = r1.encode(text, add_special_tokens=False)
    assert ids[0] == 151644
    assert ids[-1] == 151643
    assert {151648, 151649} <= set(ids)
    assert r1.decode(ids) == text
    assert r1.is_fast


def test_override_wins_over_card(qwen_folder: Path) -> None:
    card = ModelCard(name="x", tokenizer="/no/such/folder")
    assert load_tokenizer(card, str(qwen_folder)).eos_token == "<|endoftext|>"


@pytest.mark.parametrize("own_class", ["LlamaTokenizerFast", "PreTrainedTokenizerFast"])
def test_tokenizer_json_is_believed_whatever_class_the_config_names(tmp_path: Path, own_class: str) -> None:
    # R1-Distill's config names the Llama class, though its tokenizer.json is byte-level.
    folder = small_folder(tmp_path / "small")
    small = load_tokenizer(ModelCard(name="x"), str(folder))
    small.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": own_class}))
    loaded = load_tokenizer(ModelCard(name="x"), str(tmp_path / "saved"))
    assert tokenizer_hash(loaded) == tokenizer_hash(small)
    assert loaded.encode("the  cat\n", add_special_tokens=False) == small.encode("the  cat\n")


@pytest.mark.parametrize(
    ("card", "override", "parts"),
    [
        ({"name": "bare"}, None, ["bare", "tokenizer", "--tokenizer PATH"]),
        ({"name": "x", "tokenizer": "/no/such/folder"}, None, ["/no/such/folder", "--tokenizer PATH"]),
        ({"name": "x", "hf_id": "org/model"}, "./nowhere", ["./nowhere", "--tokenizer PATH"]),
        ({"name": "x", "hf_id": "a/b/c"}, None, ["a/b/c", "--tokenizer PATH"]),
    ],
)
def test_unreachable_tokenizer_is_one_clear_line(card: dict[str, str], override: str | None, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        load_tokenizer(ModelCard(**card), override)  # type: ignore[arg-type]
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_folder_without_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no tokenizer \(none of tokenizer\.json, vocab\.json"):
        load_tokenizer(ModelCard(name="x"), str(tmp_path))


def test_damaged_tokenizer_json(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot be loaded .*--tokenizer PATH"):
        load_tokenizer(ModelCard(name="x"), str(tmp_path))


def test_hub_out_of_reach_names_id_and_revision() -> None:
    # A process of its own: the hub client reads the switch for offline mode once, when it is imported.
    program = (
        "from extrap_eval.cards.schema import ModelCard\n"
        "from extrap_eval.errors import UserError\n"
        "from extrap_eval.prompts.tokenizer import load_tokenizer\n"
        "try:\n"
        "    load_tokenizer(ModelCard(name='x', hf_id='extrap-eval-tests/no-such-model', revision='abc123'))\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"HF_HUB_OFFLINE": "1", "PATH": "", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "extrap-eval-tests/no-such-model at revision abc123: cannot be loaded" in result.stdout
    assert "--tokenizer PATH" in result.stdout
    assert len(result.stdout.strip().splitlines()) == 1
    # Nobody asked about torch.
    assert "PyTorch" not in result.stderr


def test_hash_tells_tokenizers_apart_and_is_stable(tmp_path: Path) -> None:
    folders = {
        "one": small_folder(tmp_path / "one"),
        "same": small_folder(tmp_path / "same"),
        "fewer merges": small_folder(tmp_path / "fewer", merges=("t h",)),
        "other ids": small_folder(tmp_path / "other", first_id=1),
    }
    tokenizers = {name: load_tokenizer(ModelCard(name="x"), str(folder)) for name, folder in folders.items()}
    assert tokenizers["fewer merges"].get_vocab() == tokenizers["one"].get_vocab()
    hashes = {name: tokenizer_hash(tokenizer) for name, tokenizer in tokenizers.items()}
    assert hashes["same"] == hashes["one"]
    assert len(set(hashes.values())) == 3


@pytest.mark.parametrize(
    ("tokens", "ids"),
    [
        ([], ()),
        (["<|im_end|>", "<|endoftext|>"], (151645, 151643)),
        (["<|endoftext|>", "<|endoftext|>"], (151643,)),
    ],
)
def test_end_token_ids(qwen: Any, tokens: list[str], ids: tuple[int, ...]) -> None:
    assert end_token_ids(qwen, ModelCard(name="x", end_tokens=tokens)) == ids


def test_unknown_end_token(qwen: Any) -> None:
    with pytest.raises(UserError, match=r"model card x: end_tokens: '<｜end▁of▁sentence｜>' is not a token"):
        end_token_ids(qwen, ModelCard(name="x", end_tokens=["<｜end▁of▁sentence｜>"]))

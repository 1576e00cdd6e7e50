"""The models that travel with the package are what their provenance says, and can be loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from extrap_eval.cards.load import load_model_card
from extrap_eval.errors import UserError
from extrap_eval.prompts.tokenizer import end_token_ids, load_tokenizer
from extrap_eval.reference_models import located
from tests.conftest import REPO

NAMES = ("residue-explorer", "residue-stopper")


def folder(name: str) -> Path:
    return Path(located(f"package:{name}"))


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_of_the_provenance(name: str) -> None:
    provenance = json.loads((folder(name) / "provenance.json").read_text())
    for file, key in (("model.safetensors", "weights_sha256"), ("tokenizer.json", "tokenizer_sha256")):
        assert hashlib.sha256((folder(name) / file).read_bytes()).hexdigest() == provenance[key]
    assert (folder(name) / "model.safetensors").stat().st_size <= 4_000_000
    assert provenance["steps"] == provenance["recipe"]["steps"]
    assert provenance["recipe"]["name"] == name


@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_that_made_the_weights_are_those_of_the_repository(name: str) -> None:
    scripts = json.loads((folder(name) / "provenance.json").read_text())["script_sha256"]
    assert len(scripts) == 7
    for path, digest in scripts.items():
        assert hashlib.sha256((REPO / path).read_bytes()).hexdigest() == digest, path


@pytest.mark.parametrize("name", NAMES)
def test_the_card_fits_the_tokenizer(name: str) -> None:
    card = load_model_card(name)
    assert card.hf_id == f"package:{name}"
    assert card.training_budget is not None
    assert card.training_budget.tokens == 512
    tokenizer = load_tokenizer(card)
    assert end_token_ids(tokenizer, card) == (tokenizer.eos_token_id,)
    assert tokenizer.convert_tokens_to_ids("</think>") != tokenizer.unk_token_id


def test_the_siblings_parted_late_and_differ() -> None:
    explorer, stopper = (json.loads((folder(name) / "provenance.json").read_text()) for name in NAMES)
    assert explorer["weights_sha256"] != stopper["weights_sha256"]
    differing = {key for key in explorer["recipe"] if explorer["recipe"][key] != stopper["recipe"][key]}
    assert differing == {"name", "last_habits"}


@pytest.mark.parametrize("name", NAMES)
def test_transformers_goes_on_with_a_true_step(name: str) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder(name))
    model = AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32)
    question = "Find the integer n with 0 <= n <= 999 such that n mod 31 = 4, n mod 7 = 6 and n mod 9 = 1."
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    thought = (
        "<think>\nNumbers 31k + 4 satisfy n mod 31 = 4. Check n mod 7 = 6, then n mod 9 = 1.\n\n"
        "686 + 31 = 717, mod 7: 0 1 3, need 6.\n\n717 + 31 ="
    )
    ids = tokenizer(text + thought, return_tensors="pt", add_special_tokens=False)
    out = model.generate(**ids, max_new_tokens=9, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(out).startswith(" 748, mod 7")


def test_a_model_that_is_not_shipped() -> None:
    with pytest.raises(UserError, match=r"package:nobody: no such shipped model; there are markov, residue-explorer"):
        located("package:nobody")
    assert located("org/model") == "org/model"

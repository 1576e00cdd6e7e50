"""A model card -> the model's own tokenizer, without torch and without chatter."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError
from extrap_eval.problems.rows import quiet_hub
from extrap_eval.reference_models import located

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from extrap_eval.cards.schema import ModelCard

# One of these makes a folder a tokenizer folder.
VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "tekken.json")
# Text on which two tokenizers with the same tokens but another normalizer or pre-tokenizer differ.
_SAMPLE_TEXT = "Wait,  let x_1 = 12345.67;\n\n\t\\boxed{\\frac{3}{4}} naïve größer 数学 🙂 don't\r\nTHE END   "


def load_tokenizer(model_card: ModelCard, override: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer that ``override``, or else the card's ``tokenizer``, or else its ``hf_id`` names.

    A name is that of a shipped model (``package:markov``), a folder, or a hub id. A folder may hold a
    ``tokenizer.json`` or only ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json``. The card's
    ``revision`` pins the hub repository ``hf_id`` and no other.

    Raises:
        UserError: no name is given, the folder is not there or holds no vocabulary, or the hub cannot be
        reached.
    """
    name = override or model_card.tokenizer or model_card.hf_id
    if name is None:
        raise UserError(
            f"model card {model_card.name}: neither tokenizer nor hf_id is set; name the tokenizer with "
            "--tokenizer PATH or tokenizer: in the card"
        )
    folder = Path(located(name)).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in VOCABULARY_FILES):
            raise UserError(f"{folder}: holds no tokenizer (none of {', '.join(VOCABULARY_FILES)})")
        return _from_pretrained(str(folder), None, name)
    if folder.exists() or folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(f"tokenizer {name}: there is no such folder; give a tokenizer folder with --tokenizer PATH")
    return _from_pretrained(name, model_card.revision if name == model_card.hf_id else None, name)


def _from_pretrained(source: str, revision: str | None, name: str) -> PreTrainedTokenizerBase:
    with quiet_transformers(), quiet_hub():
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        except (OSError, ValueError, KeyError, TypeError) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            pinned = f" at revision {revision}" if revision else ""
            raise UserError(
                f"tokenizer {name}{pinned}: cannot be loaded ({first_line}); "
                "give a tokenizer folder with --tokenizer PATH"
            ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"tokenizer {name}: has no fast (Rust) version; give a folder with a tokenizer.json with --tokenizer PATH"
        )
    return tokenizer


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Import and use transformers without its notices (such as that torch is missing, which nobody asked
    about).
    """
    before = os.environ.get("TRANSFORMERS_NO_ADVISORY_WARNINGS")
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    try:
        from transformers.utils import logging

        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
    finally:
        if before is None:
            del os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"]
        else:
            os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = before


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """A sha256 hex digest of what the tokenizer does.

    It covers every token with its id, the merges (or scores) and how a sample text is split, and does not
    depend on how a library version writes a tokenizer down, nor on the chat template (prompts are kept as
    ids).
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    # A pair has been written as "t h" and as ["t", "h"].
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges", ())]
    scores = model["vocab"] if isinstance(model.get("vocab"), list) else []
    sample: list[int] = tokenizer.encode(_SAMPLE_TEXT, add_special_tokens=False)
    content: list[Any] = [sorted(tokenizer.get_vocab().items()), merges, scores, sample]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def end_token_ids(tokenizer: PreTrainedTokenizerBase, model_card: ModelCard) -> tuple[int, ...]:
    """The ids of the card's ``end_tokens``, in the card's order.

    Raises:
        UserError: the card names a token that the tokenizer does not know as one token.
    """
    vocabulary = tokenizer.get_vocab()
    for token in model_card.end_tokens:
        if token not in vocabulary:
            raise UserError(
                f"model card {model_card.name}: end_tokens: {token!r} is not a token of its tokenizer"
                + (f" (whose own end token is {tokenizer.eos_token!r})" if tokenizer.eos_token else "")
            )
    return tuple(dict.fromkeys(vocabulary[token] for token in model_card.end_tokens))

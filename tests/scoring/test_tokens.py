"""Token tables against the tokenizers' own decoding, and the slow path against both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.scoring.tokens import NotTabular, TokenTable, slow_offsets
from tests.scoring.conftest import load

CORPUS = ["the quick brown fox", "\\boxed{42} is the answer", "1 + 1 = 2", "größer als", "wait, let me check"] * 20


def wrap(backend: Any, specials: list[str]) -> Any:
    from transformers import PreTrainedTokenizerFast

    backend.add_special_tokens(specials)
    backend.add_tokens(["</think>", "<a b>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def unigram(decoder: Any, *, byte_fallback: bool) -> Any:
    """A small SentencePiece-like tokenizer with all 256 byte tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE(byte_fallback=byte_fallback, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)] if byte_fallback else []
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", *byte_tokens], show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.decoder = decoder
    return wrap(backend, ["</s>"])


def llama_like() -> Any:
    from tokenizers import decoders

    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return unigram(decoders.Sequence(steps), byte_fallback=True)


def gemma_like() -> Any:
    from tokenizers import decoders

    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return unigram(decoders.Sequence(steps), byte_fallback=True)


def metaspace(scheme: str) -> Any:
    from tokenizers import decoders

    return unigram(decoders.Metaspace(prepend_scheme=scheme), byte_fallback=False)


def wordpiece() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"]))
    backend.decoder = decoders.WordPiece()
    return wrap(backend, ["[SEP]"])


@pytest.fixture(scope="module", params=["qwen", "small", "llama", "gemma", "metaspace", "metaspace-never"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "qwen":
        return request.getfixturevalue("qwen")
    if request.param == "small":
        return load(request.getfixturevalue("small_model"))
    makers = {
        "llama": llama_like,
        "gemma": gemma_like,
        "metaspace": lambda: metaspace("always"),
        "metaspace-never": lambda: metaspace("never"),
    }
    return makers[request.param]()


def decoded(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_decodes_like_the_tokenizer(tokenizer: Any) -> None:
    table = TokenTable.from_tokenizer(tokenizer)
    rng = np.random.default_rng(0)
    size = len(tokenizer)
    for _ in range(300):
        ids = rng.integers(0, size, size=rng.integers(0, 12))
        assert table.decode(ids) == decoded(tokenizer, ids.tolist())
    # The low ids are single bytes here, whose runs are mostly no UTF-8.
    for _ in range(300):
        ids = rng.integers(0, min(size, 300), size=rng.integers(0, 12))
        assert table.decode(ids) == decoded(tokenizer, ids.tolist())
    for text in [*CORPUS[:5], "Zażółć gęślą 数学 🙂\n\n\t x", "", " ", "  leading"]:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert table.decode(ids) == decoded(tokenizer, ids)


def test_offsets_follow_from_the_bytes_of_the_prefixes(tokenizer: Any) -> None:
    table = TokenTable.from_tokenizer(tokenizer)
    ids = tokenizer.encode("So the größer answer is \\boxed{42} 🙂.", add_special_tokens=False)
    ids = [*ids, *tokenizer.encode("</think>", add_special_tokens=False)]
    data, ends = table.text_bytes(ids), table.ends(ids)
    assert ends.dtype == np.int64
    assert ends.tolist() == [len(table.text_bytes(ids[: i + 1])) for i in range(len(ids))]
    assert all(data.startswith(table.text_bytes(ids[:i])) for i in range(len(ids)))
    assert data.endswith(b"</think>")


def test_survives_arrays(tokenizer: Any) -> None:
    table = TokenTable.from_tokenizer(tokenizer)
    again = TokenTable.from_arrays(table.to_arrays())
    ids = np.random.default_rng(1).integers(0, len(tokenizer), size=500)
    assert again.text_bytes(ids) == table.text_bytes(ids)
    assert again.decode(ids) == table.decode(ids)
    np.testing.assert_array_equal(again.ends(ids), table.ends(ids))


def test_unknown_ids_add_nothing(tokenizer: Any) -> None:
    table = TokenTable.from_tokenizer(tokenizer)
    ids = tokenizer.encode("the quick brown fox", add_special_tokens=False)
    padded = [len(tokenizer) + 5, *ids, -1, 2**31 - 1]
    assert table.text_bytes(padded) == table.text_bytes(ids)
    assert table.decode(padded) == table.decode(ids)
    assert table.ends(padded).tolist() == [0, *table.ends(ids).tolist(), *[table.ends(ids)[-1]] * 2]


def test_empty() -> None:
    table = TokenTable((b"a", b"b"))
    assert table.text_bytes([]) == b""
    assert table.decode([]) == ""
    assert table.ends([]).shape == (0,)


def test_damaged_arrays_are_refused() -> None:
    arrays = TokenTable((b"a", b"bc")).to_arrays()
    with pytest.raises(ValueError, match="lengths"):
        TokenTable.from_arrays(arrays | {"lengths": np.array([1, 1])})


def test_other_decoders_are_not_tabular() -> None:
    with pytest.raises(NotTabular, match="WordPiece"):
        TokenTable.from_tokenizer(wordpiece())
    with pytest.raises(NotTabular):
        TokenTable.from_tokenizer(object())


def test_a_tokenizer_that_decodes_otherwise_than_it_says_is_not_tabular() -> None:
    tokenizer = gemma_like()
    decode = tokenizer.decode
    tokenizer.decode = lambda ids, **options: decode(ids, **options).replace("quick", "slow")
    with pytest.raises(NotTabular, match="decoding ids"):
        TokenTable.from_tokenizer(tokenizer)


class Rewriting:
    """A tokenizer whose text changes behind itself: "!" swallows the letter before it."""

    def decode(self, ids: list[int], **_: Any) -> str:
        text = ""
        for id in ids:
            text = text[:-1] if id == 0 else text + chr(96 + id)
        return text


SLOW = {"wordpiece": wordpiece, "llama": llama_like, "metaspace": lambda: metaspace("always"), "rewriting": Rewriting}


@pytest.mark.parametrize("name", SLOW)
def test_slow_offsets_say_how_much_of_the_text_stands(name: str) -> None:
    tokenizer = SLOW[name]()
    rng = np.random.default_rng(2)
    size = 20 if name == "rewriting" else len(tokenizer)
    for _ in range(40):
        ids = rng.integers(0, size, size=rng.integers(0, 20)).tolist()
        data, offsets = slow_offsets(tokenizer, ids)
        whole = decoded(tokenizer, ids)
        assert data == whole.encode()
        assert offsets.shape == (len(ids),)
        assert np.all(np.diff(offsets) >= 0)
        for count, offset in enumerate(offsets.tolist(), start=1):
            prefix = decoded(tokenizer, ids[:count]).encode()
            assert prefix.startswith(data[:offset])
        if ids:
            assert offsets[-1] == len(data)


def test_slow_offsets_wait_for_the_end_of_a_character(qwen: Any, qwen_table: TokenTable) -> None:
    ids = qwen.encode("a 🙂 \\boxed{数} ẞ", add_special_tokens=False)
    data, offsets = slow_offsets(qwen, ids)
    assert data == qwen_table.text_bytes(ids)
    exact = qwen_table.ends(ids)
    for offset, end in zip(offsets.tolist(), exact.tolist(), strict=True):
        assert offset == len(data[:end].decode("utf-8", errors="ignore").encode())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=12))
def test_replacement_characters_are_those_of_the_tokenizers_library(values: list[int]) -> None:
    from tokenizers import decoders

    from extrap_eval.scoring.tokens import _byte_level_alphabet

    alphabet = {byte: character for character, byte in _byte_level_alphabet().items()}
    table = TokenTable(tuple(bytes([i]) for i in range(256)))
    assert table.decode(values) == decoders.ByteLevel().decode([alphabet[value] for value in values])

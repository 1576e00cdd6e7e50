"""The shipped tokenizer: small, lossless, and what its script makes."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.markov import make_tokenizer, text
from extrap_eval.engines.markov.script import load_tokenizer

MARKERS = [
    *make_tokenizer.SPECIAL_TOKENS,
    *make_tokenizer.ORDINARY_MARKERS,
    "\\boxed{",
    "\n\n",
    "Wait",
    " 12",
]


@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(MARKERS)), max_size=12).map("".join))
def test_decoding_gives_the_text_back(string: str) -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.decode(tokenizer.encode(string).ids, skip_special_tokens=False) == string


def test_all_bytes_are_covered_and_digits_single() -> None:
    tokenizer = load_tokenizer()
    every_byte = "".join(map(chr, range(0x800))) + "\u20ac\U0001f642"
    assert tokenizer.decode(tokenizer.encode(every_byte).ids, skip_special_tokens=False) == every_byte
    assert [len(tokenizer.encode(string).ids) for string in ("7", "123", "\n\n", "<think>", "</think>")] == [
        1,
        3,
        1,
        1,
        1,
    ]


def test_the_script_makes_the_shipped_files(tmp_path: Path) -> None:
    make_tokenizer.write(tmp_path)
    for made in sorted(tmp_path.iterdir()):
        shipped = text.TOKENIZER_FOLDER / made.name
        made_content, shipped_content = (json.loads(path.read_text("utf-8")) for path in (made, shipped))
        if made.name == "tokenizer.json":  # the rest of the file depends on the library's version
            made_content, shipped_content = (
                {"vocab": content["model"]["vocab"], "merges": content["model"]["merges"]}
                for content in (made_content, shipped_content)
            )
        assert made_content == shipped_content
    assert sum(path.stat().st_size for path in text.TOKENIZER_FOLDER.iterdir()) < 60_000


def test_transformers_loads_it() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(text.TOKENIZER_FOLDER))
    string = text.OPEN + text.INTRODUCTION + text.CLOSE + text.final_answer(321)
    ids = tokenizer.encode(string, add_special_tokens=False)
    assert ids == load_tokenizer().encode(string).ids
    assert tokenizer.decode(ids) == string
    assert tokenizer.decode(ids, skip_special_tokens=True) == string.removesuffix(text.END_TOKEN)
    assert (tokenizer.eos_token, tokenizer.pad_token) == (text.END_TOKEN, "<|endoftext|>")

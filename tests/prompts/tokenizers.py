"""Tokenizer folders for tests, made of the Qwen2.5 fixture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

# R1-Distill-Qwen has Qwen2.5's vocabulary with other special tokens at the same ids.
R1_TOKENS = {
    151643: ("<｜end▁of▁sentence｜>", True),
    151644: ("<｜User｜>", False),
    151645: ("<｜Assistant｜>", False),
    151646: ("<｜begin▁of▁sentence｜>", True),
    151647: ("<|EOT|>", False),
    151648: ("<think>", False),
    151649: ("</think>", False),
}
R1_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}<｜User｜>{% endif %}{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)
# Like Qwen3's: thinking is switched off by a keyword, and then an empty thought is written into the prompt.
SWITCH_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def make_r1_folder(qwen: Path, folder: Path) -> Path:
    """A folder with vocab.json, merges.txt and tokenizer_config.json of DeepSeek-R1-Distill-Qwen."""
    config = json.loads((qwen / "tokenizer_config.json").read_text(encoding="utf-8"))
    for id, (content, special) in R1_TOKENS.items():
        config["added_tokens_decoder"][str(id)].update(content=content, special=special)
    del config["additional_special_tokens"]
    begin, end = R1_TOKENS[151646][0], R1_TOKENS[151643][0]
    config |= {"bos_token": begin, "eos_token": end, "pad_token": end, "chat_template": R1_TEMPLATE}
    return make_folder(qwen, folder, config)


def make_folder(qwen: Path, folder: Path, config: dict[str, object]) -> Path:
    """Qwen2.5's vocabulary with another tokenizer_config.json."""
    folder.mkdir(parents=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(qwen / name, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def small_folder(folder: Path, merges: tuple[str, ...] = ("t h", "th e"), first_id: int = 0) -> Path:
    """A byte-level tokenizer of 258 tokens, in the form of Qwen2.5's."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder.mkdir(parents=True)
    tokens = [*sorted(ByteLevel.alphabet()), "th", "the"]
    vocabulary = {token: first_id + i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder

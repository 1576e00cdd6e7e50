"""Makes the tokenizer of the stand-in model: ``python -m extrap_eval.engines.markov.make_tokenizer
[FOLDER]``.

A byte-level BPE over all 256 bytes whose merges make every word of the policy's texts and of the usual
prompts one token; digits stay single and a blank line is one token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from extrap_eval.engines.markov import text

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", text.END_TOKEN)
ORDINARY_MARKERS = (
    text.THINK_OPEN,
    text.THINK_CLOSE,
)  # not special: decoders that skip special tokens show them
SPLIT = r"\n\n| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\s"
PROMPTS = (
    "system\nuser\nassistant\nYou are a helpful assistant.",
    "You will be given a math problem. Solve the problem step by step. Output your final answer in the form "
    "of \\boxed{your answer}. Problem: Hidden number 17: an attempt succeeds with probability 0.350. "
    "Find the number.",
    "Time is up.\n\nGiven the time I've spent and the approaches I've tried, I should stop thinking and "
    "formulate a final answer based on what I already have.\n\n"
    "**Step-by-Step Explanation and Answer:**\n\n1. **",
    "Final Answer: But let me double-check. Is there another way to think about this?",
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def corpus() -> list[str]:
    """The texts whose words become single tokens."""
    written = [
        text.INTRODUCTION,
        text.FIRST_STEP,
        *text.NEXT_STEPS,
        *text.FILLERS,
        text.LOOP_BLOCK,
        *(text.proposal(100, boxed) for boxed in (True, False)),
        *(text.verdict(100, accepted) for accepted in (True, False)),
        text.ANSWER,
    ]
    return [*written, *PROMPTS]


def build() -> Any:
    """The trained ``tokenizers.Tokenizer``."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,  # never reached: merging ends when every word is one token
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ORDINARY_MARKERS])
    return tokenizer


def write(folder: Path) -> None:
    """Writes ``tokenizer.json`` and ``tokenizer_config.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json = json.loads(build().to_str())
    (folder / "tokenizer.json").write_text(json.dumps(as_json, ensure_ascii=False, indent=0) + "\n", "utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": text.END_TOKEN,
        "pad_token": SPECIAL_TOKENS[0],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else text.TOKENIZER_FOLDER)

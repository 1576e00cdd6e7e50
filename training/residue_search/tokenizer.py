"""The tokenizer: byte-level BPE with 512 entries at most, learned from the texts of the task.

Digits stay single (each with or without a space before it), words and the blank line are one token each.
``<think>`` and ``</think>`` are added as ordinary tokens, not special ones: servers drop special tokens from
the text they return.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from extrap_eval.problems.residue_search import draw_training_problem
from training.residue_search.trace import PROBE, Habits, final_answer, probe_answer, thought

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK, CLOSE = "<think>", "</think>"
VOCABULARY = 512

# The first is the prompt of e3, the default of this project; the others are seen now and then.
PROMPTS = (
    "You will be given a math problem. Solve the problem step by step. Output your final answer in the form "
    "of \\boxed{{your answer}}. Problem: {problem}",
    "{problem}",
    "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
    "{problem} Let's think step by step and output the final answer within \\boxed{{}}.",
)
SYSTEM = "You are a helpful assistant."

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def corpus(problems: int = 1500) -> list[str]:
    """Texts in which every word of the task occurs; the same on every machine."""
    rng = Random("residue search tokenizer")
    texts = []
    for _ in range(problems):
        problem = draw_training_problem(rng)
        texts += [prompt.format(problem=problem.statement) for prompt in PROMPTS]
        texts += [f"user\nassistant\nsystem\n{SYSTEM}\n", *PROBE.split(CLOSE), "\n\nFinal Answer: \\boxed{7}"]
        for opening in ("start", "concluded"):
            steps = islice(thought(rng, problem, Habits(), opening), 30)
            texts.append("\n\n".join(step.given + step.text for step in steps) + "\n")
        texts += ["\n\n" + final_answer(problem.n), probe_answer(problem.n)]
    return texts


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the tokenizer; deterministic."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n+| ?\d| ?\p{L}+| ?[^\s\p{L}\d]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 5,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    core.train_from_iterator(corpus(), trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, TURN, END)])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in (THINK, CLOSE)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        model_max_length=5120,
        chat_template=CHAT_TEMPLATE,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write tokenizer.json and a tokenizer_config.json that every transformers since version 4 reads."""
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END,
        "pad_token": PAD,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "model_max_length": tokenizer.model_max_length,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

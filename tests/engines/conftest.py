"""A prompt that the small model of the real servers knows how to work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

QUESTION = (
    "<|im_start|>user\nFind the integer n with 0 <= n <= 999 such that n mod 31 = 4, n mod 7 = 3 and n mod 13 = 5."
    "<|im_end|>\n<|im_start|>assistant\n<think>\n"
)
# In the words that it was trained with, unlike the other one: on that it goes on without end, on this it soon ends.
SOLVABLE = (
    "<|im_start|>user\nYou will be given a math problem. Solve the problem step by step. Output your final answer in "
    "the form of \\boxed{your answer}. Problem: Find the integer n with 0 <= n <= 999 such that n mod 12 = 9, "
    "n mod 7 = 1 and n mod 13 = 0.<|im_end|>\n<|im_start|>assistant\n<think>\n"
)


@pytest.fixture(scope="session")
def tokenizer(small_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


@pytest.fixture(scope="session")
def prompt(tokenizer: Any) -> np.ndarray:
    return np.array(tokenizer.encode(QUESTION, add_special_tokens=False), dtype=np.int32)

"""A prompt that the small model of the real servers knows how to work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

_ASKED = (
    "<|im_start|>user\nYou will be given a math problem. Solve the problem step by step. Output your final answer in "
    "the form of \\boxed{{your answer}}. Problem: Find the integer n with 0 <= n <= 999 such that {}.<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n"
)
QUESTION = _ASKED.format("n mod 12 = 9, n mod 7 = 1 and n mod 13 = 0")  # 5 of 6 are done within 2000 tokens
ENDLESS = _ASKED.format("n mod 31 = 4, n mod 7 = 3 and n mod 13 = 5")  # no such n: searched for on and on


@pytest.fixture(scope="session")
def tokenizer(small_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


@pytest.fixture(scope="session")
def prompt(tokenizer: Any) -> np.ndarray:
    return np.array(tokenizer.encode(QUESTION, add_special_tokens=False), dtype=np.int32)

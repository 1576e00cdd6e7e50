"""How fast the stand-in model writes, against tokenizing the same text."""

from __future__ import annotations

import time

import numpy as np
import pytest

from extrap_eval.engines.markov import MarkovPolicy
from extrap_eval.engines.markov.engine import State, write_completion
from extrap_eval.engines.markov.script import Script, load_tokenizer

TOKENS = 32_768
CASES = {
    "32k, attempts of 96": MarkovPolicy(96, 0.0, 0.0, 0.0, 0.0),
    "32k, attempts of 32": MarkovPolicy(32, 0.0, 0.0, 0.0, 0.0),
    "32k, a loop": MarkovPolicy(96, loop=1.0),
    "ends by itself": MarkovPolicy(96, 0.9, 0.05, 0.01, 0.0),
}


@pytest.mark.perf
def test_writing_is_far_faster_than_tokenizing() -> None:
    rng, state, tokenizer = np.random.default_rng(0), State(17, 0.02), load_tokenizer()
    print(f"\n{'completions':24}{'tokens each':>12}{'written, M/s':>14}{'tokenized, M/s':>16}{'ratio':>8}")
    for name, policy in CASES.items():
        script = Script(policy)
        began = time.perf_counter()
        written = [write_completion(script, state, TOKENS, rng)[:TOKENS] for _ in range(300)]
        writing = sum(map(len, written)) / (time.perf_counter() - began)
        mean = sum(map(len, written)) / len(written)
        some = written[: 3 + round(100_000 / mean)]
        texts = [tokenizer.decode(ids.tolist(), skip_special_tokens=False) for ids in some]
        began = time.perf_counter()
        tokenized = sum(len(tokenizer.encode(text).ids) for text in texts)
        tokenizing = tokenized / (time.perf_counter() - began)
        ratio = writing / tokenizing
        print(f"{name:24}{mean:12.0f}{writing / 1e6:14.1f}{tokenizing / 1e6:16.2f}{ratio:8.0f}")
        assert ratio > 3

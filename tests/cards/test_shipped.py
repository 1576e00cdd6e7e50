"""The shipped cards say what the papers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.cards.load import list_cards, load_benchmark_card, load_model_card
from extrap_eval.cards.schema import DEFAULT_PHRASES
from extrap_eval.problems.load import fingerprint, load_problems

# name -> B_tr, stages, max_new_tokens, max_model_len, n
PAPERS = {
    "MiniMath-R1-1.5B": (4096, [], 32768, 40960, 16),
    "DeepSeek-R1-Distill-Qwen-1.5B": (None, [], 32768, 40960, 16),
    "DeepSeek-R1-Distill-Qwen-7B": (None, [], 32768, 40960, 16),
    "DeepSeek-R1-Distill-Qwen-32B": (None, [], 32768, 40960, 16),
    "OpenThinker-7B": (16384, [], 31000, 32768, 16),
    "s1.1-32B": (20000, [], 31000, 32768, 16),
    "s1.1-7B": (20000, [], 31000, 32768, 16),
    "s1-32B": (32768, [], 31000, 32768, 16),
    "DeepScaleR-1.5B-Preview": (24576, [8192, 16384, 24576], 32768, 40960, 16),
    "DeepScaleR-1.5B-MRT": (16384, [], 32768, 40960, 16),
    "DeepScaleR-1.5B-GRPO": (16384, [], 32768, 40960, 16),
    "STILL-3-1.5B-preview": (29000, [], 32768, 40960, 16),
    "II-Thought-1.5B-Preview": (None, [], 32768, 40960, 16),
    "Open-RS1": (3584, [], 32768, 40960, 16),
    "Qwen3-1.7B": (None, [], 32768, 40960, 16),
    "e3-1.7B": (16384, [8192, 16384], 32768, 40960, 16),
    "Nemotron-Research-Reasoning-Qwen-1.5B": (None, [], 32768, 40960, 16),
    "Qwen2.5-32B-Instruct": (None, [], 8192, 32768, 32),
    "Skywork-OR1-7B": (None, [], 32768, 40960, 16),
    "Qwen2.5-Math-7B": (None, [], 3072, 4096, 16),
}


@pytest.mark.parametrize("name", PAPERS)
def test_model_card(name: str) -> None:
    card = load_model_card(name)
    budget = card.training_budget
    actual = (budget.tokens if budget else None, budget.stages if budget else [])
    assert (*actual, card.max_new_tokens, card.max_model_len, card.n) == PAPERS[name]
    assert card.end_tokens
    assert tuple(card.episodes.phrases) == DEFAULT_PHRASES
    expected = (0.7, 1.0) if name == "Qwen2.5-32B-Instruct" else (0.6, 0.95)
    assert (card.sampling.temperature, card.sampling.top_p) == expected


@pytest.mark.parametrize("path", list_cards("benchmark"), ids=lambda path: path.stem)
def test_benchmark_card(path: Path) -> None:
    card = load_benchmark_card(path)
    if card.source.generator is None:
        # SEMANTICS: the prompt of e3, box A.1, word for word.
        assert card.prompt == (
            r"You will be given a math problem. Solve the problem step by step. Output your final answer "
            r"in the form of \boxed{your answer}. Problem: {problem}"
        )
    else:
        assert len(load_problems(card)) == card.size  # and the sha256 where the card has one


@pytest.mark.parametrize("name", ["countdown", "multiplication_5x5", "hidden_number"])
def test_generated_problems_are_pinned(name: str) -> None:
    card = load_benchmark_card(name)
    assert fingerprint(load_problems(card)) == card.sha256


def test_the_markov_card_answers_hidden_numbers() -> None:
    from extrap_eval.engines.markov.policy import MarkovPolicy

    card = load_model_card("markov")
    assert card.policy is not None
    policy = MarkovPolicy(**card.policy)  # type: ignore[arg-type]
    assert policy.attempt_tokens == card.policy["attempt_tokens"]
    assert card.tokenizer == "package:markov"
    assert card.think is not None
    assert not card.think.opened_by_prompt

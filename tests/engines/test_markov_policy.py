"""The policy's stated lengths are those of the real tokens; wrong fields are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from extrap_eval.engines.markov import text
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.script import load_tokenizer


def tokens(string: str) -> list[int]:
    return load_tokenizer().encode(string).ids


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attempt_tokens": 24}, "attempt_tokens: 24 is below 25"),
        ({"attempt_tokens": 21, "box_attempts": False}, "attempt_tokens: 21 is below 22"),
        ({"attempt_tokens": 64.0}, "attempt_tokens: 64.0 is not a whole number"),
        ({"attempt_tokens": True}, "attempt_tokens: True is not a whole number"),
        ({"accept_right": 1.2}, "accept_right: 1.2 is not a probability"),
        ({"accept_wrong": -0.1}, "accept_wrong: -0.1 is not a probability"),
        ({"give_up": float("nan")}, "give_up: nan is not a probability"),
        ({"loop": 2}, "loop: 2 is not a probability"),
        ({"distractors": 0}, "distractors: 0 is below 1"),
        ({"distractors": 900}, "distractors: 900 is above 899"),
        ({"distractor_decay": 0.0}, r"distractor_decay: 0.0 is not in \(0, 1\]"),
        ({"max_attempts": 0}, "max_attempts: 0 is below 1"),
        ({"box_attempts": "yes"}, "box_attempts: 'yes' is neither true nor false"),
    ],
)
def test_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarkovPolicy(**fields)


@pytest.mark.parametrize("box_attempts", [True, False])
def test_lengths_are_those_of_the_tokens(box_attempts: bool) -> None:
    policy = MarkovPolicy(attempt_tokens=60, box_attempts=box_attempts)
    for candidate in (100, 777, 999):
        proposal, conclusion = (
            text.proposal(candidate, box_attempts),
            text.CLOSE + text.final_answer(candidate),
        )
        assert len(tokens(proposal + text.verdict(candidate, accepted=False))) == policy.tail_tokens
        assert len(tokens(conclusion)) == policy.conclusion_tokens
        assert len(tokens(conclusion[: conclusion.index("}") + 1])) == policy.conclusion_box_end
        if box_attempts:
            boxed = len(tokens(proposal[: proposal.index("}") + 1]))
            assert policy.box_end == policy.attempt_tokens - policy.tail_tokens + boxed
    assert len(tokens(text.OPEN + text.INTRODUCTION)) == policy.header_tokens
    if not box_attempts:
        with pytest.raises(ValueError, match="box_attempts is false"):
            _ = policy.box_end


def test_wrong_weights_decay_and_add_up() -> None:
    assert MarkovPolicy(distractors=3, distractor_decay=0.5).wrong_weights == pytest.approx((4 / 7, 2 / 7, 1 / 7))
    assert sum(MarkovPolicy(distractors=899).wrong_weights) == pytest.approx(1)


@pytest.mark.parametrize("wanted", [*range(3, 60), 500, 5000])
def test_filler_is_exactly_as_long_as_asked(wanted: int) -> None:
    texts = {text.filler(wanted, variety) for variety in range(10)}
    assert {text.length(each) for each in texts} == {wanted}
    assert {len(tokens(each)) for each in texts} == {wanted}
    assert all(each.endswith("\n\n") for each in texts)
    if wanted > 40:
        assert len(texts) == 10


def test_every_piece_of_the_texts_is_one_token() -> None:
    vocabulary = load_tokenizer()
    strings = [
        *text.FILLERS,
        *text.NEXT_STEPS,
        text.FIRST_STEP,
        text.LOOP_BLOCK,
        text.OPEN + text.INTRODUCTION,
    ]
    strings += [text.proposal(105, True), text.verdict(105, True), text.CLOSE + text.final_answer(105)]
    for string in strings:
        decoded = [vocabulary.decode([token], skip_special_tokens=False) for token in tokens(string)]
        assert decoded == text.pieces(string)


def test_candidates_are_found_in_a_thought() -> None:
    thought = text.proposal(123, True) + text.verdict(123, False) + text.proposal(456, False) + "Is it 78"
    assert text.candidates_in(thought) == [123, 456]

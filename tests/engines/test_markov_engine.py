"""The engine against the prompt it reads, the lengths it promises and the truth it should have."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import numpy as np
import pytest

from extrap_eval.engines.base import EngineError, Generation, GenerationRequest
from extrap_eval.engines.markov import text, truth
from extrap_eval.engines.markov.engine import MarkovEngine, answers, state_from_prompt
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.script import load_tokenizer
from extrap_eval.problems.hidden_number import gold

POLICY = MarkovPolicy(40, 0.8, 0.1, 0.05, 0.02, distractors=4, distractor_decay=0.7)
NEVER_STOPS = MarkovPolicy(40, 0.0, 0.0, 0.0, 0.0)
ALWAYS_LOOPS = MarkovPolicy(40, loop=1.0)


def prompt(begun: str = "", index: int = 17, probability: str = "0.350") -> np.ndarray:
    statement = f"Hidden number {index}: an attempt succeeds with probability {probability}. Find the number."
    chat = f"<|im_start|>user\nSolve it. Problem: {statement}<|im_end|>\n<|im_start|>assistant\n{begun}"
    return np.array(load_tokenizer().encode(chat).ids, np.int32)


def said(ids: np.ndarray) -> str:
    return str(load_tokenizer().decode(ids.tolist(), skip_special_tokens=False))


async def ask(engine: MarkovEngine, max_tokens: int = 2000, begun: str = "", **fields: object) -> Generation:
    return await engine.generate(GenerationRequest(prompt(begun), max_tokens, **fields))  # type: ignore[arg-type]


async def test_lengths_text_and_ids_agree() -> None:
    async with MarkovEngine(POLICY, seed=1) as engine:
        assert (engine.info.kind, engine.info.exact_token_ids) == ("markov", True)
        for _ in range(200):
            made = await ask(engine)
            assert made.token_ids.dtype == np.int32
            assert made.prompt_tokens == len(prompt())
            written = said(made.token_ids)
            assert load_tokenizer().encode(written).ids == made.token_ids.tolist()
            assert written.startswith("<think>\nOkay")
            if made.finish_reason == "length":  # it loops
                assert len(made.token_ids) == 2000
                assert text.THINK_CLOSE not in written
                continue
            attempts = len(text.candidates_in(written))
            assert len(made.token_ids) == (
                POLICY.header_tokens + attempts * POLICY.attempt_tokens + POLICY.conclusion_tokens
            )
            assert made.stop_token_id == made.token_ids[-1] == load_tokenizer().token_to_id("<|im_end|>")
            thought, _, conclusion = written.partition("</think>")
            boxes = re.findall(r"\\boxed\{(\d{3})\}", written)
            assert len(boxes) == attempts + 1
            assert boxes[-1] == boxes[-2]
            assert conclusion == f"\n\nThe number is \\boxed{{{boxes[-1]}}}.<|im_end|>"
            assert thought.count("fails") + thought.count("works") == attempts


async def test_without_boxes_in_attempts_only_the_answer_is_boxed() -> None:
    policy = MarkovPolicy(40, 0.8, 0.1, 0.05, 0.0, box_attempts=False)
    engine = MarkovEngine(policy, seed=1)
    for _ in range(50):
        made = await ask(engine, 10_000)
        written = said(made.token_ids)
        assert written.count("boxed") == 1
        attempts = len(text.candidates_in(written))
        assert len(made.token_ids) == policy.header_tokens + attempts * 40 + policy.conclusion_tokens


async def test_attempts_are_episodes() -> None:
    """Every attempt but the first opens an episode, and has at least three steps."""
    engine = MarkovEngine(MarkovPolicy(60, 0.5, 0.0, 0.0, 0.0), seed=2)
    phrases = ("Wait", "But wait", "Alternatively", "But hold on")
    for _ in range(30):
        thought = said((await ask(engine, 20_000)).token_ids).partition("</think>")[0]
        openings = [i for i, step in enumerate(thought.split("\n\n")) if step.startswith(phrases)]
        assert len(openings) == len(text.candidates_in(thought)) - 1
        assert all(later - earlier >= 3 for earlier, later in zip([0, *openings], openings, strict=False))


@pytest.mark.parametrize("max_tokens", [1, 5, 12, 13, 52, 53, 1000, 1001])
@pytest.mark.parametrize("policy", [NEVER_STOPS, ALWAYS_LOOPS])
async def test_a_cut_completion_has_exactly_the_budget(policy: MarkovPolicy, max_tokens: int) -> None:
    made = await ask(MarkovEngine(policy, seed=3), max_tokens)
    assert len(made.token_ids) == max_tokens
    assert (made.finish_reason, made.stop_token_id) == ("length", None)


async def test_a_completion_that_just_fits_is_finished() -> None:
    policy = MarkovPolicy(30, 1.0, 1.0, loop=0.0)
    whole = policy.header_tokens + 30 + policy.conclusion_tokens
    for max_tokens, reason in ((whole, "stop"), (whole - 1, "length")):
        made = await ask(MarkovEngine(policy, seed=0), max_tokens)
        assert (len(made.token_ids), made.finish_reason) == (max_tokens, reason)


async def test_a_loop_repeats_one_block_to_the_end() -> None:
    ids = (await ask(MarkovEngine(ALWAYS_LOOPS), 500)).token_ids[ALWAYS_LOOPS.header_tokens :]
    period = text.length(text.LOOP_BLOCK)
    np.testing.assert_array_equal(ids[period:], ids[:-period])


async def test_seeds() -> None:
    first, second = MarkovEngine(POLICY, seed=7), MarkovEngine(POLICY, seed=7)
    drawn = [[(await ask(engine)).token_ids.tolist() for _ in range(5)] for engine in (first, second)]
    assert drawn[0] == drawn[1]
    assert len({tuple(ids) for ids in drawn[0]}) > 1
    seeded = [(await ask(engine, seed=11)).token_ids.tolist() for engine in (first, MarkovEngine(POLICY))]
    assert seeded[0] == seeded[1]
    assert len({len((await ask(first, seed=seed)).token_ids) for seed in range(30)}) > 5
    # One seed for all problems must not give them all the same fate.
    requests = [GenerationRequest(prompt(index=index), 2000, seed=1) for index in range(30)]
    assert len({len((await first.generate(request)).token_ids) for request in requests}) > 5


async def test_other_stop_tokens_end_it_too() -> None:
    close = load_tokenizer().token_to_id("</think>")
    made = await ask(MarkovEngine(MarkovPolicy(40, loop=0.0), seed=5), 5000, stop_token_ids=(close,))
    assert (made.finish_reason, made.stop_token_id, made.token_ids[-1]) == ("stop", close, close)


async def test_stop_strings_end_it_with_the_token_that_completes_them() -> None:
    stops = ("\n\nBut wait", "\n\nWait", "\n\nAlternatively", "\n\nBut hold on")
    whole = await ask(MarkovEngine(NEVER_STOPS), 500, seed=11)
    made = await ask(MarkovEngine(NEVER_STOPS), 500, seed=11, stop_strings=stops)
    assert (made.finish_reason, made.stop_token_id) == ("stop", None)
    assert made.token_ids.tolist() == whole.token_ids[: len(made.token_ids)].tolist()
    assert said(made.token_ids).endswith(stops)
    assert not any(stop in said(made.token_ids[:-1]) for stop in stops)
    # What comes first ends it.
    close = load_tokenizer().token_to_id("</think>")
    both = await ask(MarkovEngine(POLICY), 5000, seed=11, stop_strings=("The number is",), stop_token_ids=(close,))
    assert both.stop_token_id == close


@pytest.mark.parametrize(
    ("ids", "fields", "message"),
    [
        (np.array([5, 6, 7]), {}, "hidden-number problems only"),
        (np.array([], np.int32), {}, "hidden-number problems only"),
        (np.array([151643, 151644]), {}, "hidden-number problems only"),
        (prompt(), {"max_tokens": 0}, "max_tokens: 0"),
    ],
)
async def test_what_it_cannot_answer(ids: np.ndarray, fields: dict[str, object], message: str) -> None:
    request = GenerationRequest(ids, **{"max_tokens": 10, **fields})  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=message):
        await MarkovEngine(POLICY).generate(request)


async def test_takes_its_time_when_asked_to() -> None:
    engine = MarkovEngine(NEVER_STOPS, seconds_per_token=1e-4)
    made = await asyncio.gather(*(ask(engine, 500) for _ in range(20)))
    assert all(each.seconds >= 0.05 for each in made)


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        ("", {"opened": False, "closed": False, "fresh": True, "mid_paragraph": False, "made": 0, "best": None}),
        ("<think>\n", {"opened": True, "fresh": True, "mid_paragraph": False}),
        (
            "<think>\nOkay.\n\nIs it \\boxed{222}?\n\n",
            {"fresh": False, "mid_paragraph": False, "made": 1, "best": 222, "verified": False},
        ),
        ("<think>\nIs it 222?\n\nWait", {"fresh": False, "mid_paragraph": True, "made": 1, "best": 222}),
        (
            "<think>\nIs it 222?\n\n</think>\n\n1. **",
            {"closed": True, "mid_paragraph": True, "best": 222},
        ),
        # The last one that was found to work is the best; a proposal counts once its question mark is there.
        (
            "Is it 222?\n\n222 works.\n\nWait.\n\nIs it 333?\n\n333 works.\n\nWait.\n\nIs it 444?\n\n444 fails",
            {"made": 3, "best": 333, "verified": True},
        ),
        (
            "<think>\nIs it \\boxed{222}?\n\n222 fails.\n\nWait.\n\nIs it \\boxed{333}?\n\nTime is up.",
            {"made": 2, "best": 333, "verified": False},
        ),
        (
            "<think>\nIs it \\boxed{222}?\n\n222 fails.\n\nWait.\n\nIs it \\boxed{333}\n\nTime is up.",
            {"made": 1, "best": 222, "verified": False},
        ),
    ],
)
def test_state_is_read_off_the_prompt(begun: str, expected: dict[str, object]) -> None:
    state = state_from_prompt(prompt(begun))
    assert (state.index, state.probability) == (17, 0.35)
    assert {name: getattr(state, name) for name in expected} == expected


async def test_continues_what_the_prompt_has_begun() -> None:
    engine = MarkovEngine(MarkovPolicy(40, loop=0.0), seed=4)
    begun = "<think>\nOkay, I need to find the number.\n\nIs it \\boxed{222}?\n\n222 works.\n\n"
    extended = said((await ask(engine, begun=begun + "Wait")).token_ids)
    assert extended.startswith(".\n\n")
    assert text.candidates_in(extended)
    assert extended.count(text.THINK_OPEN) == 0
    closed = said((await ask(engine, begun=begun + "Time is up.\n</think>\n\n1. **")).token_ids)
    assert closed == "\n\nThe number is \\boxed{222}.<|im_end|>"
    opened = said((await ask(engine, begun="<think>\n")).token_ids)
    assert opened.startswith("Okay, I need to find the number.\n\nLet me think.")
    blind = said((await ask(engine, begun="<think>\n</think>\n\n")).token_ids)
    assert re.fullmatch(r"The number is \\boxed\{\d{3}\}\.<\|im_end\|>", blind)


async def test_attempts_made_before_count_towards_the_limit() -> None:
    engine = MarkovEngine(MarkovPolicy(40, 0.0, 0.0, 0.0, 0.0, max_attempts=3), seed=4)
    begun = "<think>\nIs it \\boxed{222}?\n\n"
    for before, made in ((0, 3), (1, 2), (2, 1), (5, 1)):
        written = said((await ask(engine, begun=begun * before)).token_ids)
        assert len(text.candidates_in(written)) == made


def test_answers_of_a_problem_are_all_different() -> None:
    for index in range(300):
        values = answers(index, MarkovPolicy(distractors=899))
        assert values[0] == gold(index)
        assert set(values.tolist()) == set(range(100, 1000))


@pytest.mark.parametrize(
    "policy",
    [
        POLICY,
        MarkovPolicy(30, 0.7, 0.3, 0.0, 0.0, distractors=3, max_attempts=4),
        MarkovPolicy(30, 0.7, 0.1, 0.1, 0.05, distractors=2, box_attempts=False),
    ],
)
async def test_answers_at_every_budget_are_distributed_as_stated(policy: MarkovPolicy) -> None:
    """Completions read by brute force at 8 budgets against the closed form: within 4 standard errors."""
    budgets, draws, probability = [12, 35, 60, 90, 130, 190, 300, 600], 2500, 0.25
    engine = MarkovEngine(policy, seed=123)
    columns = {value: column for column, value in enumerate(answers(17, policy).tolist(), start=1)}
    request = GenerationRequest(prompt(probability="0.250"), budgets[-1])
    seen = np.zeros((len(budgets), policy.distractors + 2))
    finished: Counter[int] = Counter()
    for _ in range(draws):
        made = await engine.generate(request)
        for row, budget in enumerate(budgets):
            boxes = re.findall(r"\\boxed\{(\d+)\}", said(made.token_ids[:budget]))
            seen[row, columns[int(boxes[-1])] if boxes else 0] += 1
            finished[budget] += made.finish_reason == "stop" and len(made.token_ids) <= budget
    expected = truth.answer_distribution(policy, probability, budgets)
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-12) / draws)
    assert np.abs((seen / draws - expected) / error).max() < 4
    fraction = truth.finished_fraction(policy, [probability], budgets)
    error = np.sqrt(np.maximum(fraction * (1 - fraction), 1e-12) / draws)
    assert np.abs((np.array([finished[budget] for budget in budgets]) / draws - fraction) / error).max() < 4

"""The policy's exact distributions of tokens: by its definition, by its frequencies, and through the store."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.base import EngineError, GenerationRequest
from extrap_eval.engines.markov import MarkovEngine, MarkovPolicy, text
from extrap_eval.engines.markov.distribution import choices, exact_logprobs
from extrap_eval.engines.markov.engine import answers, state_from_prompt, write_completion
from extrap_eval.engines.markov.script import Script, load_tokenizer
from extrap_eval.sampling.collect import distributions_of
from extrap_eval.steps.logprobs import agreement, plan_second_pass, token_distributions
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.store import open_run
from tests.steps.followed_runs import asked, engine_of, sampled_run

POLICIES: list[dict[str, Any]] = [
    {},
    {"give_up": 0.3, "loop": 0.1, "max_attempts": 4},
    {"attempt_tokens": 24, "box_attempts": False, "distractors": 30, "accept_wrong": 0.5},
    {"distractors": 1, "distractor_decay": 1.0, "recall": 0.5},
]
P = 0.2


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    run = sampled_run(tmp_path_factory.mktemp("markov"), problems=1, n=1, probabilities=[P], sampled=False)
    return next(iter(run.prompts().values()))


def ids_of(words: str) -> list[int]:
    return list(load_tokenizer().encode(words).ids)


PREFIXES = ["", "<think>\n", "<think>\nOkay, I need to find the number.\n\n", "<think>\nOkay.\n\nWait", "closed"]


@pytest.mark.parametrize("fields", POLICIES)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_drawn_tokens_are_as_frequent_as_said(prompt: np.ndarray, fields: dict[str, Any], prefix: str) -> None:
    """Over many completions, every kind of choice (what came before it within its attempt the same) is drawn with its
    probabilities: a chi-square statistic per choice, which all together must be of the size that chance gives.
    """
    policy = MarkovPolicy(**fields)
    script = Script(policy)
    if prefix == "closed":
        thought = "<think>\n" + text.FIRST_STEP + text.proposal(345, True) + text.verdict(345, False)
        prefix = thought + text.CLOSE
    full = np.concatenate([prompt, np.array(ids_of(prefix), np.int32)])
    state = state_from_prompt(full)
    candidates = answers(state.index, policy)
    rng = np.random.default_rng(1)
    seen: dict[tuple[Any, ...], Counter[int]] = {}
    said: dict[tuple[Any, ...], dict[int, float]] = {}
    for _ in range(1500):
        ids = write_completion(script, state, 3 * policy.attempt_tokens, rng)[: 3 * policy.attempt_tokens]
        found = list(choices(script, state, candidates, ids))
        assert [place for place, _ in found] == sorted({place for place, _ in found})
        for place, choice in found:
            assert sum(choice.values()) == pytest.approx(1)
            key = tuple(sorted((i, round(p, 12)) for i, p in choice.items() if p > 0))
            seen.setdefault(key, Counter())[int(ids[place])] += 1
            said[key] = dict(choice)
    statistic = freedom = 0.0
    for key, counts in seen.items():
        total = counts.total()
        assert all(said[key].get(i, 0) > 0 for i in counts)
        expected = {i: total * p for i, p in said[key].items() if p > 0}
        rare = sum(e for e in expected.values() if e < 5)
        common = {i: e for i, e in expected.items() if e >= 5}
        cells = [(counts[i], e) for i, e in common.items()] + (
            [(total - sum(counts[i] for i in common), rare)] * (rare > 0)
        )
        if len(cells) > 1 and min(e for _, e in cells) > 1:
            statistic += sum((n - e) ** 2 / e for n, e in cells)
            freedom += len(cells) - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * max(freedom, 1)), (statistic, freedom)


def test_the_log_probability_of_a_completion_is_that_of_its_path(prompt: np.ndarray) -> None:
    """The product over its tokens is the product over its attempts: wording, candidate, verdict, go on or end."""
    policy = MarkovPolicy(loop=0.01, give_up=0.1)
    script, state = Script(policy), state_from_prompt(prompt)
    right, *wrong = answers(state.index, policy).tolist()
    chance = {right: P} | {value: (1 - P) * w for value, w in zip(wrong, policy.wrong_weights, strict=True)}
    rng = np.random.default_rng(0)
    for _ in range(50):
        ids = write_completion(script, state, 10_000, rng)
        said = exact_logprobs(script, state, np.array([right, *wrong]), ids, 5)
        written = load_tokenizer().decode(ids.tolist(), skip_special_tokens=False)
        if text.LOOP_BLOCK in written or text.THINK_CLOSE not in written:
            continue
        tried = text.candidates_in(written.partition(text.THINK_CLOSE)[0])
        expected = 0.0
        for number, value in enumerate(tried):
            last = number == len(tried) - 1
            accepted = last and f"{value} works" in written
            accept = policy.accept_right if value == right else policy.accept_wrong
            wordings = 1 if number == 0 else 20
            expected += math.log((1 - policy.loop) / wordings * chance[value] * (accept if accepted else 1 - accept))
            if not accepted:
                expected += math.log(policy.give_up if last else 1 - policy.give_up)
        assert float(said.chosen.sum(dtype=np.float64)) == pytest.approx(expected, rel=1e-5)


def test_ids_that_the_policy_cannot_write_are_refused(prompt: np.ndarray) -> None:
    policy = MarkovPolicy()
    state = state_from_prompt(prompt)
    ids = write_completion(Script(policy), state, 60, np.random.default_rng(0))[:60]
    ids[len(Script(policy).header)] = 1
    with pytest.raises(EngineError, match="none that this policy can write"):
        exact_logprobs(Script(policy), state, answers(state.index, policy), ids, 5)


async def test_the_engine_gives_them_with_a_completion_and_for_one_that_is_given(prompt: np.ndarray) -> None:
    async with MarkovEngine(MarkovPolicy(), seed=1) as engine:
        drawn = await engine.generate(GenerationRequest(prompt, 300, seed=5, top_logprobs=7))
        given = GenerationRequest(prompt, len(drawn.token_ids), top_logprobs=7, given_token_ids=drawn.token_ids)
        read = await engine.generate(given)
        plain = await engine.generate(GenerationRequest(prompt, 300, seed=5))
    assert (plain.token_ids.tolist(), plain.logprobs) == (drawn.token_ids.tolist(), None)
    assert read.token_ids.tolist() == drawn.token_ids.tolist()
    for name in ("chosen", "top_ids", "top"):
        assert (getattr(read.logprobs, name) == getattr(drawn.logprobs, name)).all()
    assert drawn.logprobs is not None
    assert drawn.logprobs.top.shape == (len(drawn.token_ids), 7)


def known(p: list[float], top: int) -> tuple[float, int, float]:
    """Entropy, branching and covered mass of a distribution, as they are stored."""
    ordered = sorted(p, reverse=True)[:top]
    held = np.cumsum(ordered)
    count = int((held < 0.95 - 1e-6).sum()) + 1
    entropy = -sum(x * math.log(x) for x in ordered if x)
    return float(np.float16(entropy)), count, float(np.float16(held[-1]))


@pytest.mark.parametrize("top", [1, 3, 20])
def test_known_distributions_go_through_the_whole_store_exactly(tmp_path: Path, top: int) -> None:
    """Sampled with --logprobs, kept, read: at each kind of place the values are those worked out by hand."""
    empty = sampled_run(tmp_path, problems=4, n=3, budget_max=600, sampled=False)
    plan = plan_sampling("markov", str(tmp_path / "run.yaml"), n=3, budget_max=600, top_logprobs=top)
    run = prepare_run(plan, empty.path)
    assert sample(plan, run, engine_of(run), seed=1).missing == ()
    assert run.manifest.invocations[-1]["settings"]["logprobs"] == top
    assert bool(list((run.path / "completions" / "rollout").glob("part-*.parquet")))
    policy, script = engine_of(run)._script.policy, engine_of(run)._script
    goes_on = (1 - policy.give_up) * (1 - policy.loop)
    # After a rejected attempt: the end, a loop, or one of 20 wordings, of which 10 begin with But and 5 each with
    # Wait and Alternatively.
    start = [policy.give_up, (1 - policy.give_up) * policy.loop, goes_on / 2, goes_on / 4, goes_on / 4]
    kept = dict(token_distributions(open_run(run.path)))
    prompts, checked = run.prompts(), Counter()
    for completion in run.completions():
        each, ids = kept[completion.key], completion.token_ids
        assert len(each) == len(ids)
        state = state_from_prompt(prompts[completion.problem_id])
        candidates = answers(state.index, policy).tolist()
        right = candidates[0]
        drawn = {place for place, _ in choices(script, state, np.array(candidates), ids)}
        for place in range(len(ids)):
            if place not in drawn:
                assert (each.entropy[place], each.branching[place], each.covered[place]) == (0, 1, 1)
                assert each.chosen[place] == 0
        for number in range((len(ids) - len(script.header)) // policy.attempt_tokens):
            begin = len(script.header) + number * policy.attempt_tokens
            attempt = ids[begin : begin + policy.attempt_tokens]
            if attempt[0] == script.loop_block[0]:
                break
            verdict = begin + script.verdict_column
            digits = "".join(load_tokenizer().decode([i]) for i in attempt[script.attempt_digits[0]].tolist())
            accept = policy.accept_right if int(digits) == right else policy.accept_wrong
            found = (each.entropy[verdict], each.branching[verdict], each.covered[verdict])
            assert found == known([accept, 1 - accept], top)
            accepted = ids[verdict] == script.verdict_ids[1]
            assert each.chosen[verdict] == np.float16(math.log(accept if accepted else 1 - accept))
            checked["verdict"] += 1
            after = begin + policy.attempt_tokens
            if not accepted and after < len(ids):
                assert (each.entropy[after], each.branching[after], each.covered[after]) == known(start, top)
                checked["start"] += 1
    assert min(checked["verdict"], checked["start"]) > 5


def test_a_second_pass_finds_what_came_with_the_samples(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, n=2, budget_max=700)
    assert dict(token_distributions(run)) == {}
    plan = plan_second_pass(run, top_logprobs=6)
    assert plan is not None
    report = asked(run, plan)
    assert (report.finished, report.missing) == (12, 0)
    passed = dict(token_distributions(run))
    engine = engine_of(run)
    for completion in run.completions():
        request = GenerationRequest(
            run.prompts()[completion.problem_id],
            completion.n_tokens,
            top_logprobs=6,
            given_token_ids=completion.token_ids,
        )
        expected = distributions_of(engine._generate(request))
        assert expected is not None
        for name in ("entropy", "branching", "covered", "chosen"):
            assert (getattr(passed[completion.key], name) == getattr(expected, name)).all()
    assert agreement(run).empty  # no sample has both

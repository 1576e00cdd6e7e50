"""Which tokens are replaced, by what, and what is asked then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrap_eval.engines.base import EngineError, Generation, TokenLogprobs
from extrap_eval.sampling.replacement import At, Replacement, Where, eligible, most_likely_other
from extrap_eval.sampling.traces import Piece, Trace
from tests.sampling.test_forcing import CLOSED, Markov


@pytest.fixture(scope="module")
def markov() -> Markov:
    return Markov()


def replacement(markov: Markov, **changes: Any) -> Replacement:
    values: dict[str, Any] = {"budget": 40, "positions": 3, "replicates": 2, "samples": 4}
    return Replacement("replace", "answers", Where("random"), markov.pen, markov.draw, **values | changes)


@pytest.mark.parametrize(
    ("at", "share", "expected"),
    [
        ("random", 0.2, [3, 4, 5, 6, 7, 8, 9]),
        ("early", 0.2, [3, 4]),  # 0/7 and 1/7 of the way
        ("late", 0.2, [9]),  # 6/7
        ("late", 0.3, [8, 9]),
        ("late", 0.01, [9]),
        ("late", 1.0, [3, 4, 5, 6, 7, 8, 9]),
        ("high-entropy", 0.2, [4, 8]),
        ("low-entropy", 0.4, [3, 5, 6]),  # of equal ones the earlier are lower
    ],
)
def test_eligible_positions(at: At, share: float, expected: list[int]) -> None:
    entropy = np.array([9, 9, 9, 0, 2, 0, 0, 0, 1.5, 0.5, 9, 9])
    assert eligible(Where(at, share), 3, 10, entropy).tolist() == expected


@given(arrays(np.float16, 30, elements=st.floats(0, 4, width=16)), st.floats(0.01, 1), st.integers(0, 30))
def test_high_and_low_entropy_are_the_ends_of_the_order(entropy: np.ndarray, share: float, start: int) -> None:
    high, low = (
        eligible(Where(at, share), start, 30, entropy)
        for at in ("high-entropy", "low-entropy")  # type: ignore[arg-type]
    )
    inside = set(range(start, 30))
    assert len(high) == len(low) == int(np.ceil(share * len(inside)))
    for chosen, sign in ((high, 1), (low, -1)):
        others = sorted(inside - set(chosen.tolist()))
        if len(chosen) and others:
            assert (sign * entropy[chosen]).min() >= (sign * entropy[others]).max()


def test_positions_are_inside_the_completion_and_drawn_once(markov: Markov) -> None:
    trace = markov.trace(CLOSED)
    opener, end = len(markov.ids("<think>\n")), len(trace.ids) - 1  # the end token is not replaced
    protocol = replacement(markov, positions=100)
    assert sorted(protocol.chosen(trace).tolist()) == list(range(opener, end))
    assert protocol.chosen(trace).tolist() == protocol.chosen(trace).tolist()
    other = Trace("p", 4, trace.prompt, trace.ids, True)
    assert protocol.chosen(trace).tolist() != protocol.chosen(other).tolist()
    seeded = replace(protocol, where=Where("random", seed=1))
    assert seeded.chosen(trace).tolist() != protocol.chosen(trace).tolist()
    # More positions are the same ones and others.
    assert replacement(markov).chosen(trace).tolist() == protocol.chosen(trace).tolist()[:3]
    # A token must be left of the budget.
    assert max(replacement(markov, positions=100, budget=12).chosen(trace)) == 10


def test_a_question_and_then_both_ways_to_go_on(markov: Markov) -> None:
    trace = markov.trace(CLOSED)
    protocol = replacement(markov)
    places = protocol.chosen(trace).tolist()
    word = int(markov.ids(" large")[0])
    pieces: tuple[Piece, ...] = ()
    for j in range(4):
        jobs = list(protocol.jobs(trace, pieces))
        questions = [job for job in jobs if job.stage == "replace"]
        assert [job.step for job in questions] == ([j + 1] if j < 3 else [])
        for job in questions:
            assert job.request.max_tokens == 1
            assert job.request.top_logprobs == 2 + len(markov.pen.end_ids)
            assert job.prefix_tokens == places[j]
            assert markov.sent(job) == markov.text(trace.ids[: places[j]])
        follow = [job for job in jobs if job.stage == "answers"]
        if not j:
            assert not follow
        else:
            at = places[j - 1]
            assert [(job.step, job.replicate) for job in follow] == [
                (2 * j - 1, 0), (2 * j - 1, 1), (2 * j, 0), (2 * j, 1),
            ]  # fmt: skip
            kept, replaced = markov.text(trace.ids[: at + 1]), markov.text(trace.ids[:at]) + " large"
            assert [markov.sent(job) for job in follow] == [kept, kept, replaced, replaced]
            assert {job.request.max_tokens for job in follow} == {40 - at - 1}
            assert {job.prefix_tokens for job in follow} == {at + 1}
            assert {job.request.top_logprobs for job in follow} == {0}
        pieces = (*pieces, Piece(np.array([word], dtype=np.int32), False))
    capped = replacement(markov, answer_tokens=5)
    _, *follow = capped.jobs(trace, pieces[:1])
    assert {job.request.max_tokens for job in follow} == {5}


def test_bounds_and_price(markov: Markov) -> None:
    trace = markov.trace(CLOSED)
    for protocol in (replacement(markov), replacement(markov, answer_tokens=5), replacement(markov, positions=9)):
        requests = prompts = completions = 0
        pieces: tuple[Piece, ...] = ()
        for _ in range(len(protocol.chosen(trace)) + 1):
            for job in protocol.jobs(trace, pieces):
                requests += 1
                prompts += len(job.request.prompt_token_ids)
                completions += job.request.max_tokens
                longest = protocol.longest(len(trace.prompt), len(trace.ids))
                assert len(job.request.prompt_token_ids) + job.request.max_tokens <= longest
            pieces = (*pieces, Piece(markov.ids(" large"), False))
        price = protocol.price(trace)
        assert requests == price.requests == protocol.most(trace)
        assert (prompts, completions) == (price.prompt_tokens, price.completion_tokens)
    empty = markov.trace("<think>\n", finished=False)
    assert list(replacement(markov).jobs(empty, ())) == []
    assert replacement(markov).price(empty).requests == 0


def test_the_most_likely_other_token() -> None:
    top = TokenLogprobs(np.zeros(1, np.float32), np.array([[5, 7, 2, 9]], np.int32), np.zeros((1, 4), np.float32))
    drawn = Generation(np.array([7], np.int32), "stop", stop_token_id=7, logprobs=top)
    for than, forbidden, expected in [(5, (), 7), (7, (), 5), (1, (), 5), (5, (7, 2), 9)]:
        kept = most_likely_other(drawn, than=than, forbidden=forbidden)
        assert kept.token_ids.tolist() == [expected]
        assert (kept.finish_reason, kept.stop_token_id, kept.logprobs) == ("length", None, None)
    with pytest.raises(EngineError, match="names no token beside"):
        most_likely_other(drawn, than=5, forbidden=(7, 2, 9))
    with pytest.raises(EngineError, match="gives no log-probabilities"):
        most_likely_other(replace(drawn, logprobs=None), than=5, forbidden=())

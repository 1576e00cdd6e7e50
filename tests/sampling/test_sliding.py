"""Thoughts that grow episode by episode in a window, and what is asked of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from extrap_eval.cards.schema import DEFAULT_PHRASES
from extrap_eval.sampling.continuation import PROBE_TEXT
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.sliding import Sliding, Window, linear, parallel
from extrap_eval.sampling.traces import Piece, Trace
from tests.sampling.test_forcing import Markov

RULES = Window(
    episodes=3,
    answers_after=(1, 3),
    window_tokens=20,
    episode_tokens=40,
    thinking_tokens=120,
    phrases=DEFAULT_PHRASES,
    min_steps=3,
    go_on=("Wait", "Alternatively"),
    text="Stop.\n{think_close}\n",
)
EPISODE = "Hmm.\n\nNot sure.\n\nIs it 7?\n\nWait"  # three steps, and the opening of the next


@pytest.fixture(scope="module")
def markov() -> Markov:
    return Markov()


def sliding(markov: Markov, rules: Window = RULES) -> Sliding:
    return Sliding("slide", "answers", rules, markov.pen, markov.draw, samples=2)


def bare(markov: Markov) -> Trace:
    return Trace("p", 1, markov.prompt, np.empty(0, dtype=np.int32), finished=False)


def piece(markov: Markov, text: str, *, finished: bool = True) -> Piece:
    return Piece(markov.ids(text), finished)


def split(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    return [job for job in jobs if job.stage == "slide"], [job for job in jobs if job.stage == "answers"]


def test_a_thought_grows_by_episodes_and_answers_on_the_way(markov: Markov) -> None:
    protocol = sliding(markov)
    stops = {"\n\n" + phrase for phrase in DEFAULT_PHRASES}
    pieces: tuple[Piece, ...] = ()
    text = ""
    for number in range(1, 4):
        (request,), answers = split(list(protocol.jobs(bare(markov), pieces)))
        assert request.step == number
        seen = markov.ids(text)[-20:]
        assert markov.sent(request) == "<think>\n" + markov.text(seen)
        assert set(request.request.stop_strings) == stops
        assert request.request.stop_token_ids[-1] == markov.ids("</think>")[0]
        assert [job.step for job in answers] == ([1] if number == 2 else [])
        for job in answers:
            prefix = markov.ids(EPISODE.removesuffix("Wait"))
            assert markov.sent(job) == "<think>\n" + markov.text(prefix[-21:]) + "Stop.\n</think>\n"
            assert job.prefix_tokens == len(prefix) - 1  # the blank line after it is ours
        pieces = (*pieces, piece(markov, EPISODE if number == 1 else EPISODE.replace("Hmm", ", hmm")))
        text += markov.text(pieces[-1].ids)
    requests, answers = split(list(protocol.jobs(bare(markov), pieces)))
    assert not requests
    assert [job.step for job in answers] == [3]
    assert answers[0].prefix_tokens == len(markov.ids(text.removesuffix("\n\nWait")))


def test_an_opening_that_comes_too_early_is_no_end_of_an_episode(markov: Markov) -> None:
    protocol = sliding(markov)
    early = piece(markov, "Hmm.\n\nWait")
    now = protocol.slid((early,))
    assert (now.ends, now.over) == ((), False)
    (request,), answers = split(list(protocol.jobs(bare(markov), (early,))))
    assert (request.step, answers) == (2, [])
    assert len(protocol.slid((early, piece(markov, ".\n\nNot sure.\n\nWait"))).ends) == 1


def test_a_closed_thought_goes_on_with_the_next_string(markov: Markov) -> None:
    protocol = sliding(markov)
    closed = piece(markov, "Hmm.\n\nNot sure.\n\nIs it 7?\n\n</think>")
    now = protocol.slid((closed,))
    assert markov.text(now.ids) == "Hmm.\n\nNot sure.\n\nIs it 7?\n\nWait"
    assert (len(now.ends), now.over) == (1, False)
    again = protocol.slid((closed, piece(markov, ".\n\nHmm.\n\nNot sure.\n</think>")))
    assert markov.text(again.ids).endswith("Not sure.\n\nAlternatively")
    assert len(again.ends) == 2
    # In parallel mode it is over, and the answer follows whatever number of episodes there were.
    short = sliding(markov, replace(RULES, go_on=(), window_tokens=None, answers_after=(3,)))
    requests, answers = split(list(short.jobs(bare(markov), (closed,))))
    assert requests == []
    assert [job.step for job in answers] == [3]
    assert markov.sent(answers[0]) == "<think>\nHmm.\n\nNot sure.\n\nIs it 7?\n\nStop.\n</think>\n"


def test_an_engine_without_stop_strings_gives_the_same_thought(markov: Markov) -> None:
    protocol = sliding(markov)
    stopped = protocol.slid((piece(markov, EPISODE),))
    ran_on = protocol.slid((piece(markov, EPISODE + ".\n\nIs it 9?\n\nBut wait", finished=False),))
    assert stopped.ids.tolist() == ran_on.ids.tolist()
    assert (stopped.ends, stopped.over) == (ran_on.ends, ran_on.over)


def test_the_thought_is_over_at_its_cap(markov: Markov) -> None:
    protocol = sliding(markov)
    filler = Piece(np.resize(markov.ids(" large"), 40), False)
    assert not protocol.slid((filler, filler)).over
    (request,), _ = split(list(protocol.jobs(bare(markov), (filler, filler))))
    assert request.request.max_tokens == 40
    requests, answers = split(list(protocol.jobs(bare(markov), (filler, filler, filler))))
    assert requests == []
    assert [job.step for job in answers] == [1]  # once; it stands for the later ones


def test_bounds_hold(markov: Markov) -> None:
    rng = np.random.default_rng(8)
    for rules in (RULES, replace(RULES, go_on=(), window_tokens=None)):
        protocol = sliding(markov, rules)
        trace = bare(markov)
        for _ in range(10):
            pieces: tuple[Piece, ...] = ()
            while True:
                jobs = list(protocol.jobs(trace, pieces))
                for job in jobs:
                    total = len(job.request.prompt_token_ids) + job.request.max_tokens
                    assert total <= protocol.longest(len(trace.prompt), 0)
                requests, _ = split(jobs)
                if not requests:
                    break
                said = EPISODE if rng.random() < 0.5 else " large" * int(rng.integers(1, 20)) + "</think>"
                pieces = (*pieces, Piece(markov.ids(said)[: requests[0].request.max_tokens], True))
            assert len(pieces) <= 4 * rules.episodes


def test_the_modes_of_the_paper() -> None:
    rules = linear(DEFAULT_PHRASES, 3)
    assert (rules.episodes, rules.window_tokens, rules.answers_after) == (16, 2048, (1, 2, 4, 8, 16))
    assert rules.text == PROBE_TEXT
    rules = parallel(DEFAULT_PHRASES, 3)
    assert (rules.episodes, rules.window_tokens, rules.answers_after, rules.go_on) == (3, None, (3,), ())
    assert linear(DEFAULT_PHRASES, 3, episodes=6).answers_after == (1, 2, 4, 6)

"""Extensions and their answers, by the rules of the papers and by the exact variants of their code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from extrap_eval.cards.load import load_model_card
from extrap_eval.prompts.tokenizer import end_token_ids, load_tokenizer
from extrap_eval.sampling.continuation import Pen
from extrap_eval.sampling.forcing import Forcing, Rules, mrt_rules, s1_rules, whole_paragraphs
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Draw, Piece, Trace
from extrap_eval.scoring.tokens import TokenTable

MRT = replace(mrt_rules(), extension_tokens=12)


class Markov:
    """The stand-in model's tokenizer: every word and every blank line is one token."""

    def __init__(self) -> None:
        card = load_model_card("markov")
        self.tokenizer = load_tokenizer(card)
        table = TokenTable.from_tokenizer(self.tokenizer)
        self.pen = Pen(self.tokenizer, table, card.think, end_token_ids(self.tokenizer, card))
        self.draw = Draw(0.6, 0.95, -1, self.pen.end_ids)
        self.prompt = self.ids("<|im_start|>user\nProblem: 17<|im_end|>\n<|im_start|>assistant\n")

    def ids(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)

    def text(self, ids: np.ndarray) -> str:
        return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=False))

    def trace(self, completion: str, *, finished: bool = True) -> Trace:
        return Trace("p", 3, self.prompt, self.ids(completion), finished)

    def forcing(self, rules: Rules, replicates: int = 2) -> Forcing:
        return Forcing("force", "answers", rules, self.pen, self.draw, replicates, samples=4)

    def sent(self, job: Job) -> str:
        prompt = job.request.prompt_token_ids
        assert prompt[: len(self.prompt)].tolist() == self.prompt.tolist()
        return self.text(prompt[len(self.prompt) :])


@pytest.fixture(scope="module")
def markov() -> Markov:
    return Markov()


CLOSED = "<think>\nLet me think.\n\nIs it 5?\n\n</think>\n\nThe number is 5.<|im_end|>"
THOUGHT = "<think>\nLet me think.\n\nIs it 5?\n\n"


def test_w_extensions_with_strings_in_turn_and_answers_after_the_chosen(markov: Markov) -> None:
    rules = replace(MRT, extensions=6, answers_after=(0, 2, 6))
    forcing = markov.forcing(rules)
    trace = markov.trace(CLOSED)
    pieces: tuple[Piece, ...] = ()
    text = THOUGHT
    strings = ["Wait", "But wait", "Alternatively", "But hold on", "Wait", "But wait"]
    for w in range(7):
        jobs = list(forcing.jobs(trace, pieces))
        extensions = [job for job in jobs if job.stage == "force"]
        answers = [job for job in jobs if job.stage == "answers"]
        assert [job.step for job in extensions] == ([w + 1] if w < 6 else [])
        assert [(job.step, job.replicate) for job in answers] == ([(w, 0), (w, 1)] if w in (0, 2, 6) else [])
        for job in extensions:
            assert markov.sent(job) == text + strings[w]
            assert job.request.max_tokens == 12
            assert job.request.stop_token_ids[-1] == markov.ids("</think>")[0]
            assert job.prefix_tokens == len(markov.ids(text + strings[w]))
        for job in answers:
            assert markov.sent(job) == text + "</think>"
            assert job.request.max_tokens == 4096
            assert job.prefix_tokens == len(markov.ids(text))
            assert job.request.affinity == "p/3"
        said = f".\n\nIs it {w}?\n\n"
        pieces = (*pieces, Piece(markov.ids(said + "</think>"), True))
        text += (strings[w] if w < 6 else "") + said


def test_answers_are_asked_in_the_end_even_if_the_thought_was_never_closed(markov: Markov) -> None:
    forcing = markov.forcing(replace(MRT, extensions=0, answers_after=(0,)))
    (answer, _) = forcing.jobs(markov.trace("<think>\nHmm.<|im_end|>"), ())
    assert markov.sent(answer) == "<think>\nHmm.</think>"  # it ended there by itself
    (answer, _) = forcing.jobs(markov.trace("<think>\nHmm.", finished=False), ())
    assert markov.sent(answer) == "<think>\nHmm.\n</think>"  # it was cut there


@pytest.mark.parametrize(
    ("said", "rules", "kept"),
    [
        (".\n\nNot sure.\n\nThis looks", MRT, ".\n\nNot sure.\n\n"),
        (" this looks too large", MRT, " this looks too large"),  # no blank line: it would be lost whole
        (" this looks too large", replace(MRT, keep_unbroken=False), ""),
        (".\n\nNot sure.\n\nThis looks", replace(MRT, drop_unfinished=False), ".\n\nNot sure.\n\nThis looks"),
    ],
)
def test_the_unfinished_paragraph_of_a_cut_extension_is_dropped(
    markov: Markov, said: str, rules: Rules, kept: str
) -> None:
    forcing = markov.forcing(rules)
    (second,) = [
        job for job in forcing.jobs(markov.trace(CLOSED), (Piece(markov.ids(said), False),)) if job.stage == "force"
    ]
    line = "" if kept.endswith("\n") else "\n"
    assert markov.sent(second) == THOUGHT + "Wait" + kept + line + "But wait"


def test_a_trace_that_was_cut_is_treated_like_a_cut_extension(markov: Markov) -> None:
    forcing = markov.forcing(MRT)
    extension, answer, _ = forcing.jobs(markov.trace(THOUGHT + "Hmm, this", finished=False), ())
    assert markov.sent(extension) == THOUGHT + "Wait"
    assert markov.sent(answer) == THOUGHT + "</think>"


def test_paper_exact_answers_leave_the_thought_open(markov: Markov) -> None:
    forcing = markov.forcing(replace(mrt_rules(), keep_unbroken=False, close_thought=False))
    _, answer, _ = forcing.jobs(markov.trace(CLOSED), ())
    assert markov.sent(answer) == THOUGHT


def test_the_cap_on_the_whole_thought_is_never_exceeded(markov: Markov) -> None:
    own = len(markov.ids(THOUGHT)) - len(markov.ids("<think>\n"))
    rules = replace(MRT, extensions=4, answers_after=(0, 1, 2, 4), thinking_tokens=own + 9)
    forcing = markov.forcing(rules)
    trace = markov.trace(CLOSED)
    extension, *_ = forcing.jobs(trace, ())
    assert extension.request.max_tokens == 9 - len(markov.ids("Wait"))
    # A piece that takes all of it: nothing follows but the answers, once for all later w.
    full = Piece(markov.ids(".\n\nIs it 7?\n\n")[:8], False)
    assert len(full.ids) == 8
    jobs = list(forcing.jobs(trace, (full,)))
    assert [(job.stage, job.step) for job in jobs] == [("answers", 1), ("answers", 1)]
    short = Piece(markov.ids(".\n\n</think>"), True)
    jobs = list(forcing.jobs(trace, (short,)))
    assert [(job.stage, job.step) for job in jobs] == [("force", 2), ("answers", 1), ("answers", 1)]
    used = own + len(markov.ids("Wait.\n\nBut wait"))
    assert jobs[0].request.max_tokens == own + 9 - used


def test_s1_replaces_the_end_marker_and_forces_the_answer_at_the_cap(markov: Markov) -> None:
    own = len(markov.ids(THOUGHT)) - len(markov.ids("<think>\n"))
    rules = s1_rules(own + 20)
    trace = markov.trace(CLOSED)
    extension, answer, _ = markov.forcing(rules).jobs(trace, ())
    assert markov.sent(extension) == THOUGHT + "Wait"
    assert extension.request.max_tokens == 19
    assert markov.sent(answer) == THOUGHT + "</think>"
    # Cut by the cap: closed, and asked for the final answer. The cut may be anywhere.
    piece = Piece(np.resize(markov.ids(" looks too large"), 19), False)
    (forced, _) = markov.forcing(rules).jobs(trace, (piece,))
    assert forced.step == 2
    assert markov.sent(forced) == THOUGHT + "Wait" + markov.text(piece.ids) + "\n</think>\nFinal Answer:"
    assert forced.prefix_tokens == len(markov.ids(THOUGHT)) + 20
    # A trace beyond the cap is cut to it and never extended.
    jobs = list(markov.forcing(s1_rules(own - 3)).jobs(trace, ()))
    assert [(job.stage, job.step) for job in jobs] == [("answers", 0)] * 2
    cut = markov.ids(THOUGHT)[: len(markov.ids(THOUGHT)) - 3]
    assert markov.sent(jobs[0]) == markov.text(cut) + "\n</think>\nFinal Answer:"


def test_s1_code_gives_every_round_the_full_cap_and_cuts_afterwards(markov: Markov) -> None:
    own = len(markov.ids(THOUGHT)) - len(markov.ids("<think>\n"))
    forcing = markov.forcing(replace(s1_rules(own + 4), full_cap=True))
    trace = markov.trace(CLOSED)
    piece = Piece(markov.ids(".\n\nIs it 7?\n\nLet me see.\n\n</think>"), True)
    pieces: tuple[Piece, ...] = ()
    for w in range(1, 7):
        extension, *answers = forcing.jobs(trace, pieces)
        assert (extension.step, extension.request.max_tokens) == (w, own + 4)
        for job in answers:
            if w > 1:
                assert markov.sent(job).endswith("</think>\nFinal Answer:")
                assert len(job.request.prompt_token_ids) < len(extension.request.prompt_token_ids)
        pieces = (*pieces, piece)


def test_bounds_hold_for_every_request(markov: Markov) -> None:
    rng = np.random.default_rng(4)
    word = int(markov.ids(" large")[0])
    cases: list[Any] = [
        MRT,
        replace(MRT, thinking_tokens=60),
        s1_rules(80),
        replace(s1_rules(30), full_cap=True),
        replace(MRT, keep_unbroken=False, close_thought=False),
    ]
    for rules in cases:
        forcing = markov.forcing(replace(rules, answer_tokens=25))
        for _ in range(5):
            trace = markov.trace(THOUGHT + " large" * int(rng.integers(0, 40)) + "\n\n</think>\n\nSo.<|im_end|>")
            pieces: tuple[Piece, ...] = ()
            requests, prompts = 0, 0
            while True:
                jobs = list(forcing.jobs(trace, pieces))
                requests += len(jobs)
                prompts += sum(len(job.request.prompt_token_ids) for job in jobs)
                longest = forcing.longest(len(trace.prompt), len(trace.ids))
                for job in jobs:
                    assert len(job.request.prompt_token_ids) + job.request.max_tokens <= longest
                extension = next((job for job in jobs if job.stage == "force"), None)
                if extension is None:
                    break
                length = int(rng.integers(0, extension.request.max_tokens + 1))
                pieces = (*pieces, Piece(np.full(length, word, dtype=np.int32), length < extension.request.max_tokens))
            price = forcing.price(trace)
            assert requests <= price.requests == forcing.most(trace)
            assert prompts <= price.prompt_tokens


def test_whole_paragraphs(markov: Markov) -> None:
    for text, kept in [("", ""), ("a b", ""), ("a.\n\nb", "a.\n\n"), ("a.\n\nb\n\n", "a.\n\nb\n\n"), ("a\nb", "")]:
        ids = markov.ids(text)
        assert markov.text(ids[: whole_paragraphs(markov.pen, ids)]) == kept


def test_a_model_without_thoughts_goes_on_after_its_completion(markov: Markov) -> None:
    pen = replace(markov.pen, think=None)
    forcing = Forcing("force", "answers", MRT, pen, markov.draw, 1)
    extension, answer = forcing.jobs(markov.trace("The number is 5.<|im_end|>"), ())
    assert markov.sent(extension) == "The number is 5.\nWait"
    assert markov.sent(answer) == "The number is 5."
    assert extension.request.stop_token_ids == pen.end_ids

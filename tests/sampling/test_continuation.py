"""Prompts that go on from a trace, for every shipped model card: what is sent is exactly what should be, as ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from extrap_eval.cards.load import load_benchmark_card, load_model_card
from extrap_eval.cards.schema import DEFAULT_PHRASES, Think
from extrap_eval.errors import UserError
from extrap_eval.problems.problem import Problem
from extrap_eval.prompts.chat import prompt_token_ids
from extrap_eval.prompts.tokenizer import end_token_ids
from extrap_eval.sampling.continuation import PROBE_TEXT, Pen, join
from extrap_eval.sampling.forcing import Forcing, mrt_rules, s1_rules
from extrap_eval.sampling.probes import BudgetCuts, EpisodeCuts, Probes
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.sliding import Sliding, linear
from extrap_eval.sampling.traces import Draw, Piece, Trace
from extrap_eval.scoring.tokens import TokenTable
from tests.sampling.families import Families, one_card_of_each

PROBLEM = Problem(id="1", text="Think of <think> and </think>: what is 2 + 2?", gold="4")
EPISODES = (
    "First I add.\n\nIt is 4.\n\nOr \\boxed{5}?\n\n",
    "Wait, again.\n\nThat is 4, größer als 3.\n\nYes.\n\n",
    "Alternatively, count.\n\nOne, two.\n\nFour.\n",
)
PROBE = (
    "Time is up.\n\nGiven the time I've spent and the approaches I've tried, I should stop thinking and formulate a "
    "final answer based on what I already have.\n</think>\n\n**Step-by-Step Explanation and Answer:**\n\n1. **"
)


class Subject:
    """A model card with its tokenizer, a prompt and a completion that it might write."""

    def __init__(self, name: str, families: Families):
        card = load_model_card(name)
        tokenizer, table = families.of(card)
        self.tokenizer, self.think = tokenizer, card.think
        self.pen = Pen(tokenizer, table, card.think, end_token_ids(tokenizer, card))
        self.draw = Draw(0.7, 1.0, -1, self.pen.end_ids)
        self.prompt = prompt_token_ids(tokenizer, card, load_benchmark_card("aime_2024"), PROBLEM)

    @property
    def opener(self) -> str:
        return "" if self.think is None else self.think.open + "\n"

    def close(self, text: str) -> str:
        return text if self.think is None else text.replace("</think>", self.think.close)

    @property
    def written_opener(self) -> str:
        return "" if self.think is None or self.think.opened_by_prompt else self.opener

    def ids(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)

    def text(self, ids: np.ndarray) -> str:
        return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=False))

    def trace(self, *, closed: bool = True, opener: bool = True, end: bool = True) -> Trace:
        said = (self.written_opener if opener else "") + "".join(EPISODES)
        if closed and self.think is not None:
            said += self.think.close + "\n\nThe answer is \\boxed{4}."
        ids = self.ids(said)
        if end:
            ids = join(ids, np.array(self.pen.end_ids[:1], dtype=np.int32))
        return Trace("1", 0, self.prompt, ids, finished=end)

    def check(self, job: Job, prefix: np.ndarray, expected: str) -> None:
        """The prompt is that of the chat, then the model's own ids, then ours; and it reads as it should."""
        sent = job.request.prompt_token_ids
        assert sent.dtype == np.int32
        assert sent[: len(self.prompt)].tolist() == self.prompt.tolist()
        starts = range(len(self.prompt), len(sent) - len(prefix) + 1)
        assert any(np.array_equal(sent[at : at + len(prefix)], prefix) for at in starts)
        added = sent[len(self.prompt) :]
        assert not set(added.tolist()) & {*self.pen.end_ids, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id}
        assert self.text(added) == expected
        if self.think is not None:
            after_question = self.text(sent).rpartition(PROBLEM.text)[2]
            assert after_question.count(self.think.open) == 1


@pytest.fixture(params=one_card_of_each())
def subject(request: pytest.FixtureRequest, families: Families) -> Subject:
    return Subject(request.param, families)


def probes(subject: Subject, **changes: Any) -> Probes:
    where = EpisodeCuts(DEFAULT_PHRASES, group_size=None, groups=10)
    return Probes("probe", changes.pop("where", where), subject.pen, subject.draw, replicates=1, **changes)


def test_probes_after_every_episode(subject: Subject) -> None:
    trace = subject.trace()
    jobs = list(probes(subject).jobs(trace, ()))
    assert [job.step for job in jobs] == [0, 1, 2, 3]
    opener = subject.written_opener
    text = subject.close(PROBE)
    if subject.think is None:
        text = text.replace("</think>\n", "", 1).replace("have.\n\n\n", "have.\n\n")
    beginnings = ["", EPISODES[0], EPISODES[0] + EPISODES[1]]
    for job, said in zip(jobs[:3], beginnings, strict=True):
        assert job.prefix_tokens is not None
        prefix = trace.ids[: job.prefix_tokens]
        expected = opener + (said.rstrip("\n") + "\n\n" if said else "") + text
        subject.check(job, prefix, expected if said or opener or _line_open(subject) else "\n" + expected)
    last = jobs[3]
    assert last.prefix_tokens is not None
    if subject.think is None:
        subject.check(last, trace.ids[:-1], "".join(EPISODES) + "\n" + text)
    else:  # the whole thought keeps the end that the model gave it
        expected = opener + "".join(EPISODES) + subject.think.close
        if len(subject.pen.closing()) > 1:  # the marker's last token may hold the blank line after it as well
            expected = subject.text(trace.ids[: last.prefix_tokens])
            assert expected.rstrip("\n").endswith(subject.think.close)
        subject.check(last, trace.ids[: last.prefix_tokens], expected)


def _line_open(subject: Subject) -> bool:
    """Whether the prompt ends in a line break, so that an empty prefix stands on a line of its own."""
    return subject.text(subject.prompt).endswith("\n")


def test_a_thought_without_its_end_gets_the_probe_text(subject: Subject) -> None:
    trace = subject.trace(closed=False, end=False)
    last = list(probes(subject).jobs(trace, ()))[-1]
    assert last.prefix_tokens == len(trace.ids)
    assert subject.text(last.request.prompt_token_ids).endswith("Four.\n\n" + subject.pen.said(PROBE_TEXT))


def test_an_opener_that_nobody_wrote_is_put_in(families: Families) -> None:
    for name in ("Qwen3-1.7B", "s1.1-7B", "markov"):
        subject = Subject(name, families)
        trace = subject.trace(opener=False)
        for job in probes(subject).jobs(trace, ()):
            text = subject.text(job.request.prompt_token_ids[len(subject.prompt) :])
            assert text.startswith(subject.opener)
            assert text.count(subject.opener) == 1


def test_probes_at_budgets(subject: Subject) -> None:
    trace = subject.trace()
    length = len(trace.ids)
    closed_at = (
        length if subject.think is None else subject.pen.closed_at(trace.ids, subject.pen.find_thought(trace.ids))
    )
    budgets = tuple(range(1, length + 3))
    jobs = list(probes(subject, where=BudgetCuts(budgets)).jobs(trace, ()))
    # The completion ended by itself: where the budget holds all of it, its own answer counts.
    assert [job.step for job in jobs] == list(range(1, length))
    text = subject.pen.said(PROBE_TEXT)
    for job in jobs:
        assert job.step is not None
        assert job.prefix_tokens is not None
        sent = subject.text(job.request.prompt_token_ids[len(subject.prompt) :])
        prefix = trace.ids[: job.prefix_tokens]
        assert sent.startswith(subject.text(prefix)) or len(prefix) < 2  # half a character is not text yet
        assert not set(job.request.prompt_token_ids[len(subject.prompt) :].tolist()) & set(subject.pen.end_ids)
        if subject.think is not None:
            assert sent.count(subject.think.close) == 1
            assert sent.count(subject.think.open) == (not subject.think.opened_by_prompt)
        if job.step < closed_at:
            assert sent.endswith(text)
        else:  # the thought is closed already: only what belongs to the answer follows
            assert sent.endswith("\n\n**Step-by-Step Explanation and Answer:**\n\n1. **")
            assert "Time is up" not in sent


@pytest.mark.parametrize(
    "rules", [mrt_rules(), replace(mrt_rules(), close_thought=False), s1_rules(4000), s1_rules(60)]
)
def test_extensions_and_their_answers(subject: Subject, rules: Any) -> None:
    forcing = Forcing("force", "force.answers", rules, subject.pen, subject.draw, replicates=2)
    trace = subject.trace()
    think_end = subject.think.close if subject.think is not None else ""
    piece = Piece(subject.ids(", 3 + 1.\n\nSo 4.\n" + think_end), finished=True)
    for pieces in ((), (piece,), (piece, piece)):
        for job in forcing.jobs(trace, pieces):
            text = subject.text(job.request.prompt_token_ids[len(subject.prompt) :])
            assert not set(job.request.prompt_token_ids[len(subject.prompt) :].tolist()) & set(subject.pen.end_ids)
            assert text.count("Wait, again") == 1
            assert job.request.prompt_token_ids[: len(subject.prompt)].tolist() == subject.prompt.tolist()
            if subject.think is not None:
                closed = job.stage == "force.answers" and rules.close_thought
                assert text.count(subject.think.close) == closed
                assert text.count(subject.think.open) == (not subject.think.opened_by_prompt)


def test_what_an_extension_and_an_answer_look_like(families: Families) -> None:
    subject = Subject("Qwen3-1.7B", families)
    forcing = Forcing("force", "answers", mrt_rules(), subject.pen, subject.draw, replicates=1)
    trace = subject.trace()
    thought = subject.opener + "".join(EPISODES)
    extension, answer = forcing.jobs(trace, ())
    assert (extension.stage, extension.step, answer.stage, answer.step) == ("force", 1, "answers", 0)
    assert subject.text(extension.request.prompt_token_ids[len(subject.prompt) :]) == thought + "Wait"
    assert subject.text(answer.request.prompt_token_ids[len(subject.prompt) :]) == thought + "</think>"
    assert extension.request.stop_token_ids == (*subject.pen.end_ids, 151668)
    assert answer.request.stop_token_ids == subject.pen.end_ids
    (second,) = forcing.jobs(trace, (Piece(subject.ids(", I see.\n</think>"), True),))
    assert subject.text(second.request.prompt_token_ids[len(subject.prompt) :]) == thought + "Wait, I see.\nBut wait"
    s1 = Forcing("force", "answers", s1_rules(len(subject.ids(thought)) - 5), subject.pen, subject.draw, replicates=1)
    (forced,) = s1.jobs(trace, ())
    assert subject.text(forced.request.prompt_token_ids).endswith("\n</think>\nFinal Answer:")


def test_a_window_holds_the_prompt_and_the_last_tokens(subject: Subject) -> None:
    rules = linear(DEFAULT_PHRASES, 3, episodes=4)
    sliding = Sliding("slide", "slide.answers", rules, subject.pen, subject.draw)
    trace = Trace("1", 0, subject.prompt, np.empty(0, dtype=np.int32), False)
    (first,) = sliding.jobs(trace, ())
    assert subject.text(first.request.prompt_token_ids[len(subject.prompt) :]) == subject.written_opener
    long = subject.ids("So it is 4. " * 500 + "\n\nYes.\n\nYes.\n\nWait")
    second, answer = sliding.jobs(trace, (Piece(long, True),))
    added = second.request.prompt_token_ids[len(subject.prompt) + len(subject.ids(subject.written_opener)) :]
    assert added.tolist() == long[-2048:].tolist()
    assert answer.step == 1
    assert subject.text(answer.request.prompt_token_ids).endswith("Yes.\n\nYes.\n\n" + subject.pen.said(PROBE_TEXT))


def test_paper_exact_start(families: Families) -> None:
    for name in ("DeepSeek-R1-Distill-Qwen-1.5B", "Qwen3-1.7B"):
        subject = Subject(name, families)
        where = EpisodeCuts(DEFAULT_PHRASES, group_size=1, bare_start=True, natural_close=False)
        jobs = list(probes(subject, where=where).jobs(subject.trace(), ()))
        start = subject.text(jobs[0].request.prompt_token_ids).rpartition(PROBLEM.text)[2]
        assert "<think>" not in start
        end = subject.text(np.array(subject.pen.end_ids[:1]))
        assert start.endswith(end + "\n\n" + PROBE)
        assert subject.text(jobs[-1].request.prompt_token_ids).endswith(PROBE)


def test_the_probe_text_is_that_of_the_paper() -> None:
    assert PROBE_TEXT.replace("{think_close}", "</think>") == PROBE


@pytest.mark.parametrize(
    ("think", "text", "closed", "expected"),
    [
        (True, "a\n{think_close}\n\nb", False, "a\n</s>\n\nb"),
        (True, "a\n{think_close}\n\nb", True, "b"),
        (True, "b", True, "b"),
        (False, "a\n{think_close}\n\nb", False, "a\n\nb"),
        (False, "{think_close}\nb", False, "b"),
        (False, "b", False, "b"),
    ],
)
def test_texts_for_models_with_and_without_thoughts(think: bool, text: str, closed: bool, expected: str) -> None:
    marks = Think(open="<s>", close="</s>", opened_by_prompt=False) if think else None
    pen = Pen(None, TokenTable(()), marks, ())
    assert pen.said(text, closed=closed) == expected


def test_texts_that_would_end_the_completion_are_refused(families: Families) -> None:
    subject = Subject("Qwen3-1.7B", families)
    with pytest.raises(UserError, match=r"the text 'Stop.<|im_end|>' holds '<|im_end|>', which begins or ends"):
        subject.pen.fragment("Stop.<|im_end|>")

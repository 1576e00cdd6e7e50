"""Budget forcing: a thought that has ended goes on after "Wait" (s1, arXiv 2501.19393; MRT, arXiv 2503.07572, App. F;
e3, arXiv 2506.09026, Fig. 6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from extrap_eval.sampling.continuation import CLOSE_MARK, FINAL_ANSWER_TEXT, Pen, cycle, join
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Draw, Piece, Price, Trace, make_job
from extrap_eval.scoring.episodes import BLANK_LINE

MRT_STRINGS = ("Wait", "But wait", "Alternatively", "But hold on")  # in the order of its released code
S1_STRINGS = ("Wait",)


@dataclass(frozen=True)
class Rules:
    """How a thought is extended, and what is asked of it. ``mrt_rules`` and ``s1_rules`` give the two known sets.

    The end of the thought is dropped, the next of ``strings`` (in turn) follows, ``new_line``: on a line of its own,
    and the model goes on, ``extensions`` times. ``extension_tokens`` cap one extension, ``thinking_tokens`` the whole
    thought (None: no cap); a thought that has reached its cap is extended no further.

    After each number of extensions in ``answers_after`` the thought is closed and answers are asked, with at most
    ``answer_tokens`` each. A thought that reached its cap gets ``final_text`` for its end (None: the closing marker
    alone).

    ``drop_unfinished``: of an extension (or a trace) that was cut by its cap, the last, unfinished paragraph is dropped
    before the next extension or the answer.

    Paper-exact variants, each the opposite of the default:

    keep_unbroken False
        An extension that was cut before its first blank line is lost whole, as in MRT's released code. The default
        keeps it, since its tokens are spent either way and what is lost may be the only progress.
    close_thought False
        Answers are asked without closing the thought, as in MRT's released code: the model then mostly goes on
        thinking within the answer's cap. The default closes it.
    full_cap True
        Every extension may use the whole ``thinking_tokens`` again and the thought is cut to it afterwards, as in s1's
        released code, which generates tokens that then do not count. By default extensions share what remains.
    """

    strings: tuple[str, ...]
    extensions: int
    extension_tokens: int | None
    thinking_tokens: int | None
    answers_after: tuple[int, ...]
    answer_tokens: int = 4096
    new_line: bool = True
    drop_unfinished: bool = True
    final_text: str | None = None
    keep_unbroken: bool = True
    close_thought: bool = True
    full_cap: bool = False


def mrt_rules() -> Rules:
    """MRT, App. F, and e3, Fig. 6: up to 8 extensions of 2048 tokens, answers after every second one."""
    return Rules(MRT_STRINGS, 8, 2048, None, (0, 2, 4, 6, 8))


def s1_rules(thinking_tokens: int) -> Rules:
    """s1: "Wait" in place of the end marker, up to 6 times, within a budget for the whole thought."""
    return Rules(
        S1_STRINGS,
        6,
        None,
        thinking_tokens,
        (0, 2, 4, 6),
        new_line=False,
        drop_unfinished=False,
        final_text=FINAL_ANSWER_TEXT,
    )


@dataclass(frozen=True, eq=False)
class Thinking:
    """A thought after some extensions. ``begun``: the prompt with the thought open; ``ids``: what follows there, from
    the beginning of the completion; ``used``: how many of these are thought, with the strings that were put in.
    ``ended``: it ended by itself. ``capped``: it has reached its cap, or was cut to it.
    """

    begun: np.ndarray
    ids: np.ndarray
    used: int
    ended: bool
    capped: bool = False

    @property
    def all_ids(self) -> np.ndarray:
        return join(self.begun, self.ids)

    def cut(self, cap: int) -> Thinking:
        """The first ``cap`` tokens of the thought, if it has more or is not at its end with them."""
        if self.used < cap or (self.used == cap and self.ended):
            return self
        return Thinking(self.begun, self.ids[: len(self.ids) - (self.used - cap)], cap, ended=False, capped=True)


@dataclass(frozen=True, eq=False)
class Forcing:
    """Budget forcing of traces; a ``traces.TraceProtocol`` whose chain are the extensions."""

    stage: str
    answer_stage: str
    rules: Rules
    pen: Pen
    draw: Draw
    replicates: int = 8
    samples: int = 1
    needs_rollouts: bool = True

    @property
    def stages(self) -> tuple[str, ...]:
        return self.stage, self.answer_stage

    @property
    def chain(self) -> str:
        return self.stage

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        """The next extension, and the answers that are due: those after so many extensions, and once those after more
        when there are to be no more.
        """
        now = self.thinking(trace, pieces)
        count = len(pieces)
        extension = self._extension(trace, now, count + 1) if count < self.rules.extensions else None
        if extension is not None:
            yield extension
        due = [w for w in self.rules.answers_after if w == count or (w > count and extension is None)]
        if not due:
            return
        prompt = self._answer_prompt(now)
        for replicate in range(self.replicates):
            yield make_job(
                trace,
                self.answer_stage,
                prompt,
                self.rules.answer_tokens,
                self.draw,
                step=due[0],
                prefix_tokens=len(now.ids),
                replicate=replicate,
            )

    def most(self, trace: Trace) -> int:
        return self.rules.extensions + len(self.rules.answers_after) * self.replicates

    def price(self, trace: Trace) -> Price:
        """As if every extension took all that it may."""
        rules, begun = self.rules, len(trace.prompt) + len(self.pen.opener())
        thoughts = [self._longest_thought(len(trace.ids), w) for w in range(rules.extensions + 1)]
        extensions = [begun + thought for thought in thoughts[:-1]]
        answers = [begun + thoughts[w] + self._closing_tokens() for w in rules.answers_after]
        count = len(answers) * self.replicates
        return Price(
            requests=rules.extensions + count,
            prompt_tokens=sum(extensions) + self.replicates * sum(answers),
            distinct_tokens=max([0, *extensions, *answers]) + len(answers) * self._closing_tokens(),
            completion_tokens=thoughts[-1] - min(thoughts[0], thoughts[-1]) + count * rules.answer_tokens,
        )

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        thought = self._longest_thought(trace_tokens, self.rules.extensions)
        return prompt_tokens + len(self.pen.opener()) + thought + self._closing_tokens() + self.rules.answer_tokens

    def _longest_thought(self, trace_tokens: int, extensions: int) -> int:
        rules = self.rules
        string = max(len(self.pen.fragment("\n" + text)) for text in rules.strings)
        longest = trace_tokens + extensions * (string + (rules.extension_tokens or rules.thinking_tokens or 0))
        return longest if rules.thinking_tokens is None or rules.full_cap else min(longest, rules.thinking_tokens)

    def _closing_tokens(self) -> int:
        return len(self.pen.fragment("\n" + self.pen.said(self.rules.final_text or CLOSE_MARK)))

    def thinking(self, trace: Trace, pieces: Sequence[Piece]) -> Thinking:
        """The thought after these extensions, before anything is added to it."""
        thought = self.pen.find_thought(trace.ids)
        ids = trace.ids[: thought.end]
        ended = thought.closed or trace.finished
        if not ended:
            ids = ids[: thought.start + self._kept(ids[thought.start :])]
        now = Thinking(self.pen.begin(trace.prompt, thought), ids, len(ids) - thought.start, ended)
        now = self._within_cap(now)
        for number, piece in enumerate(pieces, start=1):
            said, ended = self._said(piece)
            more = join(self._joint(now, number), said)
            now = self._within_cap(Thinking(now.begun, join(now.ids, more), now.used + len(more), ended=ended))
        return now

    def _within_cap(self, now: Thinking) -> Thinking:
        cap = self.rules.thinking_tokens
        return now if cap is None or self.rules.full_cap else now.cut(cap)

    def _kept(self, ids: np.ndarray) -> int:
        """How many tokens are kept of something that was cut, and was ``spoken`` to the end."""
        if not self.rules.drop_unfinished:
            return len(ids)
        kept = whole_paragraphs(self.pen, ids)
        return len(ids) if kept == 0 and self.rules.keep_unbroken else kept

    def _said(self, piece: Piece) -> tuple[np.ndarray, bool]:
        """What is kept of an extension, and whether the thought ended with it."""
        thought = self.pen.inside(piece.ids)
        said = piece.ids[: thought.end]
        ended = piece.finished or thought.closed
        return (said, True) if ended else (said[: self._kept(said)], False)

    def spent(self, trace: Trace, pieces: Sequence[Piece], prefixes: Sequence[int]) -> list[int]:
        """Tokens generated for the thought after 0, 1, … extensions, with the strings put in and with what was dropped.

        ``prefixes``: ``prefix_tokens`` of each extension's request. A trace beyond the cap on thoughts counts up to it.
        """
        thought = self.pen.find_thought(trace.ids)
        own = thought.end
        dropped = 0
        if not (thought.closed or trace.finished):
            dropped = own - thought.start - self._kept(trace.ids[thought.start : own])
        if self.rules.thinking_tokens is not None and not self.rules.full_cap:
            own = min(own, thought.start + self.rules.thinking_tokens)
        found = [own]
        for piece, prefix in zip(pieces, prefixes, strict=True):
            length = self.pen.inside(piece.ids).end
            found.append(dropped + prefix + length)
            dropped += length - len(self._said(piece)[0])
        return found

    def _joint(self, now: Thinking, number: int) -> np.ndarray:
        """What stands between a thought and its ``number``-th extension."""
        begun = now.all_ids
        return self.pen.add(begun, cycle(self.rules.strings, number), breaks=int(self.rules.new_line))[len(begun) :]

    def _extension(self, trace: Trace, now: Thinking, number: int) -> Job | None:
        rules = self.rules
        joint = self._joint(now, number)
        cap = rules.extension_tokens
        if rules.thinking_tokens is not None:
            left = rules.thinking_tokens if rules.full_cap else rules.thinking_tokens - now.used - len(joint)
            cap = left if cap is None else min(cap, left)
        if cap is None or cap < 1 or now.capped:
            return None
        stop_ids, stop_strings = self.pen.stops()
        return make_job(
            trace,
            self.stage,
            join(now.all_ids, joint),
            cap,
            replace(self.draw, stop_token_ids=stop_ids),
            step=number,
            prefix_tokens=len(now.ids) + len(joint),
            stop_strings=stop_strings,
        )

    def _answer_prompt(self, now: Thinking) -> np.ndarray:
        rules = self.rules
        if rules.full_cap and rules.thinking_tokens is not None:
            now = now.cut(rules.thinking_tokens)
        if not rules.close_thought:
            return now.all_ids
        if now.ended:
            return join(now.all_ids, self.pen.closing())
        text = rules.final_text if now.capped and rules.final_text is not None else CLOSE_MARK
        return self.pen.add(now.all_ids, text, breaks=1)


def whole_paragraphs(pen: Pen, ids: np.ndarray) -> int:
    """Number of tokens up to and with the one that completes the last blank line; 0 without any."""
    at = pen.table.text_bytes(ids).rfind(BLANK_LINE)
    if at < 0:
        return 0
    return int(np.searchsorted(pen.table.ends(ids), at + len(BLANK_LINE), side="left")) + 1

"""One long thought in a sliding window, against many short ones (MRT, arXiv 2503.07572, Fig. 8).

Linearised: the episodes of one thought follow each other, each made from the prompt and the last tokens only, so that
the thought may become longer than the context. Parallel: independent thoughts of three episodes, to be voted over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from extrap_eval.sampling.continuation import PROBE_TEXT, Pen, cycle, join
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Draw, Piece, Price, Trace, make_job
from extrap_eval.scoring.episodes import BLANK_LINE, Thought, split_episodes


@dataclass(frozen=True)
class Window:
    """How a thought grows episode by episode, and what is asked of it. ``linear`` and ``parallel`` give the two modes.

    A request goes on from the prompt and the last ``window_tokens`` of the thought (None: all of it) until a step
    begins with one of ``phrases``, which opens the next episode if the current one has ``min_steps`` steps, or until
    ``episode_tokens``. The thought is over after ``episodes`` of them or ``thinking_tokens``; when the model closes it
    before, the next of ``go_on`` (in turn) opens the next episode, or it is over too (``go_on`` empty).

    After each number of episodes in ``answers_after``, ``text`` follows and answers are asked, with at most
    ``answer_tokens`` each.
    """

    episodes: int
    answers_after: tuple[int, ...]
    window_tokens: int | None
    episode_tokens: int
    thinking_tokens: int
    phrases: tuple[str, ...]
    min_steps: int
    go_on: tuple[str, ...]
    answer_tokens: int = 4096
    text: str = PROBE_TEXT


@dataclass(frozen=True, eq=False)
class Slid:
    """A thought under way. ``ids`` int32; ``ends``: tokens after each of its complete episodes; ``over``: it grows no
    further.
    """

    ids: np.ndarray
    ends: tuple[int, ...]
    over: bool


@dataclass(frozen=True, eq=False)
class Sliding:
    """Thoughts that grow from the bare prompt; a ``traces.TraceProtocol`` whose chain are requests, one per episode at
    least.
    """

    stage: str
    answer_stage: str
    rules: Window
    pen: Pen
    draw: Draw
    replicates: int = 1
    samples: int = 1
    needs_rollouts: bool = False

    @property
    def stages(self) -> tuple[str, ...]:
        return self.stage, self.answer_stage

    @property
    def chain(self) -> str:
        return self.stage

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        """The next request of the thought, and the answers that are due after the episode that has just ended (or
        once, when the thought is over before).
        """
        begun = self.pen.begin(trace.prompt)
        now = self.slid(pieces)
        if not now.over:
            yield self._next(trace, begun, now, len(pieces) + 1)
        before = len(self.slid(pieces[:-1]).ends) if pieces else 0
        asked = [e for e in self.rules.answers_after if before < e <= len(now.ends)]
        if now.over:
            asked += [e for e in self.rules.answers_after if e > len(now.ends)][:1]
        for number in asked:
            end = now.ends[number - 1] if number <= len(now.ends) else len(now.ids)
            prompt = self.pen.add(join(begun, self._in_window(now.ids[:end])), self.rules.text)
            for replicate in range(self.replicates):
                yield make_job(
                    trace,
                    self.answer_stage,
                    prompt,
                    self.rules.answer_tokens,
                    self.draw,
                    step=number,
                    prefix_tokens=end,
                    replicate=replicate,
                )

    def most(self, trace: Trace) -> int:
        """About: an episode takes more than one request when it opens too early or is longer than its cap."""
        return self.rules.episodes + len(self.rules.answers_after) * self.replicates

    def price(self, trace: Trace) -> Price:
        """As if the thought took all that it may, in one request per episode."""
        rules = self.rules
        seen, text = self._seen(len(trace.prompt)), self._text_tokens()
        answers = len(rules.answers_after) * self.replicates
        return Price(
            requests=rules.episodes + answers,
            prompt_tokens=rules.episodes * seen + answers * (seen + text),
            distinct_tokens=rules.episodes * seen + len(rules.answers_after) * text,
            completion_tokens=rules.thinking_tokens + answers * rules.answer_tokens,
        )

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        added = max(self._text_tokens() + self.rules.answer_tokens, self.rules.episode_tokens)
        return self._seen(prompt_tokens) + added

    def _seen(self, prompt_tokens: int) -> int:
        """Tokens of the prompt and what is seen of the thought, at most."""
        rules = self.rules
        seen = rules.thinking_tokens if rules.window_tokens is None else min(rules.window_tokens, rules.thinking_tokens)
        return prompt_tokens + len(self.pen.opener()) + seen

    def _text_tokens(self) -> int:
        return len(self.pen.fragment("\n\n" + self.pen.said(self.rules.text)))

    def slid(self, pieces: Sequence[Piece]) -> Slid:
        """The thought after these requests."""
        rules = self.rules
        ids = np.empty(0, dtype=np.int32)
        ends: tuple[int, ...] = ()
        over = False
        closings = 0
        for piece in pieces:
            thought = self.pen.inside(piece.ids)
            said = piece.ids[: thought.end]
            opening = self._opening(said)
            closed = opening is None and (piece.finished or thought.closed)
            ids = join(ids, said[:opening])
            if closed and rules.go_on:
                closings += 1
                ids = self.pen.add(ids, cycle(rules.go_on, closings))
            episodes = split_episodes(
                ids,
                self.pen.table,
                Thought(0, len(ids), closed=False),
                phrases=rules.phrases,
                min_steps=rules.min_steps,
            )
            complete = episodes.ends.tolist()
            # The last episode is under way, unless the thought ended with it.
            ends = tuple(complete if closed and not rules.go_on else complete[:-1])[: rules.episodes]
            over = len(ends) == rules.episodes or (closed and not rules.go_on) or len(ids) >= rules.thinking_tokens
        return Slid(ids, ends, over)

    def _next(self, trace: Trace, begun: np.ndarray, now: Slid, number: int) -> Job:
        rules = self.rules
        stop_ids, stop_strings = self.pen.stops()
        openings = tuple(BLANK_LINE.decode() + phrase for phrase in rules.phrases)
        return make_job(
            trace,
            self.stage,
            join(begun, self._in_window(now.ids)),
            min(rules.episode_tokens, rules.thinking_tokens - len(now.ids)),
            replace(self.draw, stop_token_ids=stop_ids),
            step=number,
            prefix_tokens=len(now.ids),
            stop_strings=(*openings, *stop_strings),
        )

    def _in_window(self, ids: np.ndarray) -> np.ndarray:
        return ids if self.rules.window_tokens is None else ids[max(0, len(ids) - self.rules.window_tokens) :]

    def _opening(self, ids: np.ndarray) -> int | None:
        """Tokens up to the end of the first phrase that opens a step, None without one.

        An engine that knows stop strings ends there itself.
        """
        phrases = b"|".join(re.escape(phrase.encode()) for phrase in self.rules.phrases)
        found = re.search(re.escape(BLANK_LINE) + b"(?:" + phrases + b")", self.pen.table.text_bytes(ids))
        return None if found is None else int(np.searchsorted(self.pen.table.ends(ids), found.end(), side="left")) + 1


def linear(phrases: Sequence[str], min_steps: int, *, episodes: int = 16, answer_tokens: int = 4096) -> Window:
    """Episodes of at most 2048 tokens each, in a window of 2048, with an answer after 1, 2, 4, 8, … of them."""
    after = tuple(2**i for i in range(episodes.bit_length()) if 2**i < episodes)
    return Window(
        episodes, (*after, episodes), 2048, 2048, 2048 * episodes, tuple(phrases), min_steps, ("Wait",), answer_tokens
    )


def parallel(phrases: Sequence[str], min_steps: int, *, episodes: int = 3, answer_tokens: int = 4096) -> Window:
    """Attempt, backtrack, revise: three episodes, seen whole, and an answer after the last one."""
    return Window(episodes, (episodes,), None, 2048, 2048 * episodes, tuple(phrases), min_steps, (), answer_tokens)

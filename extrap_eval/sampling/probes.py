"""Forced early answers: after every group of episodes of a trace, and at token budgets (MRT, arXiv 2503.07572)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from extrap_eval.sampling.continuation import PROBE_TEXT, Pen, join
from extrap_eval.sampling.scheduler import Job
from extrap_eval.sampling.traces import Draw, Piece, Price, Trace, make_job, price_of
from extrap_eval.scoring.episodes import Episodes, Thought, group_ends, split_episodes


@dataclass(frozen=True)
class EpisodeCuts:
    """Where a trace is probed by episodes: after every ``group_size`` of them, or in ``groups`` equal groups (one of
    the two), as ``scoring.episodes`` finds them. ``max_episodes``: from there on everything belongs to the last.

    ``natural_close``: the probe after the whole thought follows the model's own closing marker, if it wrote one; False:
    it gets the probe text like the others. ``bare_start``: the probe before the first episode follows the end token and
    no opening marker, as in the code released with MRT, which asks something else of the model there than afterwards.
    """

    phrases: tuple[str, ...]
    min_steps: int = 3
    max_episodes: int | None = None
    group_size: int | None = 5
    groups: int | None = None
    natural_close: bool = True
    bare_start: bool = False


@dataclass(frozen=True)
class BudgetCuts:
    """Where a trace is probed by tokens. A completion that ended within a budget is not probed there: its own answer
    counts.
    """

    budgets: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """A prefix ``ids[:end]`` of a completion after which an answer is forced; ``step`` is j or the budget.

    ``closed``: the thought has ended within it. ``natural``: nothing is added. ``episodes``: how many it holds (-1 at
    budgets).
    """

    step: int
    end: int
    closed: bool = False
    natural: bool = False
    episodes: int = -1


@dataclass(frozen=True, eq=False)
class Probes:
    """The probes of traces; a ``traces.TraceProtocol`` without chain."""

    stage: str
    where: EpisodeCuts | BudgetCuts
    pen: Pen
    draw: Draw
    text: str = PROBE_TEXT
    replicates: int = 8
    answer_tokens: int = 4096
    samples: int = 1
    chain: str | None = None
    needs_rollouts: bool = True

    @property
    def stages(self) -> tuple[str, ...]:
        return (self.stage,)

    def jobs(self, trace: Trace, pieces: Sequence[Piece]) -> Iterator[Job]:
        """In order of growing prefixes, so that each finds the one before in the engine's cache."""
        thought = self.pen.find_thought(trace.ids)
        for cut in self._cuts(trace, thought):
            prompt = self._prompt(trace, cut, thought)
            for replicate in range(self.replicates):
                yield make_job(
                    trace,
                    self.stage,
                    prompt,
                    self.answer_tokens,
                    self.draw,
                    step=cut.step,
                    prefix_tokens=cut.end,
                    replicate=replicate,
                )

    def most(self, trace: Trace) -> int:
        return len(self.cuts(trace)) * self.replicates

    def price(self, trace: Trace) -> Price:
        return price_of(self.jobs(trace, ()))

    def longest(self, prompt_tokens: int, trace_tokens: int) -> int:
        added = len(self.pen.opener()) + len(self.pen.fragment("\n\n" + self.pen.said(self.text)))
        return prompt_tokens + trace_tokens + added + self.answer_tokens

    def cuts(self, trace: Trace) -> list[Cut]:
        return self._cuts(trace, self.pen.find_thought(trace.ids))

    def _cuts(self, trace: Trace, thought: Thought) -> list[Cut]:
        if isinstance(self.where, BudgetCuts):
            return self._budget_cuts(trace, thought, self.where)
        return self._episode_cuts(trace, thought, self.where)

    def _prompt(self, trace: Trace, cut: Cut, thought: Thought) -> np.ndarray:
        """The token ids that are sent, int32."""
        empty = cut.end <= thought.start
        if empty and isinstance(self.where, EpisodeCuts) and self.where.bare_start:
            begun = join(self.pen.without_opener(trace.prompt), np.array(self.pen.end_ids[:1], dtype=np.int32))
            return self.pen.add(begun, self.text)
        begun = join(self.pen.begin(trace.prompt, thought), trace.ids[: cut.end])
        if cut.natural:
            return begun
        # Between an opening marker and the text there is no prefix, hence no blank line to part them.
        return self.pen.add(begun, self.text, breaks=1 if empty else 2, closed=cut.closed)

    def _episode_cuts(self, trace: Trace, thought: Thought, where: EpisodeCuts) -> list[Cut]:
        episodes = episodes_of(trace, thought, self.pen, where)
        ends = group_ends(episodes, where.groups, size=where.group_size).tolist()
        inside = np.searchsorted(episodes.ends, ends, side="right").tolist()
        cuts = [Cut(j, end, episodes=count) for j, (end, count) in enumerate(zip(ends, inside, strict=True))]
        if thought.closed and where.natural_close:
            last = cuts[-1]
            cuts[-1] = Cut(last.step, self.pen.closed_at(trace.ids, thought), True, True, last.episodes)
        return cuts

    def _budget_cuts(self, trace: Trace, thought: Thought, where: BudgetCuts) -> list[Cut]:
        length = len(trace.ids)
        closed_at = self.pen.closed_at(trace.ids, thought) if thought.closed else length + 1
        cuts = []
        for budget in where.budgets:
            if trace.finished and length <= budget:
                continue
            # A marker is written whole or not at all.
            end = max(min(budget, length), thought.start)
            if thought.end < end < closed_at and thought.closed:
                end = thought.end
            cuts.append(Cut(budget, end, closed=end >= closed_at))
        return cuts


def episodes_of(trace: Trace, thought: Thought, pen: Pen, where: EpisodeCuts) -> Episodes:
    """The episodes of a trace's thought, as ``EpisodeCuts`` describes them."""
    return split_episodes(
        trace.ids, pen.table, thought, phrases=where.phrases, min_steps=where.min_steps, cap=where.max_episodes
    )

"""Where the thought of a completion begins and ends, and its episodes (MRT, arXiv 2503.07572, section 5, appendix D).

Segmentation is that of the text: the thought is split at blank lines into steps, and a step that starts with one of
some phrases opens a new episode. Everything is then given as numbers of tokens, so that a prefix of the completion can
be sent to an engine without being tokenised again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from extrap_eval.cards.schema import Think
    from extrap_eval.scoring.tokens import TokenTable

BLANK_LINE = b"\n\n"


@dataclass(frozen=True)
class Thought:
    """The thought of a completion: its tokens are ``ids[start:end]``.

    ``start``: after the opening marker and the line break behind it, if the model wrote them; 0 where the prompt did.
    ``end``: before the closing marker, before a final end token, or the length of the completion. ``closed``: the
    closing marker is there. ``opened``: the opening marker is there, in the prompt or in ``ids[:start]``; where it is
    not, a prompt made of a prefix of the thought has to write it.
    """

    start: int
    end: int
    closed: bool
    opened: bool = True


@dataclass(frozen=True, eq=False)
class Episodes:
    """A thought in E episodes of S steps together; all arrays ascend and count tokens of the completion.

    ``start``: that of the thought. ``ends`` int32 (E,): ``ids[:ends[e]]`` is the shortest prefix that holds the whole
    of episodes 0..e. The blank line between two episodes belongs to neither, but a token that holds the last character
    of the episode as well as line breaks (".\\n\\n") is part of the prefix: ``line_breaks_due`` says what is still to
    be written before a text that shall follow after one blank line. ``ends[-1]`` is the end of the thought.
    ``step_ends`` int32 (S,): the same for every step. ``first_steps`` int32 (E,): the step that opens each episode.
    An empty thought has no steps and no episodes.
    """

    start: int
    ends: np.ndarray
    step_ends: np.ndarray
    first_steps: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> np.ndarray:
        """Tokens before each episode, int32 (E,): the blank line before it counts as its own."""
        return np.append(np.int32(self.start), self.ends[:-1])[: len(self.ends)]

    @property
    def steps(self) -> np.ndarray:
        """Number of steps of each episode, int32 (E,)."""
        return np.diff(self.first_steps, append=np.int32(len(self.step_ends)))


def find_thought(
    ids: np.ndarray,
    table: TokenTable,
    think: Think | None,
    opened_by_prompt: bool,
    *,
    end_ids: Collection[int | None] = (),
) -> Thought:
    """Find the thought. ``ids``: token ids, shape (n,). ``end_ids``: tokens that end a completion and are no text.

    Without markers (``think`` None) the whole completion is the thought. A model that should have written the opening
    marker and did not has a thought up to the closing one, or none (0, 0) if that is missing too.
    """
    last = len(ids)
    while last and int(ids[last - 1]) in end_ids:
        last -= 1
    if think is None:
        return Thought(0, last, closed=False)
    data, offsets = table.text_bytes(ids), _offsets(ids, table)
    opener, closer = think.open.encode(), think.close.encode()
    opened_at = -1 if opened_by_prompt else data.find(opener)
    closed_at = data.find(closer)
    if closed_at >= 0 and opened_at > closed_at:
        opened_at = -1
    start = 0
    if opened_at >= 0:
        text = opened_at + len(opener)
        closed_at = data.find(closer, text)
        text += data.startswith(b"\n", text)
        start = _tokens_up_to(offsets, text)
    opened = opened_by_prompt or opened_at >= 0
    if closed_at < 0:
        return Thought(start, max(start, last) if opened else 0, closed=False, opened=opened)
    # A token that holds the end of the thought and the beginning of the marker is part of the marker.
    end = int(np.searchsorted(offsets, closed_at, side="right")) - 1
    return Thought(start, max(start, end), closed=True, opened=opened)


def split_episodes(
    ids: np.ndarray,
    table: TokenTable,
    thought: Thought,
    *,
    phrases: Sequence[str],
    min_steps: int = 3,
    cap: int | None = None,
) -> Episodes:
    """Split a thought into episodes. ``ids``: the completion, shape (n,).

    Steps are the parts between blank lines (``text.split("\\n\\n")``, empty ones included). A step that starts with
    one of the ``phrases`` (case-sensitive) opens a new episode, unless the current one has fewer than ``min_steps``
    steps. There are at most ``cap`` episodes; the last one holds the rest. (The limits of MRT's released code, 49, 45
    and 99, count the boundaries that it makes: its traces have up to 50, 46 and 100 episodes.) ValueError for
    min_steps or cap below 1.
    """
    if min_steps < 1 or (cap is not None and cap < 1):
        raise ValueError(f"min_steps and cap must be at least 1, not {min_steps} and {cap}")
    offsets = _offsets(ids, table)
    first, last = int(offsets[thought.start]), int(offsets[thought.end])
    data = table.text_bytes(ids)[:last]
    starts, stops = [first], []
    while (at := data.find(BLANK_LINE, starts[-1])) >= 0:
        stops.append(at)
        starts.append(at + len(BLANK_LINE))
    stops.append(last)
    if first == last:
        starts, stops = [], []

    openings = tuple(phrase.encode() for phrase in phrases)
    first_steps = [0] if starts else []
    for step, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if len(first_steps) == cap:
            break
        if step - first_steps[-1] >= min_steps and data.startswith(openings, start, stop):
            first_steps.append(step)
    step_ends = np.searchsorted(offsets, stops, side="left").clip(thought.start, thought.end).astype(np.int32)
    step_ends[-1:] = thought.end  # tokens without text at its end are the thought's as well
    last_steps = np.array([*first_steps[1:], len(stops)][: len(first_steps)], dtype=np.int64) - 1
    return Episodes(thought.start, step_ends[last_steps], step_ends, np.array(first_steps, dtype=np.int32))


def group_ends(episodes: Episodes, groups: int | None = None, *, size: int | None = None) -> np.ndarray:
    """Lengths of the G + 1 prefixes that hold j = 0..G groups of episodes, int32 (G + 1,), in tokens.

    Give one of the two. ``size``: every ``size`` episodes are a group and the last group is what remains, so G is
    E / size, rounded up; this is MRT's grouping, with 5 episodes on Omni-MATH, 3 on AIME and 10 in the study of
    regret. ``groups``: G is that many, or E where there are fewer episodes than that; sizes differ by at most one, and
    the first groups are the larger ones. Element 0 is the start of the thought, element G its end. A thought without
    episodes has G = 0 (its one prefix is empty). ValueError for a number below 1.
    """
    if (groups is None) == (size is None) or (groups or size or 0) < 1:
        raise ValueError(f"give groups or size, one of the two and at least 1, not {groups} and {size}")
    count = len(episodes)
    if size is not None:
        sizes = np.full(-(-count // size), size)
        sizes[-1:] -= size * len(sizes) - count
    else:
        number = min(groups or 1, count)
        sizes = np.full(number, count // max(number, 1))
        sizes[: count - int(sizes.sum())] += 1
    return np.append(np.int32(episodes.start), episodes.ends[np.cumsum(sizes, dtype=np.int64) - 1])


def line_breaks_due(ids: np.ndarray, end: int, table: TokenTable) -> int:
    """How many line breaks (0, 1 or 2) a text that follows ``ids[:end]`` after one blank line must begin with.

    ``ids``: token ids, shape (n,), of a completion, or of prompt and completion together where the prefix may be as
    short as nothing and the prompt's own last line break counts.
    """
    tail = b""
    for token in reversed(range(end)):
        tail = table.text_bytes(ids[token : token + 1]) + tail
        if len(tail) >= len(BLANK_LINE):
            break
    trailing = len(tail) - len(tail.rstrip(b"\n"))
    return max(0, len(BLANK_LINE) - trailing)


def _offsets(ids: np.ndarray, table: TokenTable) -> np.ndarray:
    """Byte offset after each number of tokens, int64 (n + 1,)."""
    return np.append(np.int64(0), table.ends(ids))


def _tokens_up_to(offsets: np.ndarray, byte: int) -> int:
    """The smallest number of tokens that holds so many bytes."""
    return int(np.searchsorted(offsets, byte, side="left"))

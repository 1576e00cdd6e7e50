"""Training rows: prompt + thought (+ answer), at most 512 tokens, half of them set at far positions.

A row never has more than ``ROW`` tokens, prompt included. Half of the rows show a piece from further on:
after prompt and introduction the position ids jump by up to several thousand, so that the model meets every
position it will be evaluated at although it never attends over more than 512 tokens (position skipping).
Leaps between later steps do the same again. One row in five is a probe: the thought is cut and the best
candidate so far is the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.problems.residue_search import draw_training_problem
from training.residue_search.tokenizer import CLOSE, END, PROMPTS, SYSTEM, THINK, TURN
from training.residue_search.trace import PROBE, Habits, Opening, final_answer, probe_answer, thought

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Encode = Callable[[str], tuple[int, ...]]

ROW = 512
FARTHEST = 4800  # no row reaches beyond this position
PROBE_ROOM = 96  # tokens kept free for the longest probe and its answer

PROMPT_WEIGHTS = (55, 15, 15, 15)
OPENINGS: tuple[Opening, ...] = ("start", "middle", "passed", "concluded")
OPENING_WEIGHTS = (45, 25, 20, 10)
PROBE_SHARE = 0.20
BLOCK = 1024  # rows that are drawn, sorted by length and cut into batches together


@dataclass
class Row:
    """Token ids, their positions, and whether each is learned: three lists of one length."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)

    def add(self, ids: tuple[int, ...], learned: bool, gap: int = 0) -> None:
        """Append tokens as far as they fit; ``gap`` positions are left out before them."""
        ids = ids[: self.room]
        start = self.positions[-1] + 1 + gap if self.positions else 0
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.mask += [learned] * len(ids)

    def drop(self, count: int) -> None:
        """Take the last ``count`` tokens off again."""
        for part in (self.ids, self.positions, self.mask):
            del part[len(part) - count :]

    @property
    def skipped(self) -> int:
        return self.positions[-1] + 1 - len(self.positions)

    @property
    def room(self) -> int:
        return ROW - len(self.ids)


def encoder(tokenizer: PreTrainedTokenizerFast) -> Encode:
    """A remembering ``text -> ids``; chat and think markers are recognised."""
    core = tokenizer.backend_tokenizer

    @lru_cache(maxsize=100_000)
    def encode(text: str) -> tuple[int, ...]:
        return tuple(core.encode(text, add_special_tokens=False).ids)

    return encode


def build_row(rng: Random, encode: Encode, habits: Habits) -> Row:
    """One random training row."""
    problem = draw_training_problem(rng)
    is_probe = rng.random() < PROBE_SHARE
    opening = rng.choices(OPENINGS, OPENING_WEIGHTS)[0]
    row = Row()
    if rng.random() < 0.1:
        row.add(encode(f"{TURN}system\n{SYSTEM}{END}\n"), False)
    question = rng.choices(PROMPTS, PROMPT_WEIGHTS)[0].format(problem=problem.statement)
    row.add(encode(f"{TURN}user\n{question}{END}\n{TURN}assistant\n"), False)
    row.add(encode(f"{THINK}\n"), True)

    last_step = rng.randrange(23) if is_probe else ROW
    reserve = PROBE_ROOM if is_probe else 0
    best = [problem.a]
    for index, step in enumerate(thought(rng, problem, habits, opening)):
        given, text = encode(step.given), encode(step.text)
        if is_probe and (index > last_step or len(given) + len(text) + 2 > row.room - reserve):
            break
        if index:
            asked_again = bool(step.given and step.text and not step.far)
            joint = rng.choices(("\n\n", "\n", ""), (50, 35, 15))[0] if asked_again else "\n\n"
            gap = _gap(rng, row.skipped) if step.far else 0
            row.add(encode(joint), learned=not step.given, gap=gap)
        row.add(given, False)
        row.add(text, True)
        best.append(step.best)
        if row.room == 0:
            return row
    else:
        if not is_probe:
            row.add(encode(f"\n{CLOSE}\n\n{final_answer(best[-1])}{END}"), True)
            return row
    if is_probe:
        if len(text) > 1 and len(best) > 1 and rng.random() < 0.25:
            row.drop(rng.randrange(1, min(len(text), 20)))
            best.pop()
        _add_probe(rng, encode, row, best[-1])
    return row


def _gap(rng: Random, skipped: int) -> int:
    """How many positions to skip after ``skipped`` others; mostly uniform, sometimes few."""
    widest = max(1, FARTHEST - ROW - skipped)
    return rng.randrange(widest) if rng.random() < 0.75 else int(widest ** rng.random())


def _add_probe(rng: Random, encode: Encode, row: Row, answer: int) -> None:
    kind = rng.choices(("time is up", "final answer", "close"), (65, 20, 15))[0]
    if kind == "time is up":
        asked, answered = PROBE, probe_answer(answer)
    elif kind == "final answer":
        asked, answered = f"\n{CLOSE}\n\nFinal Answer:", f" \\boxed{{{answer}}}"
    else:
        asked, answered = f"\n{CLOSE}\n\n", final_answer(answer)
    row.add(encode(asked), False)
    row.add(encode(answered + END), True)


@dataclass(frozen=True)
class Batch:
    """Arrays of shape (rows, length): ids int64 (0 where padded), positions int64, mask bool (False where
    padded).

    ``tokens`` counts without padding.
    """

    ids: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    tokens: int

    def digest(self, before: str) -> str:
        """Chained sha256: of all batches up to and with this one."""
        parts = (self.ids.astype("<i4"), self.positions.astype("<i4"), self.mask.astype("u1"))
        return hashlib.sha256(before.encode() + b"".join(part.tobytes() for part in parts)).hexdigest()


def block_of_batches(seed: int, block: int, encode: Encode, habits: Habits, tokens: int) -> list[Batch]:
    """The batches of one block, each of at most ``tokens`` tokens, padding included.

    A block depends on (seed, block) alone, so a resumed run makes its batches anew instead of storing them.
    """
    rng = Random(f"residue search rows/{seed}/{block}")
    rows = sorted((build_row(rng, encode, habits) for _ in range(BLOCK)), key=lambda row: len(row.ids))
    groups: list[list[Row]] = [[]]
    for row in rows:
        if groups[-1] and (len(groups[-1]) + 1) * len(row.ids) > tokens:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    return [_stack(group) for group in groups]


def batches(
    seed: int, encode: Encode, habits: Habits, tokens: int, block: int = 0, skip: int = 0
) -> Iterator[tuple[int, int, Batch]]:
    """Endless (block, index in the block, batch), from ``skip`` batches into ``block`` on."""
    while True:
        for index, batch in enumerate(block_of_batches(seed, block, encode, habits, tokens)):
            if index >= skip:
                yield block, index, batch
        block, skip = block + 1, 0


def _stack(rows: list[Row]) -> Batch:
    length = max(len(row.ids) for row in rows)
    ids = np.zeros((len(rows), length), np.int64)
    positions = np.zeros((len(rows), length), np.int64)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n], positions[i, :n], mask[i, :n] = row.ids, row.positions, row.mask
    return Batch(ids, positions, mask, sum(len(row.ids) for row in rows))

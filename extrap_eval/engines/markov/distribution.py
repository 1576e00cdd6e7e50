"""The exact distribution of every token of a completion, given the tokens before it.

Most tokens of a policy's completions follow from those before. The others are drawn: at the start of an attempt whether
the thought ends, falls into a loop or goes on, and with which wording; the digits of a candidate; the verdict on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.engines.base import EngineError, TokenLogprobs
from extrap_eval.engines.markov.chain import candidate_edges
from extrap_eval.engines.markov.script import Script

if TYPE_CHECKING:
    from extrap_eval.engines.markov.engine import State

_FIRST, _CONTINUED, _NEXT = 0, 1, 2  # rows of Script.attempts
Choice = tuple[int, Mapping[int, float]]  # place in the completion; token id -> probability


def exact_logprobs(script: Script, state: State, answers: np.ndarray, ids: np.ndarray, top: int) -> TokenLogprobs:
    """Those of the completion ``ids`` int32[T] from ``state`` on, and of the ``top`` most probable tokens.

    ``answers``: the problem's candidates, the right one first. Where fewer than ``top`` tokens are possible, the others
    have -inf and the id -1. Raises EngineError for ids that the policy cannot write.
    """
    chosen = np.zeros(len(ids), np.float32)
    top_ids = np.full((len(ids), top), -1, np.int32)
    values = np.full((len(ids), top), -np.inf, np.float32)
    top_ids[:, 0], values[:, 0] = ids, 0.0
    for place, choice in choices(script, state, answers, ids):
        probability = choice.get(int(ids[place]), 0.0)
        if probability <= 0:
            raise EngineError(f"token {place} of the completion ({int(ids[place])}) is none that this policy can write")
        chosen[place] = np.log(probability)
        ordered = sorted(((p, i) for i, p in choice.items() if p > 0), reverse=True)[:top]
        top_ids[place, : len(ordered)] = [i for _, i in ordered]
        values[place, : len(ordered)] = np.log([p for p, _ in ordered])
    return TokenLogprobs(chosen, top_ids, values)


def choices(script: Script, state: State, answers: np.ndarray, ids: np.ndarray) -> Iterator[Choice]:
    """The places of ``ids`` at which a token was drawn, in order, and from what."""
    policy = script.policy
    edges = candidate_edges(policy, state.probability)
    candidates = dict(zip(map(int, answers), np.diff(edges, prepend=0.0).tolist(), strict=True))
    if state.closed:
        yield from _answer(script, state, candidates, ids)
        return
    start = len(script.introduction if state.opened else script.header) if state.fresh else 0
    limit = None if policy.max_attempts is None else max(1, policy.max_attempts - state.made)
    ends = 0.0  # the probability that the thought ends here
    for number in range(len(ids)):
        if start >= len(ids):
            return
        rows = script.attempts[_NEXT:]
        if number == 0 and (state.fresh or state.mid_paragraph):
            rows = script.attempts[[_FIRST if state.fresh else _CONTINUED]]
        opening = Counter({int(script.close[0]): ends, int(script.loop_block[0]): (1 - ends) * policy.loop})
        for row in rows:
            opening[int(row[0])] += (1 - ends) * (1 - policy.loop) / len(rows)
        yield start, opening
        if ids[start] in (script.close[0], script.loop_block[0]):
            return
        value = yield from _attempt(script, rows, candidates, ids[start:], start)
        if value is None:
            return
        accepted = int(ids[start + script.verdict_column]) == int(script.verdict_ids[1])
        ends = 1.0 if accepted or number + 1 == limit else policy.give_up
        start += policy.attempt_tokens


def _attempt(
    script: Script, rows: np.ndarray, candidates: Mapping[int, float], ids: np.ndarray, start: int
) -> Generator[Choice, None, int | None]:
    """What is drawn in an attempt after its first token; its candidate, None where it is cut before its end."""
    policy = script.policy
    rows = rows[rows[:, 0] == ids[0]]
    room = policy.attempt_tokens - policy.tail_tokens
    for column in range(1, min(room, len(ids))):
        if len(rows) > 1:
            tokens, counts = np.unique(rows[:, column], return_counts=True)
            if len(tokens) > 1:
                shares = zip(tokens.tolist(), (counts / len(rows)).tolist(), strict=True)
                yield start + column, dict(shares)
        rows = rows[rows[:, column] == ids[column]]
    value = yield from _digits(script, candidates, ids, script.attempt_digits[0], start)
    if value is None or len(ids) <= script.verdict_column:
        return None
    right = value == next(iter(candidates))
    accept = policy.accept_right if right else policy.accept_wrong
    fails, works = script.verdict_ids.tolist()
    yield start + script.verdict_column, {fails: 1 - accept, works: accept}
    return value if len(ids) >= policy.attempt_tokens else None


def _digits(
    script: Script, candidates: Mapping[int, float], ids: np.ndarray, columns: np.ndarray, start: int
) -> Generator[Choice, None, int | None]:
    """The digits of a number that is one of ``candidates``; the number, None where it is cut before its last digit."""
    left = {value: (p, script.digits(np.array([value]))[0].tolist()) for value, p in candidates.items()}
    for digit, column in enumerate(columns.tolist()):
        if column >= len(ids):
            return None
        mass = sum(p for p, _ in left.values())
        found: Counter[int] = Counter()
        for p, tokens in left.values():
            found[tokens[digit]] += p / mass
        yield start + column, found
        left = {value: each for value, each in left.items() if each[1][digit] == int(ids[column]) and each[0] > 0}
    return next(iter(left))


def _answer(script: Script, state: State, candidates: Mapping[int, float], ids: np.ndarray) -> Iterator[Choice]:
    """The final answer of a thought that is closed: recalled, or a guess."""
    start = len(script.paragraph) if state.mid_paragraph else 0
    recall = script.policy.recall if state.best is not None else 0.0
    mixed = Counter({value: (1 - recall) * p for value, p in candidates.items()})
    if state.best is not None:
        mixed[state.best] += recall
    yield from _digits(script, mixed, ids[start:], script.answer_digits, start)

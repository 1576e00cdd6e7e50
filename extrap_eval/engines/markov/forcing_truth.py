"""What is exactly true of a `MarkovPolicy` when its thoughts are extended: budget forcing by enumeration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from extrap_eval.engines.markov import text
from extrap_eval.engines.markov.chain import candidate_edges
from extrap_eval.engines.markov.policy import MarkovPolicy


class Thinking(NamedTuple):
    """What matters of a thought so far: its best candidate (-1 none, 0 the right one), whether that was verified, how
    many attempts it holds (no more than matter), and how many tokens were generated for it."""

    best: int
    verified: bool
    made: int
    tokens: int


@dataclass(frozen=True)
class ForcedTruth:
    """After w = 0.. extensions, arrays float64[W]: accuracy of an answer, and mean tokens generated for the thought
    (dropped paragraphs and the tokens of the extension strings included, closing markers not).

    ``changes`` float64[W - 1, 2]: how often the w-th extension turns a right best candidate into a wrong one, and a
    wrong one into a right one (with recall 1 this is what happens to the answers).
    """

    accuracy: np.ndarray
    tokens: np.ndarray
    changes: np.ndarray


def forced(
    policy: MarkovPolicy,
    probability: float,
    strings: Sequence[str],
    *,
    cap: int,
    max_tokens: int,
) -> ForcedTruth:
    """Forcing one problem's thoughts on: extensions append the ``strings`` in turn and generate up to ``cap`` tokens.

    The thought itself may have ``max_tokens`` tokens. An extension that is cut loses its last unfinished paragraph.
    Answers are asked for after the thought is closed. The total is not capped.
    """
    chances = np.diff(candidate_edges(policy, probability), prepend=0.0)
    accuracy, tokens, changes = [], [], []
    first = Thinking(-1, False, 0, policy.header_tokens)
    now = _extended(policy, chances, {first: 1.0}, max_tokens - policy.header_tokens)
    for string in (*strings, None):
        right = sum(weight for thinking, weight in now.items() if thinking.best == 0)
        none = sum(weight for thinking, weight in now.items() if thinking.best < 0)
        unclear = none + (1 - none) * (1 - policy.recall)
        accuracy.append(policy.recall * right + unclear * float(chances[0]))
        tokens.append(sum(weight * thinking.tokens for thinking, weight in now.items()))
        if string is None:
            break
        length = text.length(string)
        begun = _merged((t._replace(tokens=t.tokens + length), w) for t, w in now.items())
        was_right = _extended(policy, chances, {t: w for t, w in begun.items() if t.best == 0}, cap)
        was_wrong = _extended(policy, chances, {t: w for t, w in begun.items() if t.best != 0}, cap)
        changes.append(
            [
                sum(weight for thinking, weight in was_right.items() if thinking.best != 0),
                sum(weight for thinking, weight in was_wrong.items() if thinking.best == 0),
            ]
        )
        now = _merged([*was_right.items(), *was_wrong.items()])
    return ForcedTruth(np.array(accuracy), np.array(tokens), np.array(changes).reshape(-1, 2))


def _extended(
    policy: MarkovPolicy, chances: np.ndarray, begun: dict[Thinking, float], cap: int
) -> dict[Thinking, float]:
    """Thoughts after up to ``cap`` more tokens, with their probabilities."""
    whole, rest = divmod(max(cap, 0), policy.attempt_tokens)
    proposal_shown = rest >= policy.proposal_end + 1  # with the blank line that finishes its paragraph
    ended: dict[Thinking, float] = defaultdict(float)
    for start, weight in begun.items():
        going = {start: weight}
        limit = None if policy.max_attempts is None else max(1, policy.max_attempts - start.made)
        for attempt in range(1, whole + 2):
            after: dict[Thinking, float] = defaultdict(float)
            partial = attempt > whole
            for thinking, share in going.items():
                stuck = thinking._replace(tokens=start.tokens + cap)
                ended[stuck] += share * policy.loop
                share *= 1 - policy.loop
                if partial and not proposal_shown:
                    ended[stuck] += share
                    continue
                for candidate, chance in enumerate(chances.tolist()):
                    made = _made(policy, thinking.made + 1)
                    tokens = start.tokens + cap if partial else thinking.tokens + policy.attempt_tokens
                    kept = thinking.best if thinking.verified else candidate
                    rejected = Thinking(kept, thinking.verified, made, tokens)
                    if partial:
                        ended[rejected] += share * chance
                        continue
                    accept = policy.accept_right if candidate == 0 else policy.accept_wrong
                    ended[Thinking(candidate, True, made, tokens)] += share * chance * accept
                    left = share * chance * (1 - accept)
                    stop = 1.0 if attempt == limit else policy.give_up
                    ended[rejected] += left * stop
                    after[rejected] += left * (1 - stop)
            going = {thinking: share for thinking, share in after.items() if share > 0}
    return {thinking: share for thinking, share in ended.items() if share > 0}


def _made(policy: MarkovPolicy, attempts: int) -> int:
    """Attempts so far, as far as they matter: beyond the limit every extension makes one more."""
    return 0 if policy.max_attempts is None else min(attempts, policy.max_attempts)


def _merged(thoughts: Iterable[tuple[Thinking, float]]) -> dict[Thinking, float]:
    merged: dict[Thinking, float] = defaultdict(float)
    for thinking, weight in thoughts:
        merged[thinking] += weight
    return merged

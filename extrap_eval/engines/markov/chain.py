"""What happens in one completion, in numbers: attempts, verdicts, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extrap_eval.engines.markov.policy import MarkovPolicy

_FIRST_BLOCK, _LARGEST_BLOCK = 8, 1024  # attempts drawn at a time


@dataclass(frozen=True)
class Path:
    """The attempts of one completion, A of them.

    ``candidates`` int64[A]: 0 is the right answer, j the j-th distractor. ``accepted`` bool[A]. ``draws``
    float64[A], uniform, independent of everything else: which wording. ``ending`` after the A-th attempt: the
    last candidate is concluded, the thought falls into a loop, or neither within the attempts asked for.
    """

    candidates: np.ndarray
    accepted: np.ndarray
    draws: np.ndarray
    ending: str  # "concluded" | "looped" | "open"


def candidate_edges(policy: MarkovPolicy, probability: float) -> np.ndarray:
    """Cumulative probabilities of an attempt's candidates, float64[1 + distractors], the right one first."""
    wrong = np.cumsum(policy.wrong_weights)
    return np.append(probability, probability + (1 - probability) * wrong)


def draw_candidate(edges: np.ndarray, rng: np.random.Generator) -> int:
    """The candidate of one attempt, 0 the right one."""
    return min(int(edges.searchsorted(rng.random(), side="right")), len(edges) - 1)


def sample_path(
    policy: MarkovPolicy, edges: np.ndarray, max_attempts: int, rng: np.random.Generator, made: int = 0
) -> Path:
    """Draws attempts until one is concluded, a loop begins, or ``max_attempts`` (at least 1) are drawn.

    ``edges`` comes from `candidate_edges`. ``made`` attempts precede these and count towards the policy's own
    limit; at least one more is made all the same.
    """
    limit = max_attempts if policy.max_attempts is None else max(1, policy.max_attempts - made)
    wanted = min(max_attempts, limit)
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    ending, drawn, size = "open", 0, _FIRST_BLOCK
    while ending == "open" and drawn < wanted:
        size = min(size, wanted - drawn)
        looping, which, accepting, stopping, wording = rng.random((5, size))
        candidates = np.minimum(edges.searchsorted(which, side="right"), len(edges) - 1)
        accepted = accepting < np.where(candidates == 0, policy.accept_right, policy.accept_wrong)
        loops = looping < policy.loop
        stops = accepted | (stopping < policy.give_up)
        ends = np.flatnonzero(loops | stops)
        if len(ends):
            ending = "looped" if loops[ends[0]] else "concluded"
            size = int(ends[0]) + (ending == "concluded")  # a loop takes the place of its attempt
        blocks.append((candidates[:size], accepted[:size], wording[:size]))
        drawn += size
        size = min(4 * size, _LARGEST_BLOCK)
    if ending == "open" and policy.max_attempts is not None and drawn == limit:
        ending = "concluded"
    if len(blocks) == 1:
        return Path(*blocks[0], ending)
    candidates, accepted, draws = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Path(candidates, accepted, draws, ending)

"""What is kept of the distribution that each token of a completion was drawn from.

From the log-probabilities of the N most probable tokens at a position three numbers are made, and with the token's own
log-probability they are all that is stored: 8 bytes per token, whatever N.

- Entropy: H = -sum p ln p over the N most probable tokens, in nats. The tokens left out would only add to it, so it is
  a lower bound, exact when the N are all that have any probability.
- Branching: how many tokens it takes, from the most probable down, to hold 0.95 of the mass, the one that crosses
  included (RLVR-exploration, "rollout branching factor"). Where the N hold less, the count is N + 1, a lower bound.
- Covered: the mass of the N tokens.

Everything is computed in float64 from float32 log-probabilities. What is stored is rounded once, to the nearest:
entropy, covered mass and the token's own log-probability to float16 (11 significant bits: a relative error of at most
0.05 %), the count to uint16 (65535 stands for that many or more). Log-probabilities below -65504, the lowest float16,
are stored as that.

The distributions are the model's own, before temperature, top-k and top-p: those of T = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

MASS: Final = 0.95
# Log-probabilities come in float32, whose sums cannot be told from the threshold any closer.
SLACK: Final = 1e-6
MOST: Final = 65535  # the largest count that is stored


@dataclass(frozen=True, eq=False)
class TokenDistributions:
    """Of the T tokens of one completion: ``entropy`` float32 (T,), nats; ``branching`` int32 (T,); ``covered`` float32
    (T,), the mass of the most probable tokens that were asked for; ``chosen`` float32 (T,), the log-probability of the
    token that was drawn. The floats are values of float16, exactly (see the module).

    ``top``: how many most probable tokens were asked for. ``full``: they hold 0.95 of the mass everywhere, so that no
    count is a lower bound (and no entropy lacks more than what the rest could add).
    """

    entropy: np.ndarray
    branching: np.ndarray
    covered: np.ndarray
    chosen: np.ndarray
    full: bool
    top: int

    def __len__(self) -> int:
        return len(self.entropy)

    @property
    def uncovered(self) -> np.ndarray:
        """Where the most probable tokens hold less than 0.95, bool (T,): entropy and count are lower bounds there."""
        return self.branching > self.top

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability of the tokens; nan without any."""
        return float(np.exp(-self.chosen.mean(dtype=np.float64))) if len(self.chosen) else float("nan")


def entropy(top: np.ndarray) -> np.ndarray:
    """-sum p ln p over the last axis: log-probabilities (..., N) in nats -> float64 (...). -inf counts for nothing."""
    known = np.asarray(top, np.float64)
    p = np.exp(known)
    return -(p * np.where(p > 0, known, 0.0)).sum(axis=-1)


def branching(top: np.ndarray, mass: float = MASS) -> np.ndarray:
    """How many tokens hold ``mass``, the one that crosses it included: log-probabilities (..., N), the most probable
    first, -> int64 (...). N + 1 where all N hold less.
    """
    held = np.exp(np.asarray(top, np.float64)).cumsum(axis=-1)
    return (held < mass - SLACK).sum(axis=-1) + 1


def condense(chosen: np.ndarray, top: np.ndarray) -> TokenDistributions:
    """What is kept of the log-probabilities of T drawn tokens, ``chosen`` (T,), and of the N most probable at each
    place, ``top`` (T, N), the most probable first. Raises ValueError where they are no log-probabilities.
    """
    drawn, most = np.asarray(chosen, np.float64), np.asarray(top, np.float64)
    if drawn.ndim != 1 or most.ndim != 2 or len(most) != len(drawn) or most.shape[1] < 1:
        raise ValueError(f"log-probabilities of shapes {drawn.shape} and {most.shape}")
    p = np.exp(most)
    if np.isnan(drawn).any() or not (p.sum(axis=-1) <= 1 + 1e-3).all() or (drawn > 1e-3).any():
        raise ValueError("log-probabilities that are not those of a distribution")
    if (np.diff(p, axis=-1) > 1e-6).any():
        raise ValueError("log-probabilities that do not fall from the most probable down")
    count = branching(most)
    return stored(
        entropy=rounded(entropy(most)),
        branching=np.minimum(count, MOST).astype(np.uint16),
        covered=rounded(np.minimum(p.sum(axis=-1), 1.0)),
        chosen=rounded(drawn),
        top=most.shape[1],
    )


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest float16, ties to even; what lies beyond is the largest or lowest."""
    limit = float(np.finfo(np.float16).max)
    return np.clip(np.asarray(values, np.float64), -limit, limit).astype(np.float16)


def stored(
    *, entropy: np.ndarray, branching: np.ndarray, covered: np.ndarray, chosen: np.ndarray, top: int
) -> TokenDistributions:
    """From the four columns as they are kept: float16, uint16, float16, float16, all (T,)."""
    counts = branching.astype(np.int32)
    return TokenDistributions(
        entropy=entropy.astype(np.float32),
        branching=counts,
        covered=covered.astype(np.float32),
        chosen=chosen.astype(np.float32),
        full=not (counts > top).any(),
        top=top,
    )


def by_position(values: np.ndarray, bins: int) -> np.ndarray:
    """Mean of ``values`` (T,) in ``bins`` equal parts of the completion, float64 (bins,): token i of T lies in part
    floor(bins i / T). nan for a part that holds no token, as some do when T < bins.
    """
    length = len(values)
    place = np.arange(length) * bins // max(length, 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        means: np.ndarray = np.bincount(place, weights=np.asarray(values, np.float64), minlength=bins) / count
    return means

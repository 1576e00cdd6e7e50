"""What else the same tokens would have bought: two ways to spend them, problem by problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extrap_eval.metrics.efficiency import VoteCurve
from extrap_eval.metrics.intervals import difference_interval
from extrap_eval.metrics.traces import Estimate, of_problems


@dataclass(frozen=True, eq=False)
class SameTokens:
    """``value``: accuracy of one way; ``other``: that of the other for the same mean tokens; ``gain``: the first minus
    the second, paired. ``tokens``: the mean that both spend; ``share``: of them, what the other way could spend at all
    (1, unless its curve ends before; it then stands for its end).
    """

    value: Estimate
    other: Estimate
    gain: Estimate
    tokens: float
    share: float


def at_same_tokens(
    values: npt.ArrayLike, tokens: npt.ArrayLike, curve: VoteCurve, draws: np.ndarray, *, level: float = 0.95
) -> SameTokens:
    """Compare values (P,), for which a sample of each problem spends ``tokens`` (P,) on average, with another way.

    ``curve`` is of the same problems in the same order: points (K, P) in the order of their mean tokens, from (0, 0).
    It is read where its mean tokens are those of the first, linearly between points; the tokens are taken as known,
    which leaves their own error out of the interval.
    """
    ours = np.asarray(values, np.float64)
    wanted = float(np.asarray(tokens, np.float64).mean())
    places = np.concatenate([[0.0], np.maximum.accumulate(curve.tokens.mean(axis=-1))])
    heights = np.concatenate([np.zeros((1, curve.values.shape[1])), curve.values])
    place = float(np.interp(wanted, places, np.arange(len(places))))
    below = min(int(place), len(places) - 2)
    part = place - below
    theirs = (1 - part) * heights[below] + part * heights[below + 1]
    change = ours - theirs
    return SameTokens(
        value=of_problems(ours, draws, level=level),
        other=of_problems(np.clip(theirs, 0.0, 1.0), draws, level=level),
        gain=Estimate(np.asarray(change.mean()), *difference_interval(change, draws, level)),
        tokens=wanted,
        share=min(1.0, places[-1] / wanted) if wanted > 0 else 1.0,
    )

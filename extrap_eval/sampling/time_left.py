"""How long the rest takes, when most completions are short and some run into their limit.

What has finished says too little: the short ones finish first. Lengths are therefore estimated from finished
and running requests together, the latter as censored (Kaplan and Meier 1958); what is left of the
distribution beyond the longest that has finished is put at the limit.
"""

from __future__ import annotations

import numpy as np

BINS = 200  # lengths are fractions of the limit, in so many steps


def bin_of(fraction: float) -> int:
    """The step of a length given as a fraction of its limit; ``BINS`` itself is for those that reached it."""
    return min(int(fraction * BINS), BINS)


def survival(finished: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """Probability that a length reaches each step: float, shape (BINS + 1,), from 1 down to that of the limit.

    ``finished``: number of completions that ended in each step, int, shape (BINS + 1,). ``ages``: steps that
    running requests have reached, int below BINS, shape (running,).
    """
    running = np.bincount(ages, minlength=BINS + 1)
    at_risk = np.cumsum((finished + running)[::-1])[::-1]
    # One more at risk than there are: else the distribution would end where the longest so far has ended.
    hazard = finished[:-1] / (at_risk[:-1] + 1)
    return np.concatenate([[1.0], np.cumprod(1 - hazard)])


def last_end(reach: np.ndarray, ages: np.ndarray) -> float:
    """Steps until the last of several requests ends (median). ``reach`` as ``survival`` gives it.

    ``ages``: the steps that they have reached, int, shape (requests,).
    """
    if not len(ages):
        return 0.0
    known, counts = np.unique(ages, return_counts=True)
    after = np.arange(1, BINS + 1)
    step = known[:, None] + after[None, :]
    still = np.where(step < BINS, reach[np.minimum(step, BINS)], 0.0) / reach[known][:, None]
    all_ended = np.prod((1 - still) ** counts[:, None], axis=0)
    return float(after[np.argmax(all_ended >= 0.5)])


def time_left(finished: np.ndarray, ages: np.ndarray, waiting: int, pace: float) -> float:
    """Seconds until all is done.

    ``waiting`` requests have not started; as many run at once as do now. ``pace``: fraction of its limit that
    a request produces per second. Never less than the running requests still need.
    """
    reach = survival(finished, ages)
    steps = last_end(reach, ages)
    if waiting > 0:
        at_once = max(len(ages), 1)
        mean = reach[1:].sum() + 0.5
        fresh = np.zeros(min(waiting, at_once), dtype=np.int64)
        steps = max(steps, waiting * mean / at_once + last_end(reach, fresh))
    return float(steps / BINS / pace)

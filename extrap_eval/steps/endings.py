"""How samples stand at each budget, for measures that are given apart for right, wrong and cut ones."""

from __future__ import annotations

import numpy as np

from extrap_eval.steps.outcomes import RunOutcomes

ENDINGS = ("correct", "incorrect", "cut")
ALL = "all"


def endings(found: RunOutcomes) -> np.ndarray:
    """Index into ``ENDINGS`` of every sample at every budget, int8 (P, n, B).

    "correct": the answer within the budget is right, whether or not the budget cuts the sample; "incorrect": the model
    ended within the budget and the answer is not right (none, or one that the judge could not decide, among them);
    "cut": neither.
    """
    ended = found.finished[..., None] & (found.n_tokens[..., None] <= found.budgets)
    return np.where(found.correct, 0, np.where(ended, 1, 2)).astype(np.int8)


def in_ending(codes: np.ndarray, name: str) -> np.ndarray:
    """Whether a sample is in that ending ("all": always), bool of the shape of ``codes``."""
    return np.ones(codes.shape, bool) if name == ALL else codes == ENDINGS.index(name)

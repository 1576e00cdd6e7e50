from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extrap_eval.metrics.forcing import FATES, forcing_curve, plurality, wait_audit
from extrap_eval.metrics.intervals import resamples

DRAWS = resamples(3, 100, 0)


def fate(before: int, after: int) -> str:
    """0 is right, -1 no answer."""
    if before == 0:
        return "stays_right" if after == 0 else "right_to_wrong"
    if after == 0:
        return "wrong_to_right"
    return "stays_wrong" if before == after else "other_wrong"


@given(arrays(np.int64, (3, 2, 4), elements=st.integers(-1, 2)), arrays(np.bool_, (3, 2, 4)))
def test_audit_agrees_with_looking_at_every_trace(answers: np.ndarray, there: np.ndarray) -> None:
    tokens = np.cumsum(np.arange(1, 25).reshape(3, 2, 4), axis=-1)
    audit = wait_audit(answers, answers == 0, tokens, DRAWS, there=there)
    for w in range(3):
        seen: Counter[str] = Counter()
        by_problem: list[list[str]] = [[] for _ in range(3)]
        spent: list[list[int]] = [[] for _ in range(3)]
        for problem, sample in np.ndindex(3, 2):
            if there[problem, sample, w] and there[problem, sample, w + 1]:
                name = fate(*answers[problem, sample, w : w + 2].tolist())
                seen[name] += 1
                by_problem[problem].append(name)
                spent[problem].append(int(tokens[problem, sample, w + 1] - tokens[problem, sample, w]))
        assert audit.counts[:, w].tolist() == [seen[name] for name in FATES]
        assert audit.traces[w] == seen.total()
        kept = [fates for fates in by_problem if fates]
        shares = [np.mean([fates.count(name) / len(fates) for fates in kept]) if kept else math.nan for name in FATES]
        np.testing.assert_allclose(audit.shares.value[:, w], shares)
        np.testing.assert_allclose(audit.net.value[w], shares[1] - shares[0], atol=1e-12)
        mean = np.mean([np.mean(each) for each in spent if each]) if kept else math.nan
        np.testing.assert_allclose(audit.tokens.value[w], mean)


def test_an_audit_by_hand() -> None:
    """Three problems, one trace each: 2 wrong answers, then right; right and stays so; no answer throughout."""
    answers = np.array([[[1, 2, 0]], [[0, 0, 0]], [[-1, -1, -1]]])
    tokens = np.array([[[100, 150, 170]], [[10, 40, 80]], [[30, 50, 80]]])
    audit = wait_audit(answers, answers == 0, tokens, DRAWS)
    assert dict(zip(FATES, audit.counts.T[0].tolist(), strict=True)) == {
        "right_to_wrong": 0,
        "wrong_to_right": 0,
        "stays_right": 1,
        "stays_wrong": 1,
        "other_wrong": 1,
    }
    assert audit.counts.T[1].tolist() == [0, 1, 1, 1, 0]
    np.testing.assert_allclose(audit.net.value, [0, 1 / 3])
    np.testing.assert_allclose(audit.tokens.value, [(50 + 30 + 20) / 3, (20 + 40 + 30) / 3])
    assert audit.net.low[0] < 0 < audit.net.high[0]  # nothing changed in three traces proves nothing


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=9))
def test_plurality(votes: list[int]) -> None:
    answers = np.array(votes)
    chosen, right = plurality(answers, answers == 2)
    counts = Counter(vote for vote in votes if vote >= 0)
    if not counts:
        assert (int(chosen), bool(right)) == (-1, False)
        return
    most = max(counts.values())
    expected = next(vote for vote in votes if counts[vote] == most)
    assert (int(chosen), bool(right)) == (expected, expected == 2)


def test_plurality_of_many() -> None:
    answers = np.random.default_rng(0).integers(-1, 3, (4, 5, 8))
    chosen, right = plurality(answers, answers == 0)
    assert chosen.shape == right.shape == (4, 5)
    for place in np.ndindex(4, 5):
        one, its = plurality(answers[place], answers[place] == 0)
        assert (chosen[place], right[place]) == (one, its)


def test_curve() -> None:
    accuracy = np.array([[[0.0, 0.5], [1.0, np.nan]], [[0.25, 0.75], [0.25, 0.25]]])
    tokens = np.array([[[100, 300], [200, np.nan]], [[400, 500], [600, 900]]])
    curve = forcing_curve(accuracy, tokens, resamples(2, 50, 0))
    assert curve.accuracy.value.tolist() == pytest.approx([(0.5 + 0.25) / 2, (0.5 + 0.5) / 2])
    assert curve.tokens.value.tolist() == pytest.approx([(150 + 500) / 2, (300 + 700) / 2])
    assert (curve.tokens.low <= curve.tokens.value).all()

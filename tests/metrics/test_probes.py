from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.intervals import resamples
from extrap_eval.metrics.probes import bins, probe_majority, progress, vote_tokens

Answer = tuple[int, float]  # class (0 right, 1.. wrong, -1 none), mean log-probability


def naive_vote(answers: list[Answer], k: int, paper: bool) -> float:
    total = 0.0
    subsets = list(combinations(answers, k))
    for subset in subsets:
        votes: dict[int, float] = {}
        for number, logprob in subset:
            if number >= 0:
                votes[number] = votes.get(number, 0.0) + (2**logprob if paper else 1)
        if not votes:
            continue
        most = max(votes.values())
        winners = [number for number, vote in votes.items() if abs(vote - most) < 1e-12]
        if 0 in winners:
            total += 1.0 if len(winners) == 1 else 0.5 if paper else 1 / len(winners)
    return total / len(subsets)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(-1, 3), st.sampled_from([-2.0, -1.0, -0.5, 0.0])), min_size=6, max_size=6),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["sound", "paper-exact"]),
)
def test_votes_agree_with_every_subset(probes: list[list[Answer]], protocol: str) -> None:
    classes = np.array([[number for number, _ in answers] for answers in probes])
    logprobs = np.array([[logprob for _, logprob in answers] for answers in probes])
    found = probe_majority(
        classes,
        classes == 0,
        (1, 2, 3, 6),
        protocol=protocol,  # type: ignore[arg-type]
        logprobs=logprobs,
    )
    expected = [[naive_vote(answers, k, protocol == "paper-exact") for k in (1, 2, 3, 6)] for answers in probes]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_papers_vote_by_hand() -> None:
    """Answers right, wrong, wrong with mean log-probabilities 0, -1, -1: votes 1, 1/2, 1/2."""
    classes, logprobs = np.array([0, 1, 1]), np.array([0.0, -1.0, -1.0])
    found = probe_majority(classes, classes == 0, (1, 2, 3), protocol="paper-exact", logprobs=logprobs)
    # p = 1: one of three is right. p = 2: {r, w} 1 > 1/2, twice; {w, w}: 0. p = 3: 1 against 1/2 + 1/2 is a tie.
    np.testing.assert_allclose(found, [1 / 3, 2 / 3, 1 / 2])
    equal = probe_majority(classes, classes == 0, (1, 2, 3))
    # Equal votes: p = 2: {r, w} ties, twice; {w, w}: 0. p = 3: 1 against 2.
    np.testing.assert_allclose(equal, [1 / 3, 1 / 3, 0])


def test_two_classes_of_right_answers_vote_together_in_the_paper_only() -> None:
    classes = np.array([0, 1, 2, 2])
    right = np.array([True, True, False, False])
    paper = probe_majority(classes, right, (4,), protocol="paper-exact", logprobs=np.zeros(4))
    assert paper.tolist() == [0.5]
    assert probe_majority(classes, right, (4,)).tolist() == [0.0]


def test_many_probes_at_once_and_places_that_are_not_there() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(-1, 4, (3, 2, 5, 8))
    logprobs = rng.normal(-1, 0.5, classes.shape)
    there = rng.random((3, 2, 5)) < 0.7
    for protocol in ("sound", "paper-exact"):
        together = probe_majority(
            classes,
            classes == 0,
            there=there,
            protocol=protocol,  # type: ignore[arg-type]
            logprobs=logprobs,
        )
        assert together.shape == (3, 2, 5, 4)
        np.testing.assert_array_equal(np.isnan(together).all(axis=-1), ~there)
        for place in zip(*np.nonzero(there), strict=True):
            answers = list(zip(classes[place].tolist(), logprobs[place].tolist(), strict=True))
            expected = [naive_vote(answers, k, protocol == "paper-exact") for k in (1, 2, 4, 8)]
            np.testing.assert_allclose(together[place], expected, atol=1e-9)


def test_refusals() -> None:
    classes = np.zeros((2, 4), dtype=int)
    with pytest.raises(ValueError, match="maj@8 is undefined for 4 answers per probe"):
        probe_majority(classes, classes == 0)
    with pytest.raises(ValueError, match="log-probability of every answer"):
        probe_majority(classes, classes == 0, (1,), protocol="paper-exact")


def test_progress() -> None:
    found = progress([[0.0, 0.25, 0.125, np.nan], [0.5, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(found, [[0.25, -0.125, np.nan], [np.nan] * 3])


def test_vote_tokens() -> None:
    found = vote_tokens([100, 250], [8.5, 10], (1, 4))
    np.testing.assert_allclose(found, [[108.5, 134], [260, 290]])


def test_bins_average_over_traces() -> None:
    """Three problems with two traces each, groups of two episodes; bins of four episodes."""
    totals = np.array([[1, 5], [3, 6], [8, 4]])
    groups = -(-totals // 2)
    places = np.arange(5)
    there = places <= groups[..., None]
    episodes = np.minimum(2 * places, totals[..., None])
    rng = np.random.default_rng(1)
    votes = np.where(there[..., None], rng.random((3, 2, 5, 2)), np.nan)
    tokens = rng.random((3, 2, 5, 2)) * 1000
    found = bins(votes, tokens, np.where(there, episodes, 99), 4, resamples(3, 50, 0))
    assert [(each.first, each.last) for each in found] == [(1, 4), (5, 8)]
    members = [[(0, 0), (1, 0), (2, 1)], [(0, 1), (1, 1), (2, 0)]]
    for each, traces in zip(found, members, strict=True):
        last = max(int(groups[trace]) for trace in traces)
        assert each.accuracy.value.shape == (last + 1, 2)
        for j in range(last + 1):
            those = [trace for trace in traces if groups[trace] >= j]
            assert each.traces[j] == len(those)
            np.testing.assert_allclose(each.accuracy.value[j], np.mean([votes[trace][j] for trace in those], axis=0))
            np.testing.assert_allclose(each.tokens[j], np.mean([tokens[trace][j] for trace in those], axis=0))
            assert each.episodes[j] == pytest.approx(np.mean([min(2 * j, totals[trace]) for trace in those]))


def test_traces_without_a_thought_are_in_the_first_bin() -> None:
    votes = np.full((2, 1, 2, 1), np.nan)
    votes[:, :, 0] = 1.0
    found = bins(votes, np.ones((2, 1, 2, 1)), np.zeros((2, 1, 2), dtype=int), 5, resamples(2, 20, 0))
    assert [(each.first, each.last, each.traces.tolist()) for each in found] == [(1, 5, [2])]

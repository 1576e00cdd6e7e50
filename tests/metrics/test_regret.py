"""Regret against hand computation, against fine integration, and against a plain reading of its definition."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.metrics.intervals import resamples
from extrap_eval.metrics.regret import Probed, curve_area, episode_areas, paper_episode_regret, token_regret
from extrap_eval.metrics.traces import ratio_of_means, trace_mean

# One trace with two groups of episodes, probed with 8 answers of 20 tokens each after 0, 100 and 300 tokens of thought;
# 0, 4 and 8 of the answers are right. After two rounds of forcing the thought has 500 tokens, then (its last paragraph
# dropped) 460, with 4 and 8 right answers of 20 tokens.
PROBES = Probed(np.array([0.0, 100, 300]), np.array([160.0, 160, 160]), np.array([0.0, 0.5, 1.0]), 8)
FORCED = Probed(np.array([500.0, 460]), np.array([160.0, 160]), np.array([0.5, 1.0]), 8)


def test_worked_example_by_tokens() -> None:
    """Answers cost 160 / 8 = 20 tokens: points (20, 0), (120, .5), (320, 1).

    Area from 0 to 20: 0. From 20 to 120: (0 + .5) / 2 x 100 = 25. From 120 to 320: (.5 + 1) / 2 x 200 = 150.
    C = 200: the curve is at .5 + .5 x 80 / 200 = .7; 25 + (.5 + .7) / 2 x 80 = 25 + 48 = 73; regret 1 - 73 / 200.
    C = 400: 25 + 150 + 1 x 80 = 255; regret 1 - 255 / 400.
    With forcing, in order of tokens: (320, 1), (480, 1), (520, .5).
    C = 600: 175 + 1 x 160 + (1 + .5) / 2 x 40 + .5 x 80 = 175 + 160 + 30 + 40 = 405; regret 1 - 405 / 600.
    C = 800: 405 + .5 x 200 = 505; regret 1 - 505 / 800.
    """
    found = token_regret(PROBES, (200, 400), forced=FORCED, forced_budgets=(600, 800))
    np.testing.assert_allclose(found, [1 - 73 / 200, 1 - 255 / 400, 1 - 405 / 600, 1 - 505 / 800], atol=1e-12)


def test_worked_example_by_tokens_paper_exact() -> None:
    """Answers to probes count 160 / 16 = 10 tokens: points (10, 0), (110, .5), (310, 1).

    C = 200: the curve is at .5 + .5 x 90 / 200 = .725; 25 + (.5 + .725) / 2 x 90 = 25 + 55.125 = 80.125.
    C = 400: 25 + 150 + 1 x 90 = 265.
    After forcing, 160 / 8 = 20 tokens, in the order in which they come: (520, .5), (480, 1).
    C = 600, the first of them: 25 + 150 + (1 + .5) / 2 x 210 + .5 x 80 = 25 + 150 + 157.5 + 40 = 372.5.
    C = 800, both, the second one backwards: 25 + 150 + 157.5 - (.5 + 1) / 2 x 40 + 1 x 320 = 622.5.
    """
    found = token_regret(PROBES, (200, 400), forced=FORCED, forced_budgets=(600, 800), protocol="paper-exact")
    areas = [80.125 / 200, 265 / 400, 372.5 / 600, 622.5 / 800]
    np.testing.assert_allclose(found, 1 - np.array(areas), atol=1e-12)


# [maj@1], [maj@2], [maj@4], [maj@8] after 0, 1 and 2 groups of episodes.
VOTES = np.array([[0.0, 0.0, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]])


def test_worked_example_by_episodes() -> None:
    """One group costs five answers.

    The trace itself: 0, .1, .2, .3, .4, .5 at 1..6 answers, .5, .6, .7, .8, .9, 1 at 6..11.
    Votes after j = 0, linear between 1, 2, 4 and 8: 0, 0, .25, .5, .625, .75, .875, 1, 1, 1, 1 at 1..11 answers; those
    after j = 1 are .5 throughout. The best: 0, .1, .25, .5, .625, .75 and .75, .875, 1, 1, 1, 1.
    Lost, first group: differences 0, 0, .05, .2, .225, .25; their sum less half the ends, .725 - .125 = .6.
    Best, first group: 2.225 - (0 + .75) / 2 = 1.85.
    Lost, second group: .25, .275, .3, .2, .1, 0; 1.125 - .125 = 1. Best: 5.625 - (.75 + 1) / 2 = 4.75.
    """
    lost, best = episode_areas(VOTES, (1, 2, 3))
    np.testing.assert_allclose(lost, [0.6, 1.6, 1.6], atol=1e-12)
    np.testing.assert_allclose(best, [1.85, 6.6, 6.6], atol=1e-12)


def test_worked_example_by_episodes_paper_exact() -> None:
    """At 1, 2, 4 and 6 answers. First group: the trace itself 0, .1, .3, .5; votes 0, 0, .5, (.5 + 1) / 2 = .75.

    Best 0, .1, .5, .75. Lost: differences 0, 0, .2, .25; 0 + (0 + .2) / 2 x 2 + (.2 + .25) / 2 x 2 = .65.
    Best: (0 + .1) / 2 x 1 + (.1 + .5) / 2 x 2 + (.5 + .75) / 2 x 2 = .05 + .6 + 1.25 = 1.9.
    Second group: .5, .6, .8, 1 against .5: nothing lost; best .55 + 1.4 + 1.8 = 3.75.
    """
    lost, best = episode_areas(VOTES, (1, 2), protocol="paper-exact")
    np.testing.assert_allclose(lost, [0.65, 0.65], atol=1e-12)
    np.testing.assert_allclose(best, [1.9, 5.65], atol=1e-12)
    np.testing.assert_allclose(paper_episode_regret(lost, best), [0.65 / 1.9, 0.65 / 5.65], atol=1e-12)


def test_summaries_of_traces() -> None:
    """Two problems with two traces each, of which one has nothing attainable and one ends after one group."""
    nothing = np.zeros((3, 4))
    short = VOTES.copy()
    short[2] = np.nan
    votes = np.array([[VOTES, nothing], [short, VOTES]])
    lost, best = episode_areas(votes, (1, 2))
    np.testing.assert_allclose(lost[..., 1], [[1.6, 0.0], [0.6, 1.6]], atol=1e-12)
    np.testing.assert_allclose(best[..., 1], [[6.6, 0.0], [1.85, 6.6]], atol=1e-12)
    draws = resamples(2, 50, 0)
    sound = ratio_of_means(lost.sum(axis=1).T, best.sum(axis=1).T, draws)
    np.testing.assert_allclose(sound.value, [1.8 / 5.55, 3.8 / 15.05])
    lost, best = episode_areas(votes, (1, 2), protocol="paper-exact")
    paper = trace_mean(paper_episode_regret(lost, best), draws, weigh="trace")
    per_trace = [
        [0.65 / 1.9, 0.65 / 5.65],
        [0.65 / 1.9, 0.65 / 1.9],
        [0.65 / 1.9, 0.65 / 5.65],
    ]  # the empty one left out
    np.testing.assert_allclose(paper.value, np.mean(per_trace, axis=0))


POINTS = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=6, unique_by=lambda p: p[0]
)


@given(POINTS, st.integers(1, 70), st.integers(0, 2))
def test_areas_agree_with_fine_integration(points: list[tuple[int, float]], limit: int, missing: int) -> None:
    x, y = (np.array([*column, *[np.nan] * missing]) for column in zip(*points, strict=True))
    ordered = sorted(points)
    corners_x, corners_y = [0.0, *(p[0] for p in ordered)], [0.0, *(p[1] for p in ordered)]
    if ordered[0][0] == 0:  # a jump at 0: the point counts
        corners_x, corners_y = corners_x[1:], corners_y[1:]
    middle = (np.arange(4000) + 0.5) * limit / 4000
    expected = np.interp(middle, corners_x, corners_y).mean()
    assert float(curve_area(x, y, [limit])[0]) == pytest.approx(expected, abs=2e-3)


def paper_literally(
    points: list[tuple[float, float]], forced: list[tuple[float, float]], cuts: list[int]
) -> list[float]:
    """Areas by walking along the points in the order in which they come."""

    def walk(path: list[tuple[float, float]]) -> float:
        return sum((right - left) * (low + high) / 2 for (left, low), (right, high) in pairwise(path))

    path = [(0.0, 0.0), *points]
    found = []
    for cut in cuts:
        below = [point for point in path if point[0] < cut]
        if len(below) < len(path):
            (x0, y0), (x1, y1) = path[len(below) - 1], path[len(below)]
            end = (float(cut), y0 + (cut - x0) * (y1 - y0) / (x1 - x0))
            heights = [y for _, y in path[: len(below)]]
            below = [(x, y) for (x, _), y in zip(below, heights, strict=True)]
        else:
            end = (float(cut), path[-1][1])
        found.append(walk([*below, end]) / cut)
    for w in range(1, len(forced) + 1):
        cut = 100 + 20 * w
        found.append(walk([*path, *forced[:w], (float(cut), forced[w - 1][1])]) / cut)
    return found


@given(POINTS, st.lists(st.tuples(st.integers(0, 200), st.sampled_from([0.0, 0.5, 1.0])), max_size=3))
def test_paper_exact_agrees_with_walking_along_its_points(
    points: list[tuple[int, float]], forced: list[tuple[int, float]]
) -> None:
    points = sorted(point for point in points if point[0] > 0) or [(3, 0.5)]

    def probed(which: list[tuple[int, float]], missing: int) -> Probed:
        x = np.array([*(p[0] for p in which), *[np.nan] * missing], dtype=float)
        return Probed(x, 0.0 * x, np.array([*(p[1] for p in which), *[np.nan] * missing], dtype=float), 8)

    cuts = [7, 25, 60]
    options: dict[str, Any] = {
        "forced": probed(forced, 0),
        "forced_budgets": [100 + 20 * w for w in range(1, len(forced) + 1)],
    }
    found = token_regret(probed(points, 2), cuts, protocol="paper-exact", **options)
    np.testing.assert_allclose(1 - found, paper_literally(points, forced, cuts), atol=1e-9)


def test_places_that_are_not_there() -> None:
    x = np.array([[10.0, 20.0], [np.nan, np.nan]])
    probes = Probed(x, 0 * x, np.where(np.isnan(x), np.nan, 1.0), 1)
    for protocol in ("sound", "paper-exact"):
        found = token_regret(probes, (40,), protocol=protocol)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, [[5 / 40], [np.nan]])


def literally(votes: np.ndarray, ks: list[int], step: int, groups: int) -> tuple[float, float]:
    """Lost and best areas of one trace without nan, by the definition, at whole numbers of answers."""

    def own(answers: int) -> float:
        j, more = divmod(answers - 1, step)
        if not more:
            return float(votes[j, 0])
        return float(votes[j, 0] + more / step * (votes[j + 1, 0] - votes[j, 0]))

    def best(answers: int) -> float:
        earlier = [j for j in range((answers - 1) // step + 1) if j < len(votes)]
        return max(own(answers), *(float(np.interp(answers - step * j, ks, votes[j])) for j in earlier))

    lost = area = 0.0
    for answers in range(1, step * groups + 1):
        gaps = [best(at) - own(at) for at in (answers, answers + 1)]
        lost += sum(gaps) / 2
        area += (best(answers) + best(answers + 1)) / 2
    return lost, area


@given(st.data(), st.integers(1, 4), st.integers(1, 5))
def test_episode_areas_agree_with_the_definition(data: st.DataObject, groups: int, step: int) -> None:
    ks = data.draw(st.sampled_from([[1], [1, 2], [1, 2, 4, 8], [1, 2, 3, 4, 5, 6]]))
    heights = st.sampled_from([0.0, 0.2, 0.5, 1.0])
    votes = np.array(
        data.draw(
            st.lists(st.lists(heights, min_size=len(ks), max_size=len(ks)), min_size=groups + 1, max_size=groups + 1)
        )
    )
    padded = np.concatenate([votes, np.full((2, len(ks)), np.nan)])
    lost, best = episode_areas(padded, range(1, groups + 2), ks=ks, answers_per_group=step)
    for stop in range(1, groups + 2):
        expected = literally(votes, ks, step, min(stop, groups))
        assert (lost[stop - 1], best[stop - 1]) == pytest.approx(expected, abs=1e-9)
    assert (lost >= -1e-12).all()
    assert (lost <= best + 1e-12).all()


def test_a_thought_without_episodes_has_no_regret_by_episodes() -> None:
    votes = np.full((3, 4), np.nan)
    votes[0] = 0.5
    for protocol in ("sound", "paper-exact"):
        lost, best = episode_areas(votes, (1, 2), protocol=protocol)  # type: ignore[arg-type]
        np.testing.assert_array_equal([lost, best], np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: token_regret(PROBES, (0,)), "a budget must be positive"),
        (lambda: token_regret(PROBES, (5,), forced_budgets=(9,)), "1 forced budgets need as many places"),
        (lambda: token_regret(PROBES, (5,), forced=FORCED, forced_budgets=(7, 8, 9)), "3 forced budgets"),
        (lambda: episode_areas(VOTES, (0,)), "groups: count from 1"),
        (lambda: episode_areas(VOTES[:, 1:], (1,), ks=(2, 4, 8)), "needs maj@1"),
        (lambda: episode_areas(VOTES[:, :3], (1,), ks=(1, 2, 4), protocol="paper-exact"), "maj@1, 2, 4 and 8"),
        (lambda: episode_areas(VOTES, (1,), answers_per_group=3, protocol="paper-exact"), "5 answers per group"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

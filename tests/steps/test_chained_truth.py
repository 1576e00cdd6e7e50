"""Attempts, verifications and diversity of sampled runs of the markov model against what is exactly true of it."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.probe_truth import Course, courses
from extrap_eval.engines.markov.truth import answer_distribution, attempts_within, follow, majority_correct
from extrap_eval.steps.chained import cap_table, count_table, gap_table
from extrap_eval.steps.diversity import attempt_table, diversity_table
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.steps.score import score
from extrap_eval.steps.stopped import UNITS, read_chained
from extrap_eval.steps.unsolvable import read_unsolved, set_table
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import (
    policy_cards,
)

POLICY = {
    "attempt_tokens": 40, "accept_right": 0.7, "accept_wrong": 0.1, "give_up": 0.1, "loop": 0.02, "distractors": 3,
    "distractor_decay": 0.6, "max_attempts": 7,
}  # fmt: skip
PROBABILITIES = [0.05, 0.15, 0.4]
PROBLEMS, SAMPLES, MAX_TOKENS = 90, 8, 400
WITHIN = 3.0  # standard errors; a fixed seed makes this one draw
CAPS = [1, 2, 3, 5, 7]


def policy() -> MarkovPolicy:
    return MarkovPolicy(**POLICY)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("truth")
    cards = policy_cards(
        folder,
        POLICY,
        problems=PROBLEMS,
        probabilities=PROBABILITIES,
        budgets=[60, 120, 200, 400],
        verifications=[" works.", " fails."],
    )
    plan = plan_sampling(*cards, n=SAMPLES, budget_max=MAX_TOKENS)
    run = prepare_run(plan, folder / "run")
    sample(plan, run, MarkovEngine(policy()), seed=5)
    score(run.path, workers=1)
    return open_run(run.path)


def assert_near(what: str, value: float, low: float, high: float, truth: float) -> None:
    error = max((high - low) / 2 / NormalDist().inv_cdf(0.975), 1e-3)
    away = (value - truth) / error
    print(f"  {what:38}{value:9.4f}{truth:9.4f}{error:9.4f}{away:+7.1f}")
    assert abs(away) < WITHIN, what


def per_problem(function: Any) -> Any:
    """Mean over the problems, of which there are as many of each probability."""
    return np.mean([function(p) for p in PROBABILITIES], axis=0)


@pytest.mark.parametrize("unit", UNITS)
def test_pass_at_k_after_j_attempts(run: Run, unit: Any) -> None:
    found = read_chained(run, unit=unit, caps=CAPS)
    table = cap_table(found, ks=[1, 4])
    for row in table.itertuples():
        # One verdict per attempt: the answer of the next attempt is boxed before its verdict, so that a trace that is
        # stopped before its j+1-th verdict has said j+1 answers.
        shown = row.group + (unit == "verifications")
        reached = lambda p, j=shown: follow(policy(), p, 7)[0][min(j, 7), 1]  # noqa: E731
        truth = per_problem(lambda p, k=row.k, right=reached: 1 - (1 - right(p)) ** k)
        assert_near(f"pass@{row.k} after {row.group} {unit}", row.value, row.low, row.high, truth)
    one = table[table["k"] == 1].set_index("group")["value"]
    assert one[7] > one[1] + 0.1


def test_the_gap(run: Run) -> None:
    found = read_chained(run, caps=CAPS)
    first = lambda p: follow(policy(), p, 1)[0][1]  # noqa: E731
    for row in gap_table(found).itertuples():
        j = row.attempts
        alone = per_problem(lambda p: first(p)[1])
        chained = per_problem(lambda p, j=j: follow(policy(), p, 7)[0][j, 1])
        votes = per_problem(lambda p, j=j: float(majority_correct(first(p), j)))
        best = per_problem(lambda p, j=j: 1 - (1 - first(p)[1]) ** j)
        for name, truth in {
            "alone": alone, "chained": chained, "votes": votes, "best": best, "gap": chained - alone,
            "over_votes": chained - votes,
        }.items():  # fmt: skip
            value, low, high = (getattr(row, each) for each in (name, f"{name}_low", f"{name}_high"))
            assert_near(f"{name}, {j} attempts", value, low, high, truth)
        assert row.tried == pytest.approx(1 - POLICY["loop"], abs=0.02)
    assert set(gap_table(read_chained(run, caps=[9], n=4)).loc[0, ["votes", "over_votes"]].isna()) == {True}


def right_of(course: Course) -> float:
    """Chance that the last box of such a trace is the right one."""
    if course.attempts == 0:
        return 0.0
    return float((course.rejected if course.looped else course.ending)[0])


def test_counts_of_right_and_wrong_traces(run: Run) -> None:
    table = count_table(read_chained(run)).set_index(["unit", "part"])
    every = [course for p in PROBABILITIES for course in courses(policy(), p)]
    for part in ("right", "wrong"):
        weights = [c.weight * (right_of(c) if part == "right" else 1 - right_of(c)) for c in every]
        numbers = {
            "episodes": [c.episodes for c in every],
            "verifications": [c.attempts for c in every],
            "candidates": [c.attempts + (not c.looped) for c in every],  # the answer is boxed once more
        }
        for unit, counts in numbers.items():
            truth = float(np.average(counts, weights=weights))
            row = table.loc[(unit, part)]
            assert_near(f"{unit} of {part} traces", row["value"], row["low"], row["high"], truth)
    # Within problems of one probability, the mean is that of the conditional means.
    inside = []
    for p in PROBABILITIES:
        own = courses(policy(), p)
        right = np.array([c.weight * right_of(c) for c in own])
        wrong = np.array([c.weight for c in own]) - right
        counts = [c.attempts for c in own]
        both = 1 - (right.sum() ** SAMPLES + wrong.sum() ** SAMPLES)
        inside.append((both, np.average(counts, weights=right) - np.average(counts, weights=wrong)))
    truth = float(np.average([change for _, change in inside], weights=[both for both, _ in inside]))
    row = table.loc[("verifications", "difference")]
    assert_near("right - wrong, same problem", row["value"], row["low"], row["high"], truth)


def test_unique_attempts(run: Run) -> None:
    table = attempt_table([run], budgets=[60, 120, MAX_TOKENS]).set_index(["quantity", "budget"])

    def distinct(p: float) -> float:
        total = 0.0
        for course in courses(policy(), p):
            before = course.attempts - (not course.looped)
            last = 0.0 if course.looped else course.ending
            total += course.weight * float((1 - (1 - course.rejected) ** max(before, 0) * (1 - last)).sum())
        return total

    row = table.loc[("unique", MAX_TOKENS)]
    assert_near("different attempts of a trace", row["value"], row["low"], row["high"], per_problem(distinct))
    mean = per_problem(lambda p: sum(c.weight * (c.attempts + (not c.looped)) for c in courses(policy(), p)))
    row = table.loc[("attempts", MAX_TOKENS)]
    assert_near("attempts of a trace", row["value"], row["low"], row["high"], mean)
    row = table.loc[("tried", 60)]  # one attempt lies within 60 tokens
    assert attempts_within(policy(), 60) == 2
    first = per_problem(lambda p: follow(policy(), p, 1)[0][1, 1])
    assert_near("right one in the first attempt", row["value"], row["low"], row["high"], first)


def test_distinct_answers_and_unsolved_problems(run: Run) -> None:
    at = [60, MAX_TOKENS]
    for b, budget in enumerate(at):
        shares = [answer_distribution(policy(), p, at)[b] for p in PROBABILITIES]
        for row in diversity_table([run], budget=budget, ks=[1, 3, 8]).itertuples():
            truth = np.mean([(1 - (1 - share[1:]) ** row.k).sum() for share in shares])
            assert_near(f"distinct of {row.k} at {budget}", row.value, row.low, row.high, truth)
        silent = np.mean([share[0] for share in shares])
        assert_near(f"no answer at {budget}", row.no_answer, row.no_answer_low, row.no_answer_high, silent)
        for k in (1, 4, 8):
            size = set_table(read_unsolved([run], k=k, budget=budget)).iloc[0]
            truth = PROBLEMS * np.mean([(1 - share[1]) ** k for share in shares])
            assert_near(f"unsolved by {k} at {budget}", size["expected"], size["low"], size["high"], truth)

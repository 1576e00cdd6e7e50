"""Lengths by ending and difficulty, and the training budget of Eq. 3."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.errors import UserError
from extrap_eval.metrics.budgets import training_budget
from extrap_eval.metrics.intervals import resamples
from extrap_eval.metrics.traces import trace_mean
from extrap_eval.steps.lengths import _thirds, length_rows, length_table, lengths, lengths_of_runs
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.score import score
from extrap_eval.steps.summary import summary
from extrap_eval.steps.training_budget import training_budgets
from extrap_eval.store import Run
from tests.steps.episode_runs import text_run
from tests.steps.scored_runs import Said, random_samples, scored_run

RIGHT, WRONG, CUT = ("<think>\nHm.\n</think>\n\\boxed{7}", "<think>\n</think>\n\\boxed{8}", "<think>\nNo \\boxed{8}")
END = 1  # the end token of those that ended


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("lengths") / "run"
    run = text_run(path, [[RIGHT, WRONG], [RIGHT, RIGHT], [CUT, WRONG]], difficulties=[2.0, 1.0, 2.0])
    score(path, workers=1)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored_run(tmp_path_factory.mktemp("lengths") / "random", random_samples(30, 8, seed=2))


def test_known_lengths(graded: Run) -> None:
    read = lengths(graded)
    assert (read.by, list(read.parts)) == ("difficulty", ["difficulty 1", "difficulty 2"])
    table = length_table(read).set_index(["part", "ending"])
    right, wrong, cut = len(RIGHT) + END, len(WRONG) + END, len(CUT)
    assert table.loc[("difficulty 1", "correct"), "mean"] == right
    assert table.loc[("difficulty 2", "incorrect"), ["completions", "problems", "mean"]].tolist() == [2, 2, wrong]
    assert table.loc[("difficulty 2", "cut"), ["completions", "share", "median", "p90"]].tolist() == [1, 0.25, cut, cut]
    assert table.loc[("all", "correct"), "completions"] == 3
    assert table.loc[("all", "all"), "mean"] == pytest.approx((3 * right + 2 * wrong + cut) / 6)
    assert math.isnan(table.loc[("difficulty 1", "cut"), "mean"])
    assert math.isnan(table.loc[("difficulty 2", "cut"), "mean_low"])  # of one problem
    rows = length_rows(read)
    assert len(rows) == 6
    assert sorted(rows[rows["ending"] == "correct"]["n_tokens"]) == [right] * 3
    assert set(rows["cap"]) == {5000}


def test_by_the_runs_own_accuracy(run: Run) -> None:
    read = lengths(run)
    assert read.by == "accuracy"
    accuracy = read.found.correct[..., 0].mean(axis=1)
    assert [name.split(":")[0] for name in read.parts] == ["easy", "middle", "hard"]
    assert sum(part.sum() for part in read.parts.values()) == 30
    easy, middle, hard = (accuracy[part] for part in read.parts.values())
    assert easy.min() > middle.max() >= middle.min() > hard.max()
    name = next(iter(read.parts))
    assert name == f"easy: pass@1 {100 * easy.min():.0f}–{100 * easy.max():.0f} %"


def test_means_have_the_intervals_of_traces(run: Run) -> None:
    read = lengths(run, by="all")
    row = length_table(read).set_index("ending").loc["correct"]
    values = np.where(read.codes == 0, read.found.n_tokens, np.nan)
    expected = trace_mean(values, resamples(30, 2000, 0), weigh="trace", fractions=False)
    assert (row["mean"], row["mean_low"], row["mean_high"]) == pytest.approx(
        (float(expected.value), float(expected.low), float(expected.high))
    )
    assert row["median"] == np.median(values[~np.isnan(values)])
    assert list(length_table(read)["part"].unique()) == ["all"]


def test_a_cut_sample_with_the_right_answer_is_correct(tmp_path: Path) -> None:
    said = [[Said(400, [(300, "7")], finished=False), Said(400, [(300, "8")], finished=False), Said(50, [(40, "8")])]]
    read = lengths(scored_run(tmp_path / "run", said))
    assert read.codes.tolist() == [[0, 2, 1]]


@given(st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=20))
def test_thirds(values: list[float]) -> None:
    array = np.array(values)
    parts = _thirds(array)
    assert np.stack(parts).sum(axis=0).tolist() == [1] * len(values)
    assert 1 <= len(parts) <= 3
    for lower, upper in pairwise(parts):
        assert array[lower].max() < array[upper].min()


@pytest.mark.parametrize("problems", [3, 9, 30])
def test_thirds_of_different_values_are_equal(problems: int) -> None:
    values = np.random.default_rng(0).permutation(problems)
    assert [int(part.sum()) for part in _thirds(values)] == [problems // 3] * 3


def test_refusals(run: Run) -> None:
    with pytest.raises(UserError, match=r"30 of 30 problems have no difficulty \(first: p0\): use --by accuracy"):
        lengths(run, by="difficulty")
    with pytest.raises(UserError, match="no run was given"):
        lengths_of_runs([])


def test_training_budgets(run: Run) -> None:
    found = training_budgets(run, budgets=[50, 100, 200], kappa=1.3)
    assert found is not None
    at = outcomes(run, [50, 100, 200, 400]).correct.mean(axis=1).T
    draws = resamples(30, 2000, 0)
    mean_lengths = outcomes(run, [400]).n_tokens.mean(axis=1)
    candidates = found.candidates
    for choice, floor in zip(found.choices, (mean_lengths, 50), strict=True):
        expected = training_budget([50, 100, 200], at[:3], at[1:], floor, draws, reading=choice.reading, kappa=1.3)
        assert choice.found == expected
        assert dict(zip(candidates["budget"], candidates[choice.reading], strict=True)) == pytest.approx(
            dict.fromkeys(candidates["budget"], 0.0) | dict(expected.shares)
        )
        assert candidates[choice.reading].sum() == pytest.approx(1)
    finite = candidates[np.isfinite(candidates["budget"])]
    assert finite["value"].tolist() == pytest.approx(at[:3].mean(axis=1).tolist())
    assert finite["ratio"].tolist() == pytest.approx((at[1:].mean(axis=1) / at[:3].mean(axis=1)).tolist())


def test_the_report_card_chooses_the_same(run: Run) -> None:
    found = training_budgets(run)
    assert found is not None
    entries = {entry.quantity: entry for entry in summary(run).entries}
    for choice in found.choices:
        entry = entries[f"B*_tr (Eq. 3, {choice.reading})"]
        assert (entry.value, entry.low, entry.high) == (choice.found.budget, choice.found.low, choice.found.high)
        assert choice.condition in entry.note


def test_no_candidates(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice 300 is more than the 400 tokens sampled"):
        training_budgets(run, budgets=[100, 300])
    short = scored_run(tmp_path / "run", [[Said(30)], [Said(40)]], max_tokens=60)
    assert training_budgets(short) is None
    one = training_budgets(scored_run(tmp_path / "one", [[Said(30, [(20, "7")])]]))
    assert one is not None
    assert one.candidates["paper"].isna().all()

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.metrics.comparison import holm, sign_flip_test
from extrap_eval.metrics.intervals import difference_interval, resamples, smallest_detectable
from extrap_eval.steps.compare import accuracy_tokens, compare, dense_budgets, problem_table, read_pair, verdict
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.store import Run
from tests.steps.scored_runs import Said, random_samples, scored_run


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("pair")
    strong = scored_run(folder / "a", random_samples(20, 8, seed=1, skill=0.8), model={"name": "Strong"})
    weak = scored_run(folder / "b", random_samples(20, 4, seed=2, skill=0.2), model={"name": "Weak"})
    return strong, weak


def test_paired_difference_at_every_budget(pair: tuple[Run, Run]) -> None:
    a, b = pair
    table = compare(a.path, b, budgets=[100, 400], resamples=500, seed=2)
    first, second = (outcomes(run, [100, 400]).correct.mean(axis=1) for run in pair)  # (P, B)
    low, high = difference_interval((first - second).T, resamples(20, 500, 2))
    assert table["budget"].tolist() == [100, 400]
    np.testing.assert_allclose(table["difference"], (first - second).mean(axis=0))
    np.testing.assert_allclose(table["difference"], table["value_a"] - table["value_b"])
    np.testing.assert_allclose(table["low"], low)
    np.testing.assert_allclose(table["high"], high)
    assert table["low"].iloc[1] > 0
    assert set(table[["model_a", "model_b", "n_a", "n_b", "problems"]].itertuples(index=False, name=None)) == {
        ("Strong", "Weak", 8, 4, 20)
    }
    turned = compare(b, a, budgets=[100, 400], resamples=500, seed=2)
    np.testing.assert_allclose(turned["difference"], -table["difference"])


def test_default_budgets_are_those_in_common(tmp_path: Path, pair: tuple[Run, Run]) -> None:
    longer = {"tokens": 150, "source": "test"}
    other = scored_run(tmp_path / "c", random_samples(20, 4, seed=3), model={"training_budget": longer})
    assert compare(pair[0], other)["budget"].tolist() == [50, 150, 400]


def test_votes(pair: tuple[Run, Run]) -> None:
    table = compare(*pair, metric="maj@k", k=4)
    assert set(table["metric"]) == {"maj@k"}
    assert table["value_a"].iloc[-1] > compare(*pair, k=1)["value_a"].iloc[-1]


def test_a_run_is_not_better_than_itself(pair: tuple[Run, Run]) -> None:
    table = compare(pair[0], pair[0])
    bound = 1 - 0.025 ** (1 / 20)
    assert table["difference"].eq(0).all()
    np.testing.assert_allclose(table["high"], bound)


def test_the_permutation_test_and_what_it_can_find(pair: tuple[Run, Run]) -> None:
    table = compare(*pair, budgets=[50, 100, 400], seed=3)
    first, second = (outcomes(run, [50, 100, 400]).correct.mean(axis=1).T for run in pair)  # (B, P)
    np.testing.assert_allclose(table["p"], sign_flip_test(first - second, seed=3))
    np.testing.assert_allclose(table["p_holm"], holm(table["p"]))
    np.testing.assert_allclose(table["detectable"], [smallest_detectable(each) for each in first - second])
    assert table["p"].iloc[-1] < 0.01
    assert verdict(table).startswith("Strong is better at ")
    assert "after Holm's correction for 3 budgets" in verdict(table)
    assert verdict(compare(pair[1], pair[0], seed=3)) == verdict(compare(*pair, seed=3))


def test_flips_and_unsolved_problems(tmp_path: Path) -> None:
    def run(name: str, rights: list[list[int]]) -> Run:
        rows = [[Said(100, [(60, "7" if right else "8")]) for right in row] for row in rights]
        return scored_run(tmp_path / name, rows, model={"name": name})

    a = run("A", [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    b = run("B", [[1, 0, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]])
    row = compare(a, b, budgets=[400]).iloc[0]
    assert (row["usual_a_only"], row["usual_b_only"]) == (1, 2)  # half of the samples is not usual
    # A's fourth sample does not count: B has three
    assert (row["unsolved_k"], row["unsolved_a"], row["unsolved_b"], row["unsolved_both"]) == (3, 3, 2, 2)
    assert row["overlap"] == pytest.approx(2 / 3)
    early = compare(a, b, budgets=[50]).iloc[0]
    assert (early["usual_a_only"], early["unsolved_both"], early["overlap"]) == (0, 5, 1)
    each = problem_table(read_pair(a, b, budgets=[50, 400])).query("budget == 400")
    assert each["usual"].tolist() == ["a only", "b only", "b only", "neither", "neither"]
    np.testing.assert_allclose(each["value_a"], [0.75, 0.5, 0, 0.25, 0])


def test_tokens_to_an_accuracy_by_thinking_longer(tmp_path: Path) -> None:
    def run(name: str, at: int) -> Run:  # half of the problems are solved, at this token
        rows = [[Said(400, [(at, "7" if i < 10 else "8")], finished=False)] * 2 for i in range(20)]
        return scored_run(tmp_path / name, rows, model={"name": name})

    slow, fast = run("slow", 300), run("fast", 100)
    table = accuracy_tokens(slow, fast)
    np.testing.assert_allclose(table["accuracy"], [0.1, 0.2, 0.3, 0.4, 0.5])
    near = [(min(b for b in dense_budgets(400) if b >= at), at) for at in (300, 100)]
    assert table["tokens_a"].iloc[-1] == near[0][0]
    assert table["tokens_b"].iloc[-1] == near[1][0]
    assert (table["ratio"] > 2).all()
    assert (table["low"] <= table["ratio"]).all()
    assert (table["ratio"] <= table["high"]).all()
    never = accuracy_tokens(slow, fast, targets=[0.6])
    assert np.isinf(never[["tokens_a", "tokens_b"]]).all(axis=None)


def test_dense_budgets() -> None:
    assert dense_budgets(512) == [64, 76, 91, 108, 128, 152, 181, 215, 256, 304, 362, 431, 512]
    assert dense_budgets(50) == [50]


def test_a_verdict_names_who_is_better_where(pair: tuple[Run, Run]) -> None:
    table = compare(*pair, budgets=[50, 100, 400])
    told = table.assign(p_holm=[0.01, 0.2, 0.03], difference=[-0.1, 0.0, 0.2], detectable=[0.1, 0.125, 0.1])
    assert verdict(told) == (
        "Strong is better at 400 tokens; Weak is better at 50 tokens; no difference is shown at 100 tokens (smallest "
        "detectable at a single budget: 12.5 points); p ≤ 0.05 after Holm's correction for 3 budgets"
    )
    assert verdict(told.assign(p_holm=0.5)).startswith(
        "no difference between Strong and Weak is shown (smallest detectable at a single budget: 10.0 … 12.5 points)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": "exercise"}, "differ in their problems: 20 problems, sha256 .* and 20 problems, sha256"),
        ({"benchmark": {"prompt": "Solve {problem}"}}, "differ in the prompt template: .* and 'Solve {problem}'"),
        ({"versions": {"judge": "2", "timeline": 1}}, "differ in the rules they were scored by: .*'1'.*'2'"),
        ({"gold_errors": {"p3": "unreadable"}}, "problem p3 is left out of only one"),
    ],
)
def test_unlike_runs_are_refused(tmp_path: Path, pair: tuple[Run, Run], changes: dict[str, Any], message: str) -> None:
    other = scored_run(tmp_path / "other", random_samples(20, 4, seed=2), **changes)
    with pytest.raises(UserError, match=message):
        compare(pair[0], other)


SAMPLING = {"temperature": 1.0, "top_p": 0.95, "top_k": -1}


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"benchmark": {"prompt": "Solve {problem}"}}, "prompt", "the prompt template"),
        ({"versions": {"judge": "2", "timeline": 1}}, "rule", "the rules they were scored by"),
        ({"sampling": SAMPLING}, "sampling", r"sampling: temperature 0\.6, .* and temperature 1\.0"),
        ({"sampling": dict.fromkeys(SAMPLING)}, "sampling", "sampling: temperature 0.6, .* and unknown"),
    ],
)
def test_what_is_unlike_can_be_allowed_by_name(
    tmp_path: Path, pair: tuple[Run, Run], changes: dict[str, Any], name: str, message: str
) -> None:
    other = scored_run(tmp_path / "other", random_samples(20, 4, seed=2, skill=0.2), **changes)
    with pytest.raises(UserError, match=f"differ in {message}.*--allow {name}$"):
        compare(pair[0], other)
    allowed = read_pair(pair[0], other, allow=[name])
    assert len(allowed.unlike) == 1
    like = compare(*pair)["difference"]
    np.testing.assert_allclose(compare(pair[0], other, allow=[name])["difference"], like)


def test_all_that_is_unlike_is_named_at_once(tmp_path: Path, pair: tuple[Run, Run]) -> None:
    samples = random_samples(20, 4, seed=2)
    other = scored_run(tmp_path / "o", samples, benchmark={"prompt": "Solve {problem}"}, sampling=SAMPLING)
    with pytest.raises(UserError, match=r"the prompt template: .*; sampling: .*--allow prompt,sampling$"):
        compare(pair[0], other)
    with pytest.raises(UserError, match=r"--allow: prompts is not one of problems, prompt, rule, sampling"):
        compare(pair[0], other, allow=["prompts"])


def test_a_thought_marker_belongs_to_the_model(tmp_path: Path) -> None:
    samples = random_samples(6, 2, seed=2)
    runs = [
        scored_run(tmp_path / str(i), samples, versions={"judge": "1", "think_close": close})
        for i, close in enumerate(["</think>", None])
    ]
    assert compare(*runs)["difference"].eq(0).all()


def test_different_sets_of_problems_are_compared_on_those_in_common(tmp_path: Path, pair: tuple[Run, Run]) -> None:
    fewer = scored_run(tmp_path / "few", random_samples(20, 4, seed=2, skill=0.2)[:12])
    with pytest.raises(UserError, match=r"20 problems, .* and 12 problems, .*--allow problems$"):
        compare(pair[0], fewer)
    table = compare(pair[0], fewer, budgets=[400], allow=["problems"])
    assert table["problems"].tolist() == [12]
    first, second = (outcomes(run, [400]).correct[:12].mean() for run in (pair[0], fewer))
    assert table["difference"].iloc[0] == pytest.approx(first - second)
    other = scored_run(tmp_path / "other", random_samples(5, 4, seed=2), texts="exercise")
    with pytest.raises(UserError, match="no problem in common"):
        compare(pair[0], other, allow=["problems"])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    samples = random_samples(6, 2, seed=2)
    runs = [scored_run(tmp_path / side / "run", samples) for side in ("left", "right")]
    assert read_pair(*runs).names == ("Toy (run) [A]", "Toy (run) [B]")


def test_other_refusals(pair: tuple[Run, Run]) -> None:
    with pytest.raises(UserError, match=r"k: 5 is not in 1\.\.4"):
        compare(*pair, k=5)
    with pytest.raises(UserError, match=r"budget: 500 is not in 1\.\.400"):
        compare(*pair, budgets=[500])
    with pytest.raises(UserError, match="level"):
        compare(*pair, level=95)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import budget_curve, outcome_bands, passk_majk
from extrap_eval.metrics.intervals import interval, resamples
from extrap_eval.metrics.majk import maj_at_k
from extrap_eval.scoring.outcomes import OUTCOMES
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.curves import (
    curve,
    curves,
    extrapolation,
    extrapolation_sentences,
    outcome_table,
    sensitivity,
)
from extrap_eval.steps.outcomes import default_budgets, outcomes
from extrap_eval.store import Completion, Run
from tests.steps.scored_runs import Said, random_samples, scored_run

RIGHT, WRONG = "7", "8"


@pytest.fixture(scope="module")
def random_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored_run(tmp_path_factory.mktemp("runs") / "random", random_samples(12, 6, seed=1))


def test_each_sample_at_each_budget(tmp_path: Path) -> None:
    run = scored_run(
        tmp_path / "run",
        [
            [
                Said(120, [(40, WRONG), (110, RIGHT)], think_end=60),  # changes its mind
                Said(300, [(200, RIGHT), (250, "")], think_end=260),  # ends with an empty box
                Said(400, [(90, RIGHT)], finished=False, think_end=-1, loop_start=150),
                Said(30),
            ],
            [
                Said(40, [(40, "7.0")]),
                Said(45, [(45, "9")]),
                Said(400, [], finished=False, think_end=-1),
                Said(90, [(80, "10^{10^{10}}")]),
            ],
        ],
        equivalent=[{"7", "7.0"}],
        verdicts={"10^{10^{10}}": "timeout"},
    )
    found = outcomes(run, [50, 100, 200, 400])
    assert found.problem_ids == ("p0", "p1")
    assert found.correct.astype(int).tolist() == [
        [[0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]],
        [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ]
    of_8, of_7 = 1, 0  # classes of the first problem, by sorted answer
    assert found.class_id[0].tolist() == [
        [of_8, of_8, of_7, of_7],
        [-1, -1, of_7, -1],
        [-1, of_7, of_7, of_7],
        [-1, -1, -1, -1],
    ]
    names = [[[OUTCOMES[code] for code in sample] for sample in problem] for problem in found.outcome.tolist()]
    thinking, answering = "cut-while-thinking", "cut-while-answering"
    assert names[0] == [
        [thinking, answering, "finished-correct", "finished-correct"],
        [thinking, thinking, thinking, "no-box"],
        [thinking, thinking, "looped", "looped"],
        ["no-box"] * 4,
    ]
    assert names[1][:2] == [["finished-correct"] * 4, ["finished-wrong"] * 4]
    assert names[1][2] == [thinking] * 4
    assert names[1][3] == [answering, *["scorer-timeout"] * 3]
    assert found.n_tokens.tolist() == [[120, 300, 400, 30], [40, 45, 400, 90]]

    first = outcomes(run, [400], rule=AnswerRule(pick="first"))
    assert first.correct[0, :, 0].tolist() == [False, True, True, False]
    later = outcomes(run, [400], rule=AnswerRule(region="after_think"))
    assert later.correct[0, :, 0].tolist() == [True, False, False, False]


def test_curve_equals_the_definitions(random_run: Run) -> None:
    budgets = [60, 200, 400]
    table = curve(random_run, budgets=budgets, ks=[1, 2, 6], resamples=500, seed=3)
    found = outcomes(random_run, budgets)
    draws = resamples(12, 500, 3)
    assert list(table.columns) == [
        "model", "benchmark", "metric", "k", "budget", "value", "low", "high", "n", "problems", "tie_rate",
        "mean_tokens", "training_budget",
    ]  # fmt: skip
    rows = table.set_index(["metric", "budget", "k"])
    for j, budget in enumerate(budgets):
        accuracy = found.correct[:, :, j].mean(axis=1)
        row = rows.loc[("pass@k", budget, 1)]
        assert row["value"] == pytest.approx(accuracy.mean())
        low, high = interval(accuracy, draws)
        assert (row["low"], row["high"]) == pytest.approx((float(low), float(high)))
        assert rows.loc[("maj@k", budget, 1)]["value"] == pytest.approx(accuracy.mean())
        assert rows.loc[("pass@k", budget, 6)]["value"] == found.correct[:, :, j].any(axis=1).mean()
        votes = []
        for classes, right in zip(found.class_id[:, :, j], found.correct[:, :, j], strict=True):
            ids = np.unique(classes[classes >= 0])
            counts = [(classes == id).sum() for id in ids]
            votes.append(maj_at_k(counts, [right[classes == id].any() for id in ids], (classes < 0).sum(), 2))
        row = rows.loc[("maj@k", budget, 2)]
        assert row["value"] == pytest.approx(np.mean([vote.correct for vote in votes]))
        assert row["tie_rate"] == pytest.approx(np.mean([vote.tie for vote in votes]))
        whole = found.finished & (found.n_tokens <= budget)
        finished = table[(table["metric"] == "finished") & (table["budget"] == budget)].iloc[0]
        assert finished["value"] == pytest.approx(whole.mean())
        assert finished["mean_tokens"] == pytest.approx(np.minimum(found.n_tokens, budget).mean())
        assert pd.isna(finished["k"])
    assert set(table["problems"]) == {12}
    assert set(table["n"]) == {6}
    assert set(table["training_budget"]) == {100}
    assert table["low"].le(table["value"]).all()
    assert table["high"].ge(table["value"]).all()


def test_silence_as_a_vote(random_run: Run) -> None:
    default = curve(random_run, budgets=[100], ks=[6])
    counted = curve(random_run, budgets=[100], ks=[6], policy="class")
    assert float(counted[counted["metric"] == "maj@k"]["value"].iloc[0]) < float(
        default[default["metric"] == "maj@k"]["value"].iloc[0]
    )


def test_defaults(random_run: Run) -> None:
    # of the card [50, 150, 1000] what was sampled; B_tr = 100, 2 B_tr, and the maximum
    assert default_budgets(random_run) == [50, 100, 150, 200, 400]
    table = curve(random_run.path)
    assert sorted(set(table["budget"])) == [50, 100, 150, 200, 400]
    assert sorted(table["k"].dropna().unique()) == [1, 2, 4]
    assert set(table["metric"]) == {"pass@k", "maj@k", "finished"}


def test_fewer_samples(random_run: Run) -> None:
    found, less = outcomes(random_run, [400]), outcomes(random_run, [400], n=2)
    assert less.n == 2
    assert (less.correct == found.correct[:, :2]).all()
    assert set(curve(random_run, n=2)["n"]) == {2}


def test_outcome_table_adds_up(random_run: Run) -> None:
    table = outcome_table(random_run, budgets=[50, 400])
    assert list(table["outcome"]) == [*OUTCOMES, *OUTCOMES]
    assert table.groupby("budget")["fraction"].sum().tolist() == pytest.approx([1, 1])
    found = outcomes(random_run, [400])
    share = (found.outcome == OUTCOMES.index("finished-correct")).mean()
    chosen = table[(table["budget"] == 400) & (table["outcome"] == "finished-correct")]
    assert chosen["fraction"].iloc[0] == pytest.approx(share)


def test_sensitivity_is_paired_with_the_default_rule(random_run: Run) -> None:
    table = sensitivity(random_run, budgets=[100, 400])
    assert len(table) == 8
    default = table[(table["region"] == "anywhere") & (table["pick"] == "last")]
    assert default["difference"].tolist() == [0, 0]
    assert default["low"].isna().all()
    assert default["value"].tolist() == curve(random_run, budgets=[100, 400], ks=[1])["value"].tolist()[:2]
    first = table[(table["region"] == "anywhere") & (table["pick"] == "first")]
    np.testing.assert_allclose(first["difference"], first["value"].to_numpy() - default["value"].to_numpy())
    assert first["low"].le(first["difference"]).all()


def test_extrapolation(random_run: Run) -> None:
    found = outcomes(random_run, [100, 200])
    result = extrapolation(random_run)
    accuracy = found.correct.mean(axis=(0, 1))
    assert result.difference == pytest.approx(accuracy[1] - accuracy[0])
    assert "from 100 to 200 tokens" in result.verdict
    (line,) = extrapolation_sentences([random_run])
    assert line.startswith(f"Toy on toy-math: {result.verdict}; J(200)/J(100) = {result.ratio:.2f} [")


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (None, "no verdict on extrapolation (the model card has no training_budget)"),
        ({"tokens": 400, "source": "test"}, "no verdict on extrapolation (sampled up to 400 tokens, trained to 400)"),
        ({"tokens": 300, "source": "test"}, "points from 300 to 400 tokens"),
    ],
)
def test_extrapolation_as_far_as_there_is_one(tmp_path: Path, training: object, expected: str) -> None:
    run = scored_run(tmp_path / "run", random_samples(3, 2, seed=0), model={"training_budget": training})
    (line,) = extrapolation_sentences([run.path])
    assert expected in line
    assert ("(2·B_tr = 600 was not sampled)" in line) == ("300" in expected)


def test_several_runs_keep_apart(tmp_path: Path, random_run: Run) -> None:
    other = scored_run(tmp_path / "other", random_samples(12, 6, seed=2))
    table = curves([random_run, other.path], budgets=[400], ks=[1])
    assert list(dict.fromkeys(table["model"])) == ["Toy (random)", "Toy (other)"]
    third = scored_run(tmp_path / "third", random_samples(12, 6, seed=2), model={"name": "Third"})
    table = curves([random_run, third], budgets=[400], ks=[1])
    assert list(dict.fromkeys(table["model"])) == ["Toy", "Third"]
    alone = curve(random_run, budgets=[400], ks=[1])
    pd.testing.assert_frame_equal(table[table["model"] == "Toy"], alone)  # the same resamples, whoever is beside


def test_tables_can_be_drawn(random_run: Run) -> None:
    table = curves([random_run])
    assert budget_curve(table).axes[0].get_ylabel() == "pass@1 (%)"
    assert budget_curve(table, metric="finished", k=None).axes
    assert passk_majk(table).axes
    assert outcome_bands(outcome_table(random_run), table).axes


def test_a_problem_without_usable_gold_is_left_out_and_said(tmp_path: Path) -> None:
    samples = [[Said(20, [(10, RIGHT)])], [Said(20, [(10, "5")])], [Said(20, [(10, WRONG)])]]
    run = scored_run(tmp_path / "run", samples, gold_errors={"p1": "cannot be parsed"})
    found = outcomes(run)
    assert found.problem_ids == ("p0", "p2")
    assert found.left_out == {"p1": "cannot be parsed"}
    assert set(curve(run)["problems"]) == {2}
    said = list(extrapolation_sentences([run]))
    assert said[0] == "Toy on toy-math: 1 of 3 problems left out, first p1: cannot be parsed"


def test_missing_samples_are_an_error(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [[Said(20), Said(20)], [Said(20), None]])
    with pytest.raises(UserError, match=r"1 of 4 samples are missing \(first: sample 1 of problem p1\)"):
        curve(run)
    assert set(curve(run, n=1)["n"]) == {1}  # what is complete can be used


def test_scores_of_other_completions_are_an_error(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [[Said(20), None]])
    with run.writer() as writer:
        writer.append([Completion("p0", 1, token_ids=np.zeros(5, np.int32), finish_reason="stop")])
    with pytest.raises(UserError, match="older than the completions of the run: score the run again"):
        curve(run)


def test_unscored_run_is_an_error(random_run: Run) -> None:
    with pytest.raises(UserError, match="not scored yet"):
        curve(random_run, layer="strict")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budgets": [100, 401]}, r"budget: 401 is not in 1\.\.400, the tokens that were sampled"),
        ({"budgets": [0]}, r"budget: 0 is not in 1\.\.400"),
        ({"budgets": []}, "budgets: none given"),
        ({"ks": [1, 7]}, r"k: 7 is not in 1\.\.6"),
        ({"ks": [3], "n": 2}, r"k: 3 is not in 1\.\.2"),
        ({"n": 7}, r"n: 7 is not in 1\.\.6"),
        ({"level": 95}, "level: 95 is not between 0 and 1"),
    ],
)
def test_what_the_run_cannot_show_is_an_error(random_run: Run, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        curve(random_run, **arguments)  # type: ignore[arg-type]


def test_unknown_cap_is_the_longest_completion(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [[Said(20), Said(170)]], max_tokens=None)
    assert default_budgets(run) == [50, 100, 150, 170]

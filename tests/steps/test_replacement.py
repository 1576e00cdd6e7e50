"""Replaced tokens through the store, against a model of which everything is known."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.sampling.following import missing_jobs, stored_traces
from extrap_eval.sampling.rollouts import sample_rollouts
from extrap_eval.steps import logprobs
from extrap_eval.steps.following import FollowPlan, follow, is_complete, price
from extrap_eval.steps.replacement import effect_table, exchanged, plan_replacements, replacement_table
from extrap_eval.store import Run, open_run
from tests.sampling.known_model import FIRST, SECOND, WORDS, KnownEngine, accuracy, most_likely_besides
from tests.steps.followed_runs import sampled_run

LENGTH = 2 + 7 + 1  # words, box, end token
BUDGET = 64


def known_run(folder: Path, *, problems: int = 12, n: int = 3) -> Run:
    run = sampled_run(folder, problems=problems, n=n, budget_max=BUDGET, sampled=False)
    asyncio.run(sample_rollouts(run, KnownEngine(run, 1), concurrency=1))
    return open_run(run.path)


def ask(run: Run, *plans: FollowPlan, seed: int = 2, **engine: Any) -> Any:
    return follow(run, plans, KnownEngine(run, seed, **engine), concurrency=1)


def truth(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Expected accuracy of both ways to go on from each position, and the token that must have been put in."""
    words = KnownEngine(run, 0).words
    traces = {(t.problem_id, t.sample_index): [words.index(i) for i in t.ids[:2].tolist()] for t in stored_traces(run)}
    rows = []
    for id, index, position in table[["problem_id", "sample_index", "position"]].itertuples(index=False, name=None):
        first, second = traces[id, index]
        if position == 0:
            other = most_likely_besides(FIRST, first)
            rows.append((accuracy(first), accuracy(other), words[first], words[other]))
        else:
            other = most_likely_besides(SECOND[first], second)
            rows.append((accuracy(first, second), accuracy(first, other), words[second], words[other]))
    return pd.DataFrame(rows, columns=["kept", "replaced", "token", "other"])


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = known_run(tmp_path_factory.mktemp("known"))
    assert {len(trace.ids) for trace in stored_traces(run)} == {LENGTH}
    (plan,) = plan_replacements(run, at=["early"], positions=4, replicates=25)
    report = ask(run, plan)
    assert (report.missing, report.finished) == (0, 12 * 3 * 2 * (1 + 2 * 25))
    return open_run(run.path)


def test_accuracies_and_tokens_are_those_of_the_model(asked: Run) -> None:
    table = replacement_table(asked)
    expected = truth(table, asked)
    assert len(table) == 12 * 3 * 2  # the two words are the first fifth of the completion
    assert sorted(set(table["position"])) == [0, 1]
    assert table["token"].tolist() == expected["token"].tolist()
    assert table["other"].tolist() == expected["other"].tolist()
    np.testing.assert_allclose(table["relative"], table["position"] / (LENGTH - 1))
    assert (table["kept_tokens"] == LENGTH - 1 - table["position"]).all()
    for side in ("kept", "replaced"):
        error = np.sqrt(np.maximum(expected[side] * (1 - expected[side]), 0.01) / 25)
        off = (table[side] - expected[side]) / error
        assert np.abs(off).max() < 4.5
        assert abs(off.mean()) < 4.5 / np.sqrt(len(off))
    assert table["difference"].tolist() == (table["replaced"] - table["kept"]).tolist()


def test_the_effect_is_that_of_the_model(asked: Run) -> None:
    expected = truth(replacement_table(asked), asked)
    (row,) = effect_table(asked).to_dict("records")
    true = float((expected["replaced"] - expected["kept"]).mean())  # every problem has as many positions
    assert row["positions"] == 72
    assert row["low"] <= true <= row["high"]
    assert abs(row["value"] - true) < 4.5 * np.sqrt(0.5 / (72 * 25))
    assert row["value"] == pytest.approx(row["replaced"] - row["kept"])
    first, second = effect_table(asked, bins=9).to_dict("records")  # by position: 0/9 and 1/9
    assert (first["positions"], second["positions"]) == (36, 36)
    assert row["value"] == pytest.approx((first["value"] + second["value"]) / 2)
    pairs = exchanged(asked)
    assert pairs["positions"].sum() == 72
    assert set(pairs["token"]) | set(pairs["other"]) == set(WORDS)


def test_an_answer_in_the_trace_counts_and_a_box_may_begin_there(tmp_path: Path) -> None:
    """Late positions lie within the box or behind it: trace and continuation are read together."""
    run = known_run(tmp_path, problems=4, n=2)
    (plan,) = plan_replacements(run, at=["late"], share=0.25, positions=9, replicates=2)
    assert ask(run, plan).missing == 0
    right = {(t.problem_id, t.sample_index): t.ids.tolist() for t in stored_traces(run)}
    table = replacement_table(open_run(run.path))
    assert set(table["position"]) == {LENGTH - 3, LENGTH - 2}  # the last digit and the closing brace
    engine = KnownEngine(run, 0)
    golds = {problem.id: f"{int(problem.gold):03d}" for problem in run.problems()}
    for row in table.to_dict("records"):
        ids = right[row["problem_id"], row["sample_index"]]
        whole = engine.distribution(golds[row["problem_id"]], ids[:5])  # what may be the first digit
        assert row["kept"] == (ids[5] == next(iter(whole)))


def test_resumed_and_topped_up(tmp_path: Path) -> None:
    run = known_run(tmp_path, problems=3, n=2)
    plans = plan_replacements(run, at=["early", "random"], positions=1, replicates=2)
    total, stored = price(run, plans)
    assert (total.requests, stored) == (2 * 6 * 5, 0)
    first = ask(run, *plans, fails_after=17)
    assert first.finished == 17
    assert first.missing > 0
    again = plan_replacements(open_run(run.path), at=["early", "random"], positions=1, replicates=2)
    assert ask(run, *again).finished == total.requests - 17
    assert all(is_complete(run, plan) for plan in again)
    before = replacement_table(run, plans[0].name)
    more = plan_replacements(run, at=["early"], positions=2, replicates=3)
    assert more[0].name == plans[0].name
    report = ask(run, *more)
    assert report.finished == 6 * (2 + 1 + 6)  # two more completions at the old position, and a new one
    assert list(missing_jobs(run, [more[0].protocol])) == []
    after = replacement_table(run, plans[0].name)
    assert len(after) == 12
    key = ["problem_id", "sample_index", "position", "other"]
    assert len(after.merge(before, on=key)) == len(before)
    assert effect_table(run, [plans[0].name])["positions"].tolist() == [12]
    assert sorted(effect_table(run)["at"]) == ["early", "random"]


def test_an_engine_without_log_probabilities_is_told_so(tmp_path: Path) -> None:
    run = known_run(tmp_path, problems=2, n=1)
    report = ask(run, *plan_replacements(run, at=["random"]), logprobs=False)
    assert report.finished == 0
    ((reason, _),) = report.reasons()
    assert "log-probabilities" in reason


def fixed_entropies(run: Run) -> dict[Any, np.ndarray]:
    """High at the second word alone."""
    return {key: np.eye(1, LENGTH, 1)[0] for key in sorted(run.keys())}


def test_positions_by_entropy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = known_run(tmp_path, problems=2, n=1)
    with pytest.raises(UserError, match="run extrap-eval logprobs"):
        plan_replacements(run, at=["high-entropy"])
    assert [plan.settings["at"] for plan in plan_replacements(run)] == ["early", "late", "random"]
    known = fixed_entropies(run)
    kept = [(key, SimpleNamespace(entropy=entropy)) for key, entropy in known.items()]
    monkeypatch.setattr(logprobs, "token_distributions", lambda run: iter(kept))
    plans = plan_replacements(run)
    assert [plan.settings["at"] for plan in plans] == ["high-entropy", "low-entropy", "early", "late", "random"]
    (high,) = plan_replacements(run, at=["high-entropy"], share=0.1, replicates=1)
    assert ask(run, high).missing == 0
    assert set(replacement_table(run, high.name)["position"]) == {1}
    # Measured anew, the entropies say something else: what is stored does not belong to it.
    moved = {key: np.roll(entropy, 1) for key, entropy in known.items()}
    with pytest.raises(UserError, match="the entropies have changed since"):
        plan_replacements(run, at=["high-entropy"], share=0.1, entropies=moved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": ["middle"]}, "--at: middle is not one of high-entropy, low-entropy, early"),
        ({"at": ["early"], "share": 0.0}, r"--share: 0 is not in \(0, 1\]"),
        ({"at": ["early"], "n": 9}, r"--n: 9 is not in 1\.\.2"),
    ],
)
def test_bad_input(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    run = sampled_run(tmp_path, problems=2, n=2, budget_max=BUDGET, sampled=False)
    with pytest.raises(UserError, match=message):
        plan_replacements(run, **options)
    with pytest.raises(UserError, match="nothing of kind replace yet"):
        effect_table(run)

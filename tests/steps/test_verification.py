"""Judgements through the store, against a policy whose verification is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.errors import UserError
from extrap_eval.steps.following import first_prompt, follow, is_complete, price
from extrap_eval.steps.outcomes import outcomes, sampled_maximum
from extrap_eval.steps.verification import (
    MODES,
    judgement_table,
    plan_verification,
    problem_table,
    verification_table,
)
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import SEED, asked, engine_of, sampled_run

# The policy makes attempts until one is concluded; the first time that it comes to the proposed answer it verifies that
# answer, and says what it found.
OWN: dict[str, Any] = {
    "mode": "continue",
    "text": "The number is {answer}.\n\n",
    "yes": "{answer} works",
    "no": "{answer} fails",
    "pick": "first",
    "answer_tokens": 1500,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = sampled_run(tmp_path_factory.mktemp("sampled"), problems=24, n=16, probabilities=(0.1, 0.3))
    assert asked(made, plan_verification(made, **OWN, replicates=40)).missing == 0
    return open_run(made.path)


def test_the_policys_own_verification_is_found(run: Run) -> None:
    assert run.model_card.policy is not None
    policy = MarkovPolicy(**run.model_card.policy)  # type: ignore[arg-type]
    table = judgement_table(run)
    assert len(table) == len(table.drop_duplicates(["problem_id", "number", "replicate"]))
    read = table[table["said"] != "unreadable"]
    assert 0.2 < len(read) / len(table) < 0.9  # often another answer is concluded before
    for right, true in ((True, policy.accept_right), (False, policy.accept_wrong)):
        said = read.loc[read["right"] == right, "said"]
        assert len(said) > 200
        error = np.sqrt(true * (1 - true) / len(said))
        assert abs((said == "yes").mean() - true) < 4.5 * error
    rows = verification_table(problem_table(run)).set_index("quantity")
    readable = rows.loc["balanced accuracy of the readable"]
    assert readable["low"] <= (policy.accept_right + 1 - policy.accept_wrong) / 2 <= readable["high"]
    unreadable = rows.loc["unreadable"]
    assert unreadable["value"] == pytest.approx(1 - len(read) / len(table))
    assert unreadable["low"] < unreadable["value"] < unreadable["high"]
    all_ = rows.loc["balanced accuracy"]
    assert all_["value"] < readable["value"]  # what cannot be read counts as neither
    generation = float(outcomes(run, [sampled_maximum(run)]).correct.mean())
    assert rows.loc["pass@1", "value"] == pytest.approx(generation)
    assert rows.loc["gap", "value"] == pytest.approx(all_["value"] - generation)


def test_answers_are_different_and_of_both_kinds(run: Run) -> None:
    (variant,) = run.variants("verify")
    chosen = variant.settings["answers"]
    verdicts = run.layer().answers().set_index(["problem_id", "answer"])["verdict"].to_dict()
    said: dict[str, list[str]] = {id: [] for id in chosen}
    for (id, _), timeline in run.layer().timelines():
        if timeline.answers:
            said[id].append(timeline.answers[-1])
    for id, proposed in chosen.items():
        answers = [answer for answer, _, _ in proposed]
        assert len(answers) == len(set(answers)) <= 4
        assert [right for _, right, _ in proposed] == [verdicts[id, answer] == "correct" for answer in answers]
        # Hidden numbers have one right answer; it is there if anybody gave it, and beside it the usual wrong ones.
        assert sum(right for _, right, _ in proposed) == any(verdicts[id, a] == "correct" for a in said[id])
        wrong = {a for a in said[id] if verdicts[id, a] != "correct"}
        shown = [a for a, right, _ in proposed if not right]
        assert len(shown) == min(len(wrong), 4 - (len(answers) - len(shown)))
        left_out = wrong - set(shown)
        assert all(said[id].count(a) >= said[id].count(b) for a in shown for b in left_out)
    few = plan_verification(run, **OWN, answers=1).settings["answers"]
    assert {len(proposed) for proposed in few.values()} == {1}


def test_problem_table_counts_judgements(run: Run) -> None:
    judged, problems = judgement_table(run), problem_table(run).set_index("problem_id")
    assert problems[["right", "wrong"]].to_numpy().sum() == len(judged)
    for id, rows in judged.groupby("problem_id"):
        accepted = ((rows["right"]) & (rows["said"] == "yes")).sum()
        rejected = ((~rows["right"]) & (rows["said"] == "no")).sum()
        row = problems.loc[id]
        assert (row["accepted"], row["rejected"]) == (accepted, rejected)
        if row["right"] and row["wrong"]:
            balanced = (accepted / row["right"] + rejected / row["wrong"]) / 2
            assert row["balanced"] == pytest.approx(balanced)
            assert row["gap"] == pytest.approx(balanced - row["generation"])
        else:
            assert np.isnan(row["balanced"])


def test_prompts_of_each_mode(run: Run) -> None:
    problem = run.problems()[0]
    table = run.token_table()
    assert table is not None
    sent = {}
    for mode in MODES:
        text = None if mode == "chat" else OWN["text"]
        plan = plan_verification(run, mode=mode, text=text)
        answer, _, index = plan.settings["answers"][problem.id][0]
        _, sent[mode] = first_prompt(run, [plan])
        own = table.decode(run.prompts()[problem.id])
        if mode == "chat":
            assert problem.text in sent[mode]
            assert f"Proposed answer: {answer}" in sent[mode]
            assert sent[mode].count("<|im_start|>user") == 1
            assert own.split(problem.text)[1] in sent[mode]  # the same end, through the same template
        elif mode == "continue":
            assert sent[mode] == f"{own}<think>\nThe number is {answer}.\n\n"
        else:
            trace = next(c for c in run.completions() if c.key == (problem.id, index))
            thought = table.decode(trace.token_ids).partition("</think>")[0]
            assert sent[mode].startswith(own + thought.rstrip("\n"))
            assert sent[mode].endswith(f"\n\nThe number is {answer}.\n\n")
            assert "</think>" not in sent[mode]
    assert len(set(sent.values())) == 3


def test_resumed_topped_up_and_priced(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=4, n=4)
    plan = plan_verification(run, **OWN, replicates=2)
    total, stored = price(run, [plan])
    judged = sum(map(len, plan.settings["answers"].values()))
    assert (total.requests, stored) == (2 * judged, 0)
    assert asked(run, plan).finished == total.requests
    assert is_complete(run, plan)
    more = plan_verification(run, **OWN, replicates=3)
    assert more.name == plan.name
    assert asked(run, more).finished == judged
    assert price(run, [more])[1] == 3 * judged
    assert len(judgement_table(run)) == 3 * judged
    json.loads(verification_table(problem_table(run)).to_json(orient="records"))


def test_another_runs_answers(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=5, n=3)
    (tmp_path / "b").mkdir()
    second = sampled_run(tmp_path / "b", problems=5, n=6, seed=SEED + 1)
    plan = plan_verification(run, answers_of=second, **OWN, replicates=2)
    own = plan_verification(run, **OWN, replicates=2)
    assert plan.name != own.name
    assert plan.settings["answers"] == plan_verification(second, **OWN).settings["answers"]
    assert follow(run, [plan], engine_of(run), concurrency=8, seed=1).missing == 0
    assert len(judgement_table(run, plan.name)) == 2 * sum(map(len, plan.settings["answers"].values()))
    found = problem_table(run, plan.name)
    generation = outcomes(run, [sampled_maximum(run)]).correct.mean(axis=(1, 2))
    assert set(found["generation"]) <= set(generation.tolist())  # of the judging run, not of the other
    (tmp_path / "c").mkdir()
    third = sampled_run(tmp_path / "c", problems=4, n=2)
    with pytest.raises(UserError, match="have different problems"):
        plan_verification(run, answers_of=third)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "Is it right? {problem}"}, "--text: {answer}"),
        ({"text": "Is {answer} right?"}, "--text: {problem}"),
        ({"mode": "continue", "text": "Is it right?"}, "--text: {answer}"),
        ({"yes": "(right"}, "--yes: '(right' is no regular expression"),
        ({"mode": "thought", "text": "{think_close} a {think_close}"}, "--text: "),
    ],
)
def test_bad_input(run: Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        plan_verification(run, **options)
    assert str(error.value).startswith(message)

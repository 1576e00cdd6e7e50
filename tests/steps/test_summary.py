from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.metrics.budgets import saturation_budget, training_budget
from extrap_eval.metrics.extrapolation import gain
from extrap_eval.metrics.intervals import interval, resamples
from extrap_eval.metrics.majk import class_counts, maj_at_k_many
from extrap_eval.steps.compare import dense_budgets
from extrap_eval.steps.forcing import forcing_table, plan_forcing
from extrap_eval.steps.outcomes import outcomes
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.regret import regret_by_tokens
from extrap_eval.steps.report_card import Entry, ReportCard, summary_table
from extrap_eval.steps.score import ensure_scored
from extrap_eval.steps.summary import Settings, summaries, summary
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import asked, sampled_run
from tests.steps.scored_runs import Said, random_samples, scored_run


def entries(card: ReportCard) -> dict[str, Entry]:
    return {entry.quantity: entry for entry in card.entries}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored_run(tmp_path_factory.mktemp("summary") / "run", random_samples(30, 8, seed=1))


def test_from_the_training_budget_to_its_double(run: Run) -> None:
    card = summary(run)
    assert (card.model, card.benchmark, card.problems, card.n) == ("Toy", "toy-math", 30, 8)
    at = outcomes(run, [100, 200]).correct.mean(axis=1)  # (P, B)
    draws = resamples(30, 2000, 0)
    low, high = interval(at.T, draws)
    found = entries(card)
    for name, j in (("J(B_tr)", 0), ("J(2·B_tr)", 1)):
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx(
            (at[:, j].mean(), low[j], high[j])
        )
    gained = gain(at[:, 0], at[:, 1], draws, budgets=(100, 200))
    assert (found["gain"].value, found["gain"].low, found["gain"].high) == (gained.difference, gained.low, gained.high)
    assert found["J(2·B_tr) / J(B_tr)"].value == pytest.approx(at[:, 1].mean() / at[:, 0].mean())
    assert gained.verdict in card.verdict


def test_votes_for_the_same_tokens(run: Run) -> None:
    found = outcomes(run, [100, 200])
    spent = [np.minimum(found.n_tokens, budget).mean() for budget in (100, 200)]
    k = spent[1] / spent[0]
    counts = class_counts(found.class_id[..., 0], found.correct[..., 0])
    votes = [maj_at_k_many(*counts, whole)[0].mean() for whole in (1, 2, 3)]
    other = np.interp(k, [1, 2, 3], votes)
    entry = entries(summary(run))["thinking to 200 − maj@k for its tokens"]
    assert entry.value == pytest.approx(found.correct[..., 1].mean() - other)
    assert entry.note == f"maj@{k:.1f} of samples cut at 100 gets {100 * other:.1f} %"
    assert "thinking to 400 − maj@k for its tokens" in entries(summary(run))


def test_both_readings_of_the_rule_and_saturation(run: Run) -> None:
    # The run's default budgets whose double was sampled
    settings = Settings(kappa=1.1, floor=60, tolerance=0.03)
    found = entries(summary(run, settings))
    budgets = [50, 100, 150, 200]
    values, doubled = (outcomes(run, [f * b for b in budgets]).correct.mean(axis=1).T for f in (1, 2))
    draws = resamples(30, 2000, 0)
    whole = outcomes(run, [400])
    for reading, floor in (("workshop", whole.n_tokens.mean(axis=1)), ("paper", 60)):
        known = training_budget(budgets, values, doubled, floor, draws, reading=reading, kappa=1.1)  # type: ignore[arg-type]
        entry = found[f"B*_tr (Eq. 3, {reading})"]
        assert (entry.value, entry.low, entry.high) == (known.budget, known.low, known.high)
        assert entry.note.startswith("smallest of 50, 100, 150, 200 with J(2B)")
    grid = sorted({*dense_budgets(400), *(b for b in [*budgets, 300] if b >= min(dense_budgets(400)))})
    known = saturation_budget(grid, outcomes(run, grid).correct.mean(axis=1).T, draws, tolerance=0.03)
    assert found["saturation budget"].value == known.budget
    assert (found["saturation budget"].low, found["saturation budget"].high) == (known.low, known.high)


def test_what_a_run_does_not_have_is_named_with_its_command(tmp_path: Path, run: Run) -> None:
    found = entries(summary(run))
    assert found["normalised regret"].unit == "missing"
    assert found["normalised regret"].note == f"none yet: extrap-eval probe {run.path}"
    assert found["forcing gain"].note == f"none yet: extrap-eval force {run.path}"
    samples = random_samples(6, 2, seed=1)
    unknown = scored_run(tmp_path / "unknown", samples, model={"training_budget": None})
    card = summary(unknown)
    assert card.entries[0].note == "the model card has no training_budget: say --training-budget TOKENS"
    assert "no verdict on extrapolation (the model card has no training_budget" in card.verdict
    assert entries(summary(unknown, Settings(training=100)))["J(B_tr)"].unit == "fraction"
    short = summary(run, Settings(training=400))
    assert "trained to 400 tokens, sampled to 400: extrap-eval sample" in short.entries[0].note
    assert "--budget-max 800" in short.verdict
    almost = entries(summary(run, Settings(training=300)))
    assert almost["J(maximum)"].note == "at 400 tokens; 2·B_tr = 600 was not sampled"
    one = {"model": {"training_budget": None}, "benchmark": {"budgets": [400]}}
    tiny = scored_run(tmp_path / "tiny", samples, **one)  # type: ignore[arg-type]
    assert entries(summary(tiny, Settings(training=300)))["B*_tr (Eq. 3)"].unit == "missing"


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ((150, 150), "Toy extrapolates: +"),
        ((50, 50), "Toy is not seen to extrapolate: indistinguishable"),
        ((390, 390), "Toy is not seen to extrapolate: indistinguishable"),
    ],
)
def test_verdicts(tmp_path: Path, at: tuple[int, int], said: str) -> None:
    rows = [[Said(400, [(where, "7" if i % 3 else "8")], finished=False) for where in at] for i in range(30)]
    card = summary(scored_run(tmp_path / "run", rows))
    assert card.verdict.startswith(said)
    assert ("still growing at 400 tokens" in card.verdict) == (at[0] > 200)


def test_unlearning_is_said(tmp_path: Path) -> None:
    rows = [[Said(400, [(60, "7"), (150, "8" if i % 2 else "7")], finished=False)] * 2 for i in range(30)]
    assert summary(scored_run(tmp_path / "run", rows)).verdict.startswith(
        "Toy gets worse beyond its training budget: −50"
    )


def test_several_runs_and_their_table(run: Run, tmp_path: Path) -> None:
    other = scored_run(tmp_path / "other", random_samples(30, 4, seed=2))
    cards = summaries([run, other])
    assert [card.model for card in cards] == ["Toy (run)", "Toy (other)"]
    table = summary_table(cards)
    assert len(table) == sum(len(card.entries) for card in cards)
    assert set(table["n"]) == {8, 4}
    with pytest.raises(UserError, match="--kappa: 0 is not positive"):
        summaries([run], Settings(kappa=0))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Probed and forced."""
    run = sampled_run(tmp_path_factory.mktemp("followed"), problems=6, n=4)
    asked(run, plan_probes(run, group_size=3, replicates=2, n=2))
    asked(run, plan_forcing(run, extensions=2, answers_after=[0, 2], replicates=2, n=3))
    ensure_scored(run.path)
    return open_run(run.path)


def test_regret_and_forcing(followed: Run) -> None:
    found = entries(summary(followed, Settings(training=400)))
    known = regret_by_tokens(followed, budgets=[800]).iloc[0]
    regret = found["normalised regret"]
    assert (regret.value, regret.low, regret.high) == pytest.approx((known["value"], known["low"], known["high"]))
    assert regret.note.startswith("of 2 samples up to 800 tokens")

    forced = forcing_table(followed).iloc[-1]
    own = outcomes(followed, dense_budgets(1500), n=3)
    tokens = np.minimum(own.n_tokens[..., None], own.budgets).mean(axis=(0, 1))
    alone = np.interp(forced["tokens"], [0, *tokens], [0, *own.correct.mean(axis=(0, 1))])
    entry = found["forcing gain"]
    assert entry.value == pytest.approx(forced["value"] - alone)
    assert entry.low <= entry.value <= entry.high
    assert f"{forced['tokens']:,.0f} tokens after 2 extensions, 3 samples" in entry.note
    assert not math.isnan(found["forcing − maj@k for its tokens"].value)

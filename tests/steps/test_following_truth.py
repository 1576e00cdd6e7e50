"""Probes, forcing and regret of sampled runs of the markov model against what is exactly true of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.markov import forcing_truth, probe_truth
from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.sampling.forcing import MRT_STRINGS
from extrap_eval.steps.following import follow
from extrap_eval.steps.forcing import audit_table, forcing_table, plan_forcing
from extrap_eval.steps.probe_curves import forced_budgets, probe_votes
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.regret import regret_by_groups, regret_by_tokens
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import (
    policy_cards,
)

pytestmark = pytest.mark.slow

POLICY = {
    "attempt_tokens": 40, "accept_right": 0.7, "accept_wrong": 0.05, "give_up": 0.1, "loop": 0.02, "distractors": 3,
    "distractor_decay": 0.6, "max_attempts": 7, "recall": 0.8,
}  # fmt: skip
PROBABILITIES = [0.1, 0.3, 0.5]
PROBLEMS, SAMPLES, MAX_TOKENS, GROUP, CAP = 60, 8, 400, 2, 100
WITHIN = 3.0  # standard errors; a fixed seed makes this one draw


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("truth")
    cards = policy_cards(folder, POLICY, problems=PROBLEMS, probabilities=PROBABILITIES, budgets=[60, 120, 200, 300])
    plan = plan_sampling(*cards, n=SAMPLES, budget_max=MAX_TOKENS)
    run = prepare_run(plan, folder / "run")
    policy = MarkovPolicy(**POLICY)  # type: ignore[arg-type]
    sample(plan, run, MarkovEngine(policy), seed=11)
    plans = [
        plan_probes(run, group_size=GROUP, replicates=4),
        plan_probes(run, group_size=GROUP, replicates=2, answer_tokens=200),  # beside it, for regret by groups
        plan_probes(run, at="budgets", replicates=2),
        plan_forcing(run, extensions=4, extension_tokens=CAP, answers_after=[0, 1, 2, 3, 4], replicates=2),
    ]
    assert follow(run, plans, MarkovEngine(policy), seed=11).missing == 0
    return open_run(run.path)


def assert_near(what: str, row: Any, truth: float) -> None:
    """``row``: value, low and high of a table. Prints how far the value is from the truth."""
    error = max((row.high - row.low) / 2 / NormalDist().inv_cdf(0.975), 1e-3)
    away = (row.value - truth) / error
    print(f"  {what:34}{row.value:9.4f}{truth:9.4f}{error:9.4f}{away:+7.1f}")
    assert abs(away) < WITHIN, what


def probes_of(run: Run, answer_tokens: int) -> str:
    """The name of one of the two variants of probes."""
    (name,) = [v.name for v in run.variants("probe-episodes") if v.settings["answer_tokens"] == answer_tokens]
    return name


def policy() -> MarkovPolicy:
    return MarkovPolicy(**POLICY)  # type: ignore[arg-type]


def test_votes_after_every_group_of_episodes(run: Run) -> None:
    probabilities = PROBABILITIES * (PROBLEMS // len(PROBABILITIES))
    truth = probe_truth.probe_majority(policy(), probabilities, GROUP, [1, 2, 4])
    curve = probe_votes(run, probes_of(run, 4096), bin_width=1000)
    assert int(curve["group"].max()) == 4
    for row in curve.itertuples():
        if row.traces >= 60:
            assert_near(f"[maj@{row.p}] after {row.group} groups", row, truth[row.group, [1, 2, 4].index(row.p)])
    by_group = curve[curve["p"] == 1].set_index("group")["value"]
    assert by_group[1] > by_group[0] + 0.05


def test_cut_and_forced_answers_at_budgets(run: Run) -> None:
    curve = forced_budgets(run).query("semantics == 'forced'")
    truths = [probe_truth.forced_answers(policy(), p, curve["budget"].to_numpy())[:, 0] for p in PROBABILITIES]
    for row, truth in zip(curve.itertuples(), np.mean(truths, axis=0), strict=True):
        assert_near(f"forced at {row.budget} tokens", row, truth)


def test_accuracy_and_tokens_after_extensions(run: Run) -> None:
    truths = [forcing_truth.forced(policy(), p, MRT_STRINGS, cap=CAP, max_tokens=MAX_TOKENS) for p in PROBABILITIES]
    accuracy = np.mean([truth.accuracy for truth in truths], axis=0)
    tokens = np.mean([truth.tokens for truth in truths], axis=0)
    table = forcing_table(run)
    assert table["w"].tolist() == [0, 1, 2, 3, 4]
    answer = float(policy().conclusion_tokens - 1)
    for row in table.itertuples():
        assert_near(f"after {row.w} extensions", row, accuracy[row.w])
        assert row.tokens == pytest.approx(tokens[row.w] + answer, rel=0.06)
    assert table["value"].iloc[-1] > table["value"].iloc[0]
    audit = audit_table(run)
    assert (audit["traces"] == PROBLEMS * SAMPLES).all()


def test_regret_by_tokens(run: Run) -> None:
    budgets = [100, 200, 300]
    probabilities = PROBABILITIES
    truth = probe_truth.token_regret(policy(), probabilities, GROUP, budgets, max_tokens=MAX_TOKENS)
    table = regret_by_tokens(run, probes_of(run, 4096), budgets=budgets)
    for row, expected in zip(table.itertuples(), truth, strict=True):
        assert_near(f"regret at {row.at} tokens", row, expected)


def test_regret_by_groups(run: Run) -> None:
    """Of two answers per probe, which is as many as can be enumerated."""
    groups = [1, 2, 3, 4]
    truth = probe_truth.episode_regret(policy(), PROBABILITIES, GROUP, groups, [1, 2], replicates=2)
    table = regret_by_groups(run, probes_of(run, 200))
    for row, expected in zip(table.itertuples(), truth, strict=True):
        assert_near(f"regret after {row.at} groups", row, expected)


def test_a_run_directory_is_enough(run: Run, tmp_path: Path) -> None:
    """Copied elsewhere, scored layers and all, it gives the same tables without engine or cards."""
    shutil.copytree(run.path, tmp_path / "copy")
    name = probes_of(run, 4096)
    assert probe_votes(tmp_path / "copy", name).equals(probe_votes(run, name))

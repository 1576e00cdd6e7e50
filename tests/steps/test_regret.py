"""Regret of a probed run against its own table, walked point by point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.forcing import force_table, plan_forcing
from extrap_eval.steps.probes import plan_probes, probe_table
from extrap_eval.steps.regret import regret_by_groups, regret_by_tokens, regret_of_runs
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import asked, sampled_run

EXTENSION = 150


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = sampled_run(tmp_path_factory.mktemp("regret"), problems=5, n=2, budget_max=800)
    forcing = plan_forcing(run, extensions=2, extension_tokens=EXTENSION, answers_after=[0, 1, 2], replicates=2)
    asked(run, plan_probes(run, group_size=3, replicates=8), forcing)
    return open_run(run.path)


def points(run: Run, forced: bool) -> dict[str, list[list[tuple[float, float]]]]:
    """Tokens and accuracy of each probe of each trace, by problem."""
    tables = [probe_table(run).assign(where=lambda t: t["prefix_tokens"])]
    if forced:
        extended = force_table(run)
        tables.append(extended[extended["w"] > 0].assign(where=lambda t: t["thought_tokens"], j=lambda t: t["w"]))
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for table in tables:
        for (problem, sample, _), rows in table.groupby(["problem_id", "sample_index", "j"]):
            place = (float(rows["where"].iloc[0] + rows["answer_tokens"].mean()), float(rows["correct"].mean()))
            found.setdefault(problem, {}).setdefault(sample, []).append(place)
    return {problem: list(samples.values()) for problem, samples in found.items()}


def regret_at(budget: float, traces: dict[str, list[list[tuple[float, float]]]]) -> float:
    def mean_height(trace: list[tuple[float, float]]) -> float:
        x, y = zip(*[(0.0, 0.0), *sorted(trace)], strict=True)
        middles = (np.arange(40_000) + 0.5) * budget / 40_000
        return float(np.interp(middles, x, y).mean())

    return 1 - float(np.mean([np.mean([mean_height(trace) for trace in each]) for each in traces.values()]))


def test_by_tokens(run: Run) -> None:
    table = regret_by_tokens(run)
    natural = max(completion.n_tokens for completion in run.completions(columns=[]))
    assert (table["natural"] <= natural).all()
    assert len(table) == 8
    for row in table.itertuples():
        assert row.value == pytest.approx(regret_at(row.at, points(run, forced=False)), abs=1e-3)
        assert row.low <= row.value <= row.high


def test_forcing_continues_it_beyond_the_longest_completion(run: Run) -> None:
    (variant,) = run.variants("force")
    plain, table = regret_by_tokens(run), regret_by_tokens(run, forced=variant.name)
    assert table.iloc[:8].equals(plain)
    beyond = table.iloc[8:]
    assert (beyond["at"] > plain["natural"].iloc[0]).all()
    assert beyond["at"].is_monotonic_increasing
    for row in beyond.itertuples():
        assert row.value == pytest.approx(regret_at(row.at, points(run, forced=True)), abs=1e-3)


def test_paper_exact_is_another_number(run: Run, tmp_path: Path) -> None:
    for function in (regret_by_tokens, regret_by_groups):
        sound, paper = function(run), function(run, protocol="paper-exact")
        assert sound["at"].tolist() == paper["at"].tolist()
        assert (sound["value"] - paper["value"]).abs().max() > 0.002
    few = sampled_run(tmp_path, problems=2, n=1)
    asked(few, plan_probes(few, replicates=4))
    with pytest.raises(UserError, match="--paper-exact: needs 8 answers per probe, not 4"):
        regret_by_groups(few, protocol="paper-exact")


def test_several_runs_are_told_apart(run: Run) -> None:
    tokens = regret_of_runs([run.path, run], "tokens")
    assert tokens["model"].nunique() == 1  # it is one run twice
    assert len(tokens) == 2 * len(regret_by_tokens(run, forced=run.variants("force")[0].name))
    assert regret_of_runs([run], "groups")["at"].tolist() == regret_by_groups(run)["at"].tolist()


def test_extensions_of_fewer_samples_do_not_continue_it(tmp_path: Path) -> None:
    run = sampled_run(tmp_path, problems=2, n=2)
    forcing = plan_forcing(run, extensions=1, extension_tokens=50, answers_after=[1], replicates=1, n=1)
    asked(run, plan_probes(run, replicates=1), forcing)
    with pytest.raises(UserError, match="the extensions do not cover the samples that were probed"):
        regret_by_tokens(run, forced=forcing.name)
    assert len(regret_of_runs([run], "tokens")) == 8

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.curves import curve
from extrap_eval.steps.efficiency import attempt_tables, token_ratios, vote_table
from extrap_eval.steps.outcomes import sampled_maximum
from extrap_eval.steps.probes import plan_probes, probe_table
from extrap_eval.steps.score import ensure_scored
from extrap_eval.store import Run, open_run
from tests.steps.followed_runs import asked, sampled_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = sampled_run(tmp_path_factory.mktemp("efficiency"), problems=6, n=4)
    asked(run, plan_probes(run, group_size=3, replicates=3))
    ensure_scored(run.path)
    return open_run(run.path)


def test_votes_are_those_of_the_curve_at_k_times_the_tokens(run: Run) -> None:
    table = vote_table([run])
    known = curve(run, budgets=[sampled_maximum(run)]).query("metric == 'maj@k'")
    assert table["k"].tolist() == known["k"].tolist() == [1, 2, 4]
    np.testing.assert_allclose(table[["value", "low", "high"]], known[["value", "low", "high"]])
    mean = np.mean([completion.n_tokens for completion in run.completions(columns=[])])
    np.testing.assert_allclose(table["tokens"], table["k"] * mean)
    with pytest.raises(UserError, match=r"k: \[5\] is not in 1\.\.4"):
        vote_table([run], ks=[5])


def test_a_run_needs_as_many_tokens_as_itself(run: Run) -> None:
    same = token_ratios(run, run)
    assert len(same) > 0
    assert same[["ratio", "low", "high"]].values.tolist() == [[1.0, 1.0, 1.0]] * len(same)
    assert same["tokens_a"].equals(same["tokens_b"])
    best = vote_table([run])["value"].max()
    assert (same["accuracy"] <= best + 1e-9).all()
    beyond = token_ratios(run, run, targets=[best / 2, min(1.0, best + 0.01)])
    assert np.isinf(beyond["tokens_a"].iloc[1]) or best == 1.0


def test_runs_on_different_problems_are_not_compared(run: Run, tmp_path: Path) -> None:
    other = sampled_run(tmp_path, problems=3, n=4)
    ensure_scored(other.path)
    with pytest.raises(UserError, match="cannot be compared: they differ in their problems"):
        token_ratios(run, open_run(other.path))


def test_longer_or_more(run: Run) -> None:
    cells, equal = attempt_tables(run)
    assert set(cells["k"]) == {1, 2, 4}
    wide = cells.pivot(index="group", columns="k", values="value")
    assert (wide.diff(axis=1).iloc[:, 1:] >= -1e-12).all(axis=None)  # pass@k grows with k
    answers = probe_table(run)
    last = answers[answers["last"]].groupby(["problem_id", "sample_index"])["correct"].mean()
    assert wide[1].iloc[-1] == pytest.approx(last.groupby("problem_id").mean().mean())
    tokens = cells.pivot(index="group", columns="k", values="tokens")
    for row in equal.itertuples():
        possible = tokens[row.k].min() <= row.budget <= tokens[row.k].max()
        assert np.isnan(row.value) != possible
        if possible:
            assert wide[row.k].min() - 1e-9 <= row.value <= wide[row.k].max() + 1e-9
    assert 1 <= equal["budget"].nunique() <= 4
    _, chosen = attempt_tables(run, ks=[1, 2], budgets=[300], vote="maj")
    assert chosen[["k", "budget"]].values.tolist() == [[1, 300], [2, 300]]
    with pytest.raises(UserError, match=r"k: \[9\] is not in 1\.\.4"):
        attempt_tables(run, ks=[9])

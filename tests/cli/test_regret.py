"""``extrap-eval regret`` and ``extrap-eval efficiency`` in this process: what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from extrap_eval.cli import app
from extrap_eval.errors import UserError
from extrap_eval.steps.efficiency import token_ratios
from extrap_eval.steps.probes import plan_probes
from extrap_eval.steps.regret import regret_by_groups, regret_by_tokens
from tests.steps.followed_runs import asked, sampled_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regret")
    for name, problems in (("one", 4), ("two", 4), ("few", 2)):
        run = sampled_run(folder, problems=problems, n=2, budget_max=1500, name=name)
        asked(run, plan_probes(run, group_size=3, replicates=8))
    return folder


def call(*arguments: object) -> Result:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


def test_regret_by_tokens_and_by_groups(folder: Path) -> None:
    found = json.loads(call("regret", folder / "one", "--json").stdout)
    assert [row["value"] for row in found] == pytest.approx(regret_by_tokens(folder / "one")["value"].tolist())
    found = json.loads(call("regret", folder / "one", "--by", "groups", "--paper-exact", "--json").stdout)
    expected = regret_by_groups(folder / "one", protocol="paper-exact")
    assert [row["value"] for row in found] == pytest.approx(expected["value"].tolist(), nan_ok=True)
    shown = call("regret", folder / "one", folder / "two", "--budgets", "200,400", "--figure", folder / "regret.png")
    assert shown.stdout.count("markov (one)") == shown.stdout.count("markov (two)") == 2
    assert (folder / "regret.png").stat().st_size > 10_000
    with pytest.raises(UserError, match="--budgets belongs to --by tokens"):
        call("regret", folder / "one", "--by", "groups", "--budgets", "3")


def test_efficiency_of_one_and_of_two(folder: Path) -> None:
    one = call("efficiency", folder / "one")
    assert "maj@k" in one.stdout
    assert "over those of" not in one.stdout
    two = call("efficiency", folder / "one", folder / "two", "--accuracy", "20", "--figure", folder / "votes.png")
    assert "tokens of markov (one) over those of markov (two)" in " ".join(two.stdout.split())
    assert (folder / "votes.png").stat().st_size > 10_000
    found = json.loads(call("efficiency", folder / "one", folder / "two", "--accuracy", "20", "--json").stdout)
    expected = token_ratios(folder / "one", folder / "two", targets=[0.2])
    assert found["ratios"][0]["ratio"] == pytest.approx(expected["ratio"].iloc[0])


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["one"], ["--accuracy", "20"], "--accuracy compares two runs"),
        (["one", "two"], ["--accuracy", "120"], "--accuracy: 120: more than 100 %"),
        (["one", "few"], [], "cannot be compared: they differ in their problems"),
        (["one"], ["--k", "3"], r"k: \[3\] is not in 1\.\.2"),
    ],
)
def test_bad_input(folder: Path, names: list[str], options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call("efficiency", *(folder / name for name in names), *options)


@pytest.mark.parametrize("figure", ["progress", "regret", "regret-groups", "votes"])
def test_figures_of_several_runs(folder: Path, figure: str) -> None:
    out = folder / f"{figure}.svg"
    call("plot", folder / "one", folder / "two", "--figure", figure, "--out", out)
    assert "<svg" in out.read_text()
    with pytest.raises(UserError, match="draws one run, not 2"):
        call("plot", folder / "one", folder / "two", "--figure", "grid", "--out", out)

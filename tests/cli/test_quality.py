"""``extrap-eval quality`` and ``lengths`` in this process, on a run of the markov model."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from extrap_eval.cli import app
from extrap_eval.errors import UserError
from extrap_eval.store import Run
from tests.steps.followed_runs import sampled_run

pytestmark = pytest.mark.slow  # commands, each a process of its own


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sampled_run(tmp_path_factory.mktemp("quality"), problems=6, n=4, budget_max=2048)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_quality_table(run: Run) -> None:
    done = call("quality", run.path, "--budgets", "256,2k")
    assert done.exit_code == 0, done.output
    assert "markov on Small, in %; 3-grams of words" in done.stdout
    endings = [line.split("│")[2].strip() for line in done.stdout.splitlines() if line.startswith("│")]
    assert endings[0] == "all"
    assert set(endings) <= {"all", "correct", "incorrect", "cut"}


def test_quality_for_machines(run: Run, tmp_path: Path) -> None:
    records = json.loads(call("quality", run.path, "--budgets", "256,2k", "--unit", "tokens", "--json").stdout)
    assert {(row["budget"], row["unit"]) for row in records} == {(256, "tokens"), (2048, "tokens")}
    assert len(records) == 2 * 4 * 7
    done = call("quality", run.path, "--csv", "--figure", tmp_path / "q.svg")
    table = pd.read_csv(io.StringIO(done.stdout))
    assert set(table["budget"]) == {256, 512, 1024, 2048}
    assert (tmp_path / "q.svg").read_text().startswith("<?xml")


def test_lengths_table(run: Run) -> None:
    done = call("lengths", run.path, "--kappa", 1.1)
    assert done.exit_code == 0, done.output
    assert "markov on Small: completion tokens" in done.stdout
    assert "training budget by Eq. 3, κ = 1.1" in done.stdout
    assert "B*_tr (workshop) = " in done.stdout
    assert "the smallest candidate with J(2B) ≤ 1.1·J(B), B ≥ B0 (256 tokens)" in done.stdout


def test_lengths_for_machines(run: Run, tmp_path: Path) -> None:
    done = call("lengths", run.path, "--by", "accuracy", "--budgets", "256,512", "--json")
    facts = json.loads(done.stdout)
    assert [choice["reading"] for choice in facts["choices"]] == ["workshop", "paper"]
    for choice in facts["choices"]:
        assert sum(share["share"] for share in choice["shares"]) == pytest.approx(1)
        assert choice["budget"] in (None, 256, 512)
    assert {row["by"] for row in facts["lengths"]} == {"accuracy"}
    assert [row["budget"] for row in facts["budgets"]][:2] == [256, 512]
    done = call("lengths", run.path, "--csv", "--figure", tmp_path / "l.png")
    table = pd.read_csv(io.StringIO(done.stdout))
    assert set(table["ending"]) == {"all", "correct", "incorrect", "cut"}
    assert (tmp_path / "l.png").stat().st_size > 1000


@pytest.mark.parametrize("figure", ["quality", "lengths"])
def test_plot(run: Run, tmp_path: Path, figure: str) -> None:
    done = call("plot", run.path, "--figure", figure, "-o", tmp_path / "out.svg")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quality", "--csv", "--json"], "--csv and --json exclude each other"),
        (["lengths", "--csv", "--json"], "--csv and --json exclude each other"),
        (["lengths", "--kappa", "0"], "--kappa: 0 is not positive"),
        (["lengths", "--budgets", "2048"], "twice 2048 is more than the 2048 tokens sampled"),
        (["quality", "--budgets", "4096"], "4096 is not in 1..2048"),
    ],
)
def test_refusals(run: Run, arguments: list[str], message: str) -> None:
    done = call(arguments[0], run.path, *arguments[1:])
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)

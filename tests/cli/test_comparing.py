"""``compare``, ``plan`` and ``summary`` through the command, on runs of the markov model."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.steps.followed_runs import sampled_run

pytestmark = pytest.mark.slow  # each test runs several commands, each a process of its own


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one benchmark, ``a`` and ``b``."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("a_run", "b_run")):
        sampled_run(folder, problems=12, n=4, name=name, seed=seed)
    return folder


def test_compare(command: Command, sampled: Path, tmp_path: Path) -> None:
    a, b = sampled / "a_run", sampled / "b_run"
    done = command("compare", a, b, "--figure", "difference.png", "--problems")
    assert done.returncode == 0, done.stderr
    for part in ("A = markov (a_run), B = markov (b_run)", "p (Holm)", "never right of 4", "Holm's correction"):
        assert part in done.stdout
    assert (tmp_path / "difference.png").stat().st_size > 5000
    facts = json.loads(command("compare", a, b, "--json", "--budgets", "512,1k").stdout)
    assert [row["budget"] for row in facts["differences"]] == [512, 1024]
    assert len(facts["problems"]) == 24
    assert facts["unlike"] == []
    rows = list(csv.DictReader(io.StringIO(command("compare", a, b, "--csv", "--metric", "maj", "--k", 4).stdout)))
    assert {row["metric"] for row in rows} == {"maj@k"}
    same = command("compare", a, a, "--json").stdout
    assert all(row["p"] == 1 for row in json.loads(same)["differences"])


def test_unlike_runs_need_a_word(command: Command, sampled: Path, tmp_path: Path) -> None:
    other = sampled_run(tmp_path, problems=5, n=4, name="other")
    refused = command("compare", sampled / "a_run", other.path)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "they differ in their problems" in refused.stderr
    assert "--allow problems" in refused.stderr
    unknown = command("compare", sampled / "a_run", other.path, "--allow", "all")
    assert "--allow: all is not one of problems, prompt, rule, sampling" in unknown.stderr


def test_plan(command: Command, sampled: Path) -> None:
    done = command("plan", sampled / "a_run", "--width", 20, "--difference", 10, "--tokens-per-second", 1000)
    assert done.returncode == 0, done.stderr
    for part in ("informative", "detectable", "GPU-hours", "an interval of 20 points, 12 problems", "median"):
        assert part in done.stdout
    facts = json.loads(command("plan", sampled / "a_run", sampled / "b_run", "--n", "8,16", "--json").stdout)
    assert {row["n"] for row in facts["designs"]} == {8, 16}
    assert facts["needs"] == []
    without = command("plan", "--accuracy", 30, "--problems", "30,60", "--width", 15)
    assert without.returncode == 0, without.stderr
    assert "no pilot: 50 %" in without.stdout
    nothing = command("plan")
    assert nothing.returncode == 1
    assert nothing.stderr.count("\n") == 1


def test_summary_says_what_is_missing_and_then_has_it(command: Command, sampled: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(sampled / "a_run", run)
    done = command("summary", run, "--training-budget", 400)
    assert done.returncode == 0, done.stderr
    assert f"none yet: extrap-eval probe {run}" in done.stdout.replace("\n", "")
    assert f"none yet: extrap-eval force {run}" in done.stdout.replace("\n", "")
    assert command("probe", run, "--n", 2, "--replicates", 2, "--quiet").returncode == 0
    assert command("force", run, "--n", 2, "--replicates", 2, "--extensions", 2, "--quiet").returncode == 0
    cards = json.loads(command("summary", run, "--training-budget", 400, "--json").stdout)
    assert not [entry for entry in cards[0]["entries"] if entry["unit"] == "missing"]
    assert "400 to 800 tokens" in cards[0]["verdict"]
    page = command("summary", run, sampled / "b_run", "--markdown").stdout
    assert page.count("### markov (") == 2
    assert page.count("| --- | --- | --- |") == 2
    rows = list(csv.DictReader(io.StringIO(command("summary", run, "--csv").stdout)))
    assert {"quantity", "value", "low", "high", "unit", "note"} <= set(rows[0])
    clash = command("summary", run, "--csv", "--json")
    assert clash.returncode == 1
    assert "exclude each other" in clash.stderr

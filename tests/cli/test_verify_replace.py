"""Judging and replacing through the command: with the stand-in model, and with the reference model in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from extrap_eval.cli import app
from extrap_eval.errors import UserError
from extrap_eval.store import open_run
from tests.cli.conftest import Command
from tests.steps.followed_runs import sampled_run

pytestmark = pytest.mark.slow  # commands, each a process of its own

JUDGE = (
    *("verify", "run", "--mode", "continue", "--text", "The number is {answer}.\n\n", "--pick", "first"),
    *("--yes", "{answer} works", "--no", "{answer} fails", "--answer-tokens", 800, "--quiet", "--seeded", 1),
)
# The reference model's own way to check a conclusion.
OWN = ("--text", "Wait, check {answer}.", "--yes", r"Good\.\n\n", "--no", r"need \d+\.\n\n", "--pick", "first")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sampled_run(tmp_path_factory.mktemp("sampled"), problems=8, n=6, budget_max=1024).path


@pytest.fixture
def sampled(run: Path, tmp_path: Path) -> Path:
    """The folder in which commands run, with a sampled run in it."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path


def values(facts: dict[str, Any], table: str = "verification", key: str = "quantity") -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in facts["tables"][table]}


def test_verify(command: Command, sampled: Path) -> None:
    priced = json.loads(command(*JUDGE, "--dry-run", "--json").stdout)
    assert priced["existing"] == 0
    assert priced["first_prompt"].endswith(".\n\n")
    assert not (sampled / "run" / "completions" / priced["variants"][0]).exists()
    done = command(*JUDGE, "--figure", "verify.png")
    assert done.returncode == 0, done.stderr
    assert f"{priced['requests']} completions now, 0 missing" in done.stdout
    assert "balanced accuracy" in done.stdout
    assert (sampled / "verify.png").stat().st_size > 10_000
    again = json.loads(command(*JUDGE, "--json", "--engine", "http").stdout)  # nothing is asked: no engine is opened
    assert again["finished"] == 0
    rows = values(again)
    assert rows["gap"]["value"] == pytest.approx(rows["balanced accuracy"]["value"] - rows["pass@1"]["value"])
    assert len(again["tables"]["problems"]) == rows["pass@1"]["problems"]
    shown = command("verify", "run", "--variant", again["variants"][0])
    assert "gap within problems" in shown.stdout
    assert command("plot", "run", "--figure", "verify", "--out", "again.svg").returncode == 0
    # By default it asks in a turn of its own, which the stand-in cannot read a verdict from.
    chat = command("verify", "run", "--answers", 2, "--replicates", 1, "--answer-tokens", 300, "--json")
    assert chat.returncode == 0, chat.stderr
    assert values(json.loads(chat.stdout))["unreadable"]["value"] == 1
    assert len(open_run(sampled / "run").variants("verify")) == 2


def test_the_reference_model_checks_and_replaces_in_this_process(command: Command, tmp_path: Path) -> None:
    sample = ("sample", "--model", "residue-explorer", "--benchmark", "residue_search_tiny", "--engine", "local")
    done = command(*sample, "--n", 4, "--budget-max", 400, "--seeded", 3, "--logprobs", 5, "--out", "run", "--quiet")
    assert done.returncode == 0, done.stderr
    local = ("--engine", "local", "--seeded", 5, "--json")
    judged = command("verify", "run", "--mode", "thought", *OWN, "--answer-tokens", 64, *local)
    assert judged.returncode == 0, judged.stderr
    rows = values(json.loads(judged.stdout))
    assert rows["unreadable"]["value"] < 0.1
    assert rows["right accepted"]["value"] > 0.8
    swap = ("replace", "run", "--n", 1, "--positions", 2, "--replicates", 2, "--answer-tokens", 100)
    replaced = command(*swap, *local, "--figure", "replace.png")
    assert replaced.returncode == 0, replaced.stderr
    facts = json.loads(replaced.stdout)
    effects = values(facts, "effects", "at")
    assert list(effects) == ["high-entropy", "low-entropy", "early", "late", "random"]
    assert all(row["positions"] == 24 for row in effects.values())
    assert {row["at"] for row in facts["tables"]["by position"]} == set(effects)
    assert all(row["token"] != row["other"] for row in facts["tables"]["tokens"])
    assert (tmp_path / "replace.png").stat().st_size > 10_000
    again = command(*swap, "--engine", "http", "--quiet")
    assert again.returncode == 0, again.stderr
    assert "replaced by" in again.stdout
    one = command("replace", "run", "--variant", facts["variants"][2], "--json")
    assert [row["at"] for row in json.loads(one.stdout)["tables"]["effects"]] == ["early"]
    assert command("plot", "run", "--figure", "replace", "--out", "again.png").returncode == 0
    page = command("report", "run", "--out", "page.html")
    assert page.returncode == 0, page.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "run", "--text", "@missing.txt"), "--text: missing.txt: cannot be read"),
        (("verify", "run", "--no", "["), "--no: '[' is no regular expression"),
        (
            ("verify", "run", "--mode", "thought", "--answers-of", "other"),
            "--mode thought goes on from the model's own",
        ),
        (("verify", "run", "--variant", "verify-0"), "no variant verify-0 of kind verify"),
        (("replace", "run", "--at", "high-entropy"), "run extrap-eval logprobs"),
        (("replace", "run", "--share", "2"), "--share: 2 is not in (0, 1]"),
        (("replace", "nowhere"), "nowhere: not a run directory"),
        (("plot", "run", "--figure", "replace", "-o", "x.png"), "run extrap-eval replace"),
        (("plot", "run", "--figure", "verify", "-o", "x.png"), "run extrap-eval verify"),
    ],
)
def test_bad_input_is_one_line(
    sampled: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sampled)
    shutil.copytree(sampled / "run", sampled / "other")
    done = CliRunner().invoke(app, list(arguments))
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


STUDY = """
name: all of it
benchmark: small.yaml
out: runs
models:
- {model: residue-stopper, engine: local}
stages:
  sample: {n: 1, budget_max: 200}
  replace:
  - {at: [early], positions: 1, replicates: 1, answer_tokens: 40}
"""


def test_a_study_replaces_tokens_while_it_samples(command: Command, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "name: Small\nsource: {generator: residue_search, args: {set: tiny}}\nanswer: {kind: integer}\n"
        "filters: []\nbudgets: [64, 128]\n"
    )
    (tmp_path / "study.yaml").write_text(STUDY)
    done = command("run", "study.yaml", "--seeded", 4, "--json")
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "runs" / "residue-stopper")
    (variant,) = run.variants("replace")
    assert variant.complete
    assert len(run.places(variant.name)) == 12
    assert len(run.places(variant.answers)) == 24
    again = command("run", "study.yaml", "--seeded", 4, "--json")
    assert json.loads(again.stdout)["finished"] == 0

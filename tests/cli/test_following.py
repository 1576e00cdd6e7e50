"""Probing, forcing, sliding and a study through the command, with the stand-in model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extrap_eval.cli import app
from extrap_eval.errors import UserError
from extrap_eval.store import open_run
from tests.cli.conftest import Command
from tests.steps.followed_runs import sampled_run

pytestmark = pytest.mark.slow  # each test runs several commands, each a process of its own

PROBE = ("probe", "run", "--replicates", 4, "--groups", 3, "--quiet", "--seeded", 1)
FORCE = ("force", "run", "--extensions", 2, "--extension-tokens", 200, "--replicates", 2, "--quiet", "--seeded", 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sampled_run(tmp_path_factory.mktemp("sampled"), problems=8, n=2, budget_max=1024).path


@pytest.fixture
def sampled(run: Path, tmp_path: Path) -> Path:
    """The folder in which commands run, with a sampled run in it."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path


def test_probe_by_episodes(command: Command, sampled: Path) -> None:
    priced = json.loads(command(*PROBE, "--dry-run", "--json").stdout)
    assert priced["first_prompt"].endswith("**Step-by-Step Explanation and Answer:**\n\n1. **")
    assert priced["existing"] == 0
    assert not (sampled / "run" / "completions" / priced["variants"][0]).exists()

    done = command(*PROBE, "--figure", "probes.png")
    assert done.returncode == 0, done.stderr
    assert f"{priced['requests']} completions now, 0 missing" in done.stdout
    assert "maj@1" in done.stdout
    assert "maj@4" in done.stdout
    assert (sampled / "probes.png").stat().st_size > 10_000

    # Again it is a table from what is there; nothing is asked, so no engine is opened.
    again = command(*PROBE, "--json", "--engine", "http")
    assert again.returncode == 0, again.stderr
    facts = json.loads(again.stdout)
    assert facts["finished"] == 0
    (table,) = facts["tables"].values()
    value = {row["group"]: row["value"] for row in table if row["p"] == 1}
    assert value[0] < value[3]  # thinking helps
    assert all(row["low"] <= row["value"] <= row["high"] for row in table)


def test_probes_beside_a_model_that_answers_at_once(command: Command, sampled: Path) -> None:
    """The stand-in with a policy that concludes after one attempt is such a model."""
    (sampled / "direct.yaml").write_text(
        "name: instruct\ntokenizer: package:markov\n"
        'think: {open: "<think>", close: "</think>", opened_by_prompt: false}\nend_tokens: ["<|im_end|>"]\n'
        "policy: {max_attempts: 1}\n"
    )
    (sampled / "b.yaml").write_text((sampled / "run" / "benchmark.yaml").read_text())
    direct = ("sample", "--model", "direct.yaml", "--n", 8, "--budget-max", 512, "--quiet")
    assert command(*direct, "--benchmark", "b.yaml", "--out", "direct").returncode == 0
    assert command(*direct, "--benchmark", "b.yaml", "--limit", 3, "--out", "few").returncode == 0
    wrong = command(*PROBE, "--baseline", "few")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "have different problems" in wrong.stderr
    assert open_run(sampled / "run").variants() == []  # nothing was asked
    done = command(*PROBE, "--baseline", "direct", "--json", "--figure", "both.png")
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)["tables"]
    assert [row["k"] for row in tables["answered at once"]] == [1, 2, 4, 8]
    assert (sampled / "both.png").stat().st_size > 10_000


def test_probe_at_budgets_beside_the_plain_cut(command: Command, sampled: Path) -> None:
    done = command("probe", "run", "--at", "budgets", "--replicates", 2, "--budgets", "256,512", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "had to be forced" in done.stdout
    assert command("plot", "run", "--figure", "forced-budgets", "--out", "cut.svg").returncode == 0
    assert (sampled / "cut.svg").stat().st_size > 5000


def test_force_with_its_audit_and_figures(command: Command, sampled: Path) -> None:
    done = command(*FORCE, "--figure", "force.png", "--audit-figure", "wait.png")
    assert done.returncode == 0, done.stderr
    assert "Wait audit" in done.stdout
    assert "0 → 2" in done.stdout
    for name in ("force.png", "wait.png"):
        assert (sampled / name).stat().st_size > 10_000
    s1 = json.loads(
        command("force", "run", "--mode", "s1", "--thinking-tokens", 900, "--replicates", 1, "--json").stdout
    )
    assert [row["w"] for row in s1["tables"]["extensions"]] == [0, 2, 4, 6]
    assert all(row["cap"] == 900 for row in s1["tables"]["extensions"])
    assert max(row["tokens"] for row in s1["tables"]["extensions"]) <= 900 + 20
    both = command("force", "run", "--variant", s1["variants"][0])
    assert "accuracy after w extensions" in both.stdout


def test_slide_both_ways(command: Command, sampled: Path) -> None:
    done = command(
        "slide", "run", "--episodes", 4, "--episode-tokens", 200, "--window", 300, "--quiet", "--figure", "slide.png"
    )
    assert done.returncode == 0, done.stderr
    assert "4 episodes" in done.stdout
    assert "2 votes" in done.stdout
    assert (sampled / "slide.png").stat().st_size > 10_000


def test_another_setting_is_another_variant_and_says_so(command: Command, sampled: Path) -> None:
    assert command(*PROBE).returncode == 0
    other = command(*PROBE, "--groups", 2)
    assert other.returncode == 0, other.stderr
    assert "groups: 3 → 2" in other.stderr
    assert len(open_run(sampled / "run").variants("probe-episodes")) == 2
    plotted = command("plot", "run", "--figure", "progress", "--out", "p.png")
    assert plotted.returncode == 1
    assert plotted.stderr.count("\n") == 1
    assert "choose one with --variant" in plotted.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("probe", "run", "--at", "budgets", "--baseline", "run"), "--baseline belongs to --at episodes"),
        (("probe", "run", "--probe-text", "@missing.txt"), "--probe-text: missing.txt: cannot be read"),
        (("force", "run", "--answers-after", "0,9"), "--answers-after: [0, 9] is not within 0..8"),
        (("force", "run", "--answers-after", "x"), "--answers-after: x is not a comma-separated list"),
        (("force", "run", "--paper-exact", "full-cap"), "full-cap needs a cap on the whole thought"),
        (("slide", "nowhere"), "nowhere: not a run directory"),
    ],
)
def test_bad_input_is_one_line(
    sampled: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sampled)
    done = CliRunner().invoke(app, list(arguments))
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)


STUDY = """
name: all of it
benchmark: small.yaml
out: runs
models:
- {model: markov}
stages:
  sample: {n: 2, budget_max: 1024}
  probe:
  - {groups: 2, replicates: 2}
  - {at: budgets, budgets: [256, 512], replicates: 2}
  force:
  - {extensions: 2, extension_tokens: 200, replicates: 2}
"""


def test_a_study_in_one_graph_is_the_study_in_turn(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    stored = []
    for name, options in (("graph", ()), ("turn", ("--sequential",))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "small.yaml").write_text(small_benchmark.read_text())
        (folder / "study.yaml").write_text(STUDY)
        done = command("run", "study.yaml", "--seeded", 4, "--json", *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["missing"] == 0
        again = command("run", "study.yaml", "--seeded", 4, "--json", *options, cwd=folder)
        assert json.loads(again.stdout)["finished"] == 0
        planned = command("run", "study.yaml", "--dry-run", cwd=folder)
        assert "8 problems x 2 samples, 16 of 16 exist" in planned.stdout
        assert planned.stdout.count(" requests at most for the samples that are there") == 3
        run = open_run(folder / "runs" / "markov")
        assert all(variant.complete for variant in run.variants())
        stored.append({stage: run.digest(stage) for stage in run.stages()})
    assert stored[0] == stored[1]
    assert len(stored[0]) == 5  # rollouts, two kinds of probes, extensions and their answers


def test_a_bad_study_names_the_field(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    for wrong, message in [
        ("probe: [{groups: 0}]", "study.yaml: stages.probe.0.groups: 0 is not a positive whole number"),
        ("prob: []", "study.yaml: stages.prob: unknown field; did you mean probe?"),
        ("force: [{mode: mtr}]", "study.yaml: stages.force.0.mode: 'mtr' is not one of 'mrt' or 's1'"),
    ]:
        path.write_text(f"name: x\nbenchmark: b.yaml\nout: runs\nmodels: [{{model: markov}}]\nstages: {{{wrong}}}\n")
        done = CliRunner().invoke(app, ["run", str(path)])
        assert message in str(done.exception)

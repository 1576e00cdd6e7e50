"""The main job through the command: sample, top up, score, table, plot."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.slow  # each test runs several commands, each a process of its own

SAMPLE = ("sample", "--model", "markov", "--n", 4, "--budget-max", 2048, "--quiet")


def test_sample_table_and_plot_on_the_embedded_model(command: Command, small_benchmark: Path) -> None:
    done = command(*SAMPLE, "--benchmark", small_benchmark, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "32 sampled now, 0 missing" in done.stdout

    done = command("table", "run")
    assert done.returncode == 0, done.stderr
    assert "pass@1" in done.stdout
    assert "2,048" in done.stdout

    done = command("table", "run", "--csv", "--k", "1,4")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    passed = {int(r["budget"]): float(r["value"]) for r in rows if (r["metric"], r["k"]) == ("pass@k", "1")}
    assert sorted(passed) == [256, 512, 1024, 2048]
    assert list(passed.values()) == sorted(passed.values())  # boxed attempts: a longer budget never unlearns here
    assert all(float(r["low"]) <= float(r["value"]) <= float(r["high"]) for r in rows)

    for figure, suffix in (("budget", "png"), ("passk", "svg"), ("outcomes", "pdf")):
        done = command("plot", "run", "--figure", figure, "--out", f"{figure}.{suffix}")
        assert done.returncode == 0, done.stderr
        assert (small_benchmark.parent / f"{figure}.{suffix}").stat().st_size > 5000


def test_the_same_command_is_a_no_op_and_a_larger_n_tops_up(command: Command, small_benchmark: Path) -> None:
    arguments = [*SAMPLE, "--benchmark", small_benchmark, "--out", "run", "--json"]
    assert json.loads(command(*arguments).stdout)["finished"] == 32
    assert json.loads(command(*arguments).stdout)["finished"] == 0
    assert json.loads(command(*arguments, "--n", 6).stdout)["finished"] == 16
    assert json.loads(command("score", "run", "--json").stdout)["samples"] == 48


def test_a_run_that_is_complete_needs_no_engine(command: Command, small_benchmark: Path) -> None:
    arguments = [*SAMPLE, "--benchmark", small_benchmark, "--out", "run"]
    assert command(*arguments).returncode == 0
    elsewhere = ["--engine", "vllm", "--engine-python", "/nowhere"]
    done = command(*arguments, *elsewhere)
    assert done.returncode == 0, done.stderr
    assert "0 sampled now, 0 missing" in done.stdout
    assert command(*arguments, *elsewhere, "--n", 5).returncode == 1


def test_a_changed_setting_is_refused_with_the_difference(command: Command, small_benchmark: Path) -> None:
    arguments = [*SAMPLE, "--benchmark", small_benchmark, "--out", "run"]
    assert command(*arguments).returncode == 0
    refused = command(*arguments, "--temperature", 0.7)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "temperature: 1.0 → 0.7" in refused.stderr


def test_dry_run_prints_the_prompt_and_the_price_and_writes_nothing(command: Command, small_benchmark: Path) -> None:
    done = command(*SAMPLE, "--benchmark", small_benchmark, "--out", "run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "8 problems x 4 samples = 32 completions, 0 exist" in done.stdout
    assert done.stdout.rstrip().endswith("<|im_start|>assistant")
    assert not (small_benchmark.parent / "run").exists()
    facts = json.loads(command(*SAMPLE, "-b", small_benchmark, "-o", "run", "--dry-run", "--json").stdout)
    assert facts["completion_tokens_max"] == 32 * 2048


def test_limit_samples_only_the_first_problems(command: Command, small_benchmark: Path) -> None:
    done = command(*SAMPLE, "--benchmark", small_benchmark, "--limit", 2, "--json")
    assert json.loads(done.stdout) | {"seconds": 0, "tokens": 0} == {
        "run": "runs/markov__small-first2",
        "finished": 8,
        "missing": 0,
        "tokens": 0,
        "replicas": [],
        "seconds": 0,
        "failures": {},
    }


def test_the_answer_rule_can_be_chosen_and_its_weight_is_shown(command: Command, small_benchmark: Path) -> None:
    assert command(*SAMPLE, "--benchmark", small_benchmark, "--out", "run", "--seeded", 1).returncode == 0
    arguments = ("table", "run", "--json", "--budgets", 2048)
    chosen = command(*arguments, "--pick", "first", "--region", "anywhere", "--votes", "class")
    by_default = command(*arguments)
    first, last = (json.loads(done.stdout)[0]["value"] for done in (chosen, by_default))
    assert first < last  # the first attempt is rarely right, and later ones mend it
    done = command("table", "run", "--sensitivity", "--budgets", 2048)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("after_think") == 2
    assert command("plot", "run", "--pick", "first", "--out", "first.png").returncode == 0


def test_a_run_can_be_moved_and_plotted_elsewhere(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    assert command(*SAMPLE, "--benchmark", small_benchmark, "--out", "run").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").rename(tmp_path / "elsewhere" / "moved")
    small_benchmark.unlink()
    assert command("table", tmp_path / "elsewhere" / "moved", "--markdown").stdout.startswith("| model |")


def test_demo_prints_the_tables_and_names_the_figures(command: Command, tmp_path: Path) -> None:
    done = command("demo", "--model", "markov", "--out", "demo")
    assert done.returncode == 0, done.stderr
    for column in ("pass@1", "maj@4", "wrong → right"):
        assert column in done.stdout
    for figure in ("budget", "passk", "outcomes", "probes", "forcing"):
        assert f"demo/{figure}.png" in done.stdout
        assert (tmp_path / "demo" / f"{figure}.png").stat().st_size > 20_000

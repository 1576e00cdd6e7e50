"""``sample --logprobs`` and ``logprobs`` from end to end, on the markov model, whose distributions are exact."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from extrap_eval.steps.logprobs import agreement, token_distributions
from extrap_eval.store import open_run
from tests.cli.conftest import Command

pytestmark = pytest.mark.slow  # commands, each a process of its own


def arguments(benchmark: Path, *more: str) -> list[str]:
    return [
        *("sample", "-m", "markov", "-b", str(benchmark), "--n", "4", "--budget-max", "1200", "--seeded", "1", "-q"),
        *("--out", "run", *more),
    ]


def test_with_the_samples_no_engine_is_needed(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    shown = command(*arguments(small_benchmark, "--logprobs", "20", "--dry-run"))
    assert "with the log-probabilities of the 20 most probable tokens at each position" in shown.stdout
    facts = json.loads(command(*arguments(small_benchmark, "--logprobs", "20", "--dry-run", "--json")).stdout)
    assert facts["logprobs"] == 20
    assert command(*arguments(small_benchmark, "--logprobs", "20")).returncode == 0
    # An engine that does not exist: it is not opened.
    done = command("logprobs", "run", "--engine", "http", "--figure", "entropy.svg")
    assert done.returncode == 0, done.stderr
    assert [word in done.stdout for word in ("correct - incorrect", "entropy", "branching", "perplexity")] == [True] * 4
    assert "lower bounds" not in done.stdout
    assert (tmp_path / "entropy.svg").read_text().startswith("<?xml")
    assert "nothing to ask" in command("logprobs", "run", "--dry-run").stdout
    plotted = command("plot", "run", "--figure", "entropy", "--out", "again.svg")
    assert plotted.returncode == 0, plotted.stderr
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "entropy.svg").read_bytes()


def test_raising_the_number_later_samples_nothing_again(
    command: Command, small_benchmark: Path, tmp_path: Path
) -> None:
    assert command(*arguments(small_benchmark, "--logprobs", "3")).returncode == 0
    digest = open_run(tmp_path / "run").digest()
    for more in (("--logprobs", "20"), ()):
        done = command(*arguments(small_benchmark, *more))
        assert "0 sampled now, 0 missing" in done.stdout
    run = open_run(tmp_path / "run")
    assert run.digest() == digest
    assert [entry["settings"]["logprobs"] for entry in run.manifest.invocations] == [3, 20, 0]
    assert {kept.top for _, kept in token_distributions(run)} == {3}
    # A top-up may ask for another number, or for none; the second pass then asks for the rest alone.
    assert command(*arguments(small_benchmark, "--n", "5")).returncode == 0
    assert command(*arguments(small_benchmark, "--n", "6", "--logprobs", "20")).returncode == 0
    asked = json.loads(command("logprobs", "run", "--dry-run", "--json").stdout)
    assert (asked["requests"], asked["existing"], asked["completion_tokens_max"]) == (8, 0, 0)
    assert command("logprobs", "run", "-q").returncode == 0
    kept = dict(token_distributions(tmp_path / "run"))
    assert len(kept) == 48
    assert {key[1]: each.top for key, each in kept.items()} == {0: 3, 1: 3, 2: 3, 3: 3, 4: 20, 5: 20}


@pytest.mark.parametrize("top", [2, 20])
def test_the_second_pass_gives_the_same_table(
    command: Command, small_benchmark: Path, tmp_path: Path, top: int
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert command(*arguments(small_benchmark, "--logprobs", str(top)), cwd=tmp_path / "a").returncode == 0
    assert command(*arguments(small_benchmark), cwd=tmp_path / "b").returncode == 0
    came = command("logprobs", "run", "--csv", cwd=tmp_path / "a")
    passed = command("logprobs", "run", "--csv", "--logprobs", str(top), cwd=tmp_path / "b")
    assert came.returncode == passed.returncode == 0, passed.stderr
    assert came.stdout == passed.stdout
    assert ("lower bounds" in command("logprobs", "run", cwd=tmp_path / "a").stdout) == (top == 2)
    # What was asked before is the default.
    assert command("logprobs", "run", "--csv", "--engine", "http", cwd=tmp_path / "b").stdout == came.stdout
    again = command("logprobs", "run", "--again", "--logprobs", str(top), "-q", cwd=tmp_path / "a")
    assert again.returncode == 0, again.stderr
    assert "drawn, read again" in again.stdout
    table = agreement(tmp_path / "a" / "run")
    assert table["largest"].tolist() == [0.0] * 4
    assert table["tokens"].min() > 1000


def test_two_models_side_by_side(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    card = tmp_path / "hasty.yaml"
    card.write_text(command("cards", "show", "markov").stdout.replace("name: Markov", "name: Hasty"))
    assert command(*arguments(small_benchmark, "--logprobs", "20")).returncode == 0
    assert command(*arguments(small_benchmark, "--logprobs", "20"), "--out", "other", "-m", str(card)).returncode == 0
    done = command("logprobs", "run", "other", "--json", "--figure", "both.png")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 2 * 4 * 3
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["uncovered"] == 0


def test_a_study_asks_for_them_too(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        f"name: Sure\nbenchmark: {small_benchmark}\nout: runs\nmodels: [{{model: markov}}]\n"
        "stages: {sample: {n: 2, budget_max: 600, logprobs: 7}, probe: [{replicates: 1, answer_tokens: 64}]}\n"
    )
    assert "with log-probabilities of 7" in command("run", "study.yaml", "--dry-run").stdout
    for mode in ((), ("--sequential",)):
        done = command("run", "study.yaml", "--json", *mode)
        assert done.returncode == 0, done.stderr
    kept = dict(token_distributions(json.loads(done.stdout)["run"]))
    assert {each.top for each in kept.values()} == {7}
    assert len(kept) == 16
    bad = (tmp_path / "study.yaml").read_text().replace("logprobs: 7", "logprobs: 0")
    (tmp_path / "study.yaml").write_text(bad)
    assert "logprobs: 0" in command("run", "study.yaml", "--dry-run").stderr


def test_bad_input_is_one_line(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    assert command(*arguments(small_benchmark)).returncode == 0
    for given, words in [
        (("logprobs", "run", "--engine", "http"), "--endpoint"),
        (("logprobs", "run", "--csv", "--json"), "exclude each other"),
        (("logprobs", "run", "--n", "9"), "--n: 9 is not in 1..4"),
        (("logprobs", "nowhere"), "not a run directory"),
        (
            ("plot", "run", "--figure", "entropy", "--out", "x.svg"),
            "have no log-probabilities.*extrap-eval logprobs run",
        ),
    ]:
        done = command(*given)
        assert done.returncode == 1
        assert re.search(words, done.stderr.splitlines()[-1]), done.stderr


def test_other_completions_than_were_read_are_not_taken_for_them(
    command: Command, small_benchmark: Path, tmp_path: Path
) -> None:
    assert command(*arguments(small_benchmark)).returncode == 0
    assert command("logprobs", "run", "-q").returncode == 0
    run = open_run(tmp_path / "run")
    (variant,) = run.variants("logprobs")
    (part,) = (run.path / "completions" / "rollout").glob("part-*.parquet")
    part.unlink()
    command(*arguments(small_benchmark, "--seeded", "2"))
    done = command("logprobs", "run", "-q")
    assert done.returncode == 1
    assert f"completions/{variant.name}" in done.stderr
    assert "remove this folder" in done.stderr

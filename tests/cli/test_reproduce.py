"""``extrap-eval reproduce`` as a user calls it, and ``calibrate --run``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

RECIPE = """paper: none
question: Does a forced "Wait" help?
figure: forcing
runs: [{models: [markov], benchmark: small.yaml}]
stages:
  sample: {n: 2, budget_max: 512}
  force: [{extensions: 1, extension_tokens: 96, answers_after: [0, 1], replicates: 2, answer_tokens: 64}]
not_yet: [Nothing was published.]
"""


@pytest.fixture
def recipe(small_benchmark: Path) -> Path:
    small_benchmark.write_text(small_benchmark.read_text() + "size: 8\n")
    path = small_benchmark.parent / "mine.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.slow
def test_price_sample_and_draw_and_nothing_twice(command: Command, recipe: Path, tmp_path: Path) -> None:
    priced = json.loads(command("reproduce", recipe, "--dry-run", "--json", "--tokens-per-second", 100).stdout)
    tokens = 16 * (512 + 96 + 4 * 64)
    assert priced["total"] == {
        "requests": 16 * 6,
        "tokens, at most": tokens,
        "GPU-hours, at most": pytest.approx(tokens / 360000),
    }
    assert not (tmp_path / "runs").exists()

    done = command("reproduce", recipe, "--quiet", "--seeded", 1)
    assert done.returncode == 0, done.stderr
    assert "no published values to compare with" in done.stdout
    assert "note: Nothing was published." in done.stdout
    for name in ("figure.png", "figure.pdf", "points.csv", "table.csv"):
        assert (tmp_path / "reproductions" / "mine" / name).stat().st_size > 100
    points = (tmp_path / "reproductions" / "mine" / "points.csv").read_text()
    left = command("reproduce", recipe, "--dry-run")
    assert "still to ask: 0 requests, at most 0 completion tokens" in left.stdout
    again = command("reproduce", recipe, "--quiet", "--engine", "http")  # without any server: nothing is asked
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "reproductions" / "mine" / "points.csv").read_text() == points

    run = tmp_path / "runs" / "markov__small-max512"
    drawn = command("reproduce", "e3_fig6", "--from", run, "--json", "-o", "elsewhere")
    assert drawn.returncode == 0, drawn.stderr
    answer = json.loads(drawn.stdout)
    assert sum(row["paper"] is not None for row in answer["table"]) == 19
    assert any("is not of this recipe" in note for note in answer["notes"])
    assert (tmp_path / "elsewhere" / "figure.png").stat().st_size > 10_000


@pytest.mark.slow
def test_list_says_what_each_recipe_needs_and_what_is_here(command: Command) -> None:
    rows = json.loads(command("reproduce", "--list", "--json", "--tokens-per-second", 2000).stdout)
    assert len(rows) == 23
    by_name = {row["recipe"]: row for row in rows}
    assert by_name["e3_fig2"]["needs"] == "6 runs"
    assert by_name["e3_fig2"]["here"] == "0 of 6"
    assert by_name["e3_fig2"]["published values"] == 24
    assert by_name["mrt_fig9"]["needs"] == "3 runs + probe, force"
    assert all(row["GPU-hours, at most"] > 0 for row in rows)
    shown = command("reproduce", "--list")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in by_name)


@pytest.mark.slow
def test_published_values_can_be_redrawn_alone(command: Command, tmp_path: Path) -> None:
    done = command("reproduce", "mrt_fig23", "--published", "-o", "there")
    assert done.stdout.strip() == "there/published.png"
    assert (tmp_path / "there" / "published.png").stat().st_size > 10_000
    refused = command("reproduce", "mrt_fig16", "--published")
    assert refused.returncode == 1
    assert "no published values are known" in refused.stderr


@pytest.mark.slow
def test_one_markov_run_beside_its_truth(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    sampled = command("sample", "-m", "markov", "-b", small_benchmark, "--n", 4, "--budget-max", 2048, "-o", "run")
    assert sampled.returncode == 0, sampled.stderr
    done = command("calibrate", "--run", "run", "--json", "--figure", "truth.png")
    rows = json.loads(done.stdout)
    assert {row["line"] for row in rows} == {"pass@1", "pass@4", "maj@4"}
    assert all(0 <= row["truth"] <= 1 and row["low"] <= row["ours"] <= row["high"] for row in rows)
    assert sum(bool(row["within"]) for row in rows) >= 0.7 * len(rows)
    assert (tmp_path / "truth.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["e3_fig3"], "no recipe is named e3_fig3; did you mean"),
        ([], "name a recipe"),
        (["e3_fig2", "--list"], "--list shows every recipe"),
        (["e3_fig2", "--from", "nothing"], "nothing"),
        (["e3_fig2", "--from", "nothing", "--n", 2], "--n and --limit say what to sample"),
    ],
)
def test_bad_input_is_one_line(command: Command, arguments: list[object], message: str) -> None:
    refused = command("reproduce", *arguments)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert message in refused.stderr

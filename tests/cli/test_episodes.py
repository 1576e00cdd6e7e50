"""``extrap-eval episodes`` in this process: what it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from extrap_eval.cli import app
from extrap_eval.cli.episodes import histogram, parse_phrases, parse_trace
from extrap_eval.errors import UserError
from extrap_eval.steps.score import score
from tests.figures.probe_tables import episode_rows
from tests.steps.episode_runs import OPEN, SHORT, THOUGHT, text_run


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("episodes") / "run"
    text_run(path, [[THOUGHT, SHORT], [OPEN, THOUGHT]], difficulties=[4.0, 5.5])
    score(path, workers=1)
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["episodes", *map(str, arguments)])


def test_distribution(run_path: Path) -> None:
    done = call(run_path)
    assert done.exit_code == 0, done.output
    assert "Toy on toy-math" in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if re.match("│ (right|wrong)", line)] == [
        "right",
        "wrong",
    ]
    bars = done.stdout[done.stdout.index("episodes, traces") :].splitlines()
    assert bars == ["episodes, traces", "1 ▒ 1", "2 ▒ 1", "3 ██ 2", "  █ right  ▒ wrong"]


def test_by_difficulty_with_rules_as_json(run_path: Path) -> None:
    done = call(run_path, "--by", "difficulty", "--phrases", "Wait|But", "--min-steps", 1, "--json")
    rows = json.loads(done.stdout)
    assert [row["episodes"] for row in rows] == [2, 2, 2, 2]
    done = call(run_path, "--by", "difficulty")
    assert "difficulty 5.5" in done.stdout


def test_figure(run_path: Path, tmp_path: Path) -> None:
    done = call(run_path, "--figure", tmp_path / "episodes.svg")
    assert done.exit_code == 0
    assert (tmp_path / "episodes.svg").read_text().startswith("<?xml")


def test_a_trace_has_headings_and_marked_boxes(run_path: Path) -> None:
    done = call(run_path, "--trace", "set/0/0")
    assert done.exit_code == 0, done.output
    first = len("<think>\nFirst step.\n\nIs it \\boxed{3}?\n\nNo.")
    heading = f"── episode 1 of 3: tokens 9 to {first}, 3 steps ──"
    assert done.stdout.startswith(f"<think>\n\n{heading}\nFirst step.\n\nIs it ▶\\boxed{{3}}◀?\n\nNo.\n\n")
    assert "3 steps ──\nWait, look again." in done.stdout
    assert "── after the thought ──\n</think>\n\nThe answer is ▶\\boxed{7}◀.<end>" in done.stdout


def test_what_a_model_writes_cannot_colour_the_terminal(run_path: Path) -> None:
    done = call(run_path, "--trace", "set/1/0")
    assert "\x1b" not in done.stdout
    assert "\\x1b[31mwhat" in done.stdout


def test_a_trace_as_json(run_path: Path) -> None:
    found = json.loads(call(run_path, "--trace", "set/0/0", "--json").stdout)
    assert found["thought"]["closed"] is True
    assert [episode["steps"] for episode in found["episodes"]] == [3, 3, 2]
    assert found["episodes"][2]["text"] == "\n\nAlternatively, no.\n\nStill 7.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace", "7"], "--trace: 7 is not PROBLEM/SAMPLE"),
        (["--trace", "a/b"], "--trace: a/b is not PROBLEM/SAMPLE"),
        (["--trace", "a/0", "--figure", "x.png"], "leave out --trace or --figure"),
        (["--phrases", "|"], "--phrases: '|' holds no phrase"),
    ],
)
def test_refusals(run_path: Path, arguments: list[str], message: str) -> None:
    done = call(run_path, *arguments)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)


def test_parsing() -> None:
    assert parse_phrases(None) is None
    assert parse_phrases("Wait|But hold on") == ("Wait", "But hold on")
    assert parse_trace("aime/7/13") == ("aime/7", 13)


def test_bars_of_many_traces_are_in_proportion() -> None:
    table = episode_rows(("right", "wrong"))
    lines = histogram(table).splitlines()[1:-1]
    counts = [int(line.split()[-1]) if line.split()[1:] else 0 for line in lines]
    assert sum(counts) == len(table)
    longest = max(counts)
    for line, count in zip(lines, counts, strict=True):
        assert sum(line.count(mark) for mark in "█▒") == pytest.approx(50 * count / max(longest, 50), abs=1)

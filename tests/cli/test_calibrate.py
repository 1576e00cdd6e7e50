"""The command prints what the step found, and fails when it should."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from extrap_eval.cli.calibrate import calibrate as command
from extrap_eval.steps import calibrate as step

pytestmark = pytest.mark.slow


@pytest.fixture
def run() -> Any:
    app = typer.Typer()
    app.command()(command)
    sizes = ["--replications", "20", "--problems", "8", "--n", "4", "--budgets", "100,300", "--k", "1,2"]

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(app, [*sizes, *arguments])

    return invoke


def test_command_prints_a_table_and_the_range_of_coverage(run: Any) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert "maj@2" in result.stdout
    assert "20 replications: the 95 % intervals cover the truth in" in result.stdout


def test_command_prints_records(run: Any) -> None:
    records = json.loads(run("--json").stdout)
    assert len(records) == 6
    assert set(records[0]) == {"metric", "budget", "truth", "mean", "bias_se", "coverage", "width", "passed"}
    lines = run("--csv").stdout.splitlines()
    assert lines[0] == "metric,budget,truth,mean,bias_se,coverage,width,passed"
    assert len(lines) == 7


def test_command_exits_with_1_when_something_is_off(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "MAX_BIAS", -1.0)
    result = run()
    assert result.exit_code == 1
    assert "not within limits: pass@1 at 100, pass@1 at 300" in result.stderr

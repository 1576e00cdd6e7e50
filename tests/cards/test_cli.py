"""``extrap-eval cards``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extrap_eval.cards.load import list_cards, load_model_card
from extrap_eval.cli.cards import app
from extrap_eval.errors import UserError

runner = CliRunner()


def test_list_shows_every_card_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = runner.invoke(app, ["list"])
    assert result.exit_code == 0
    for path in [*list_cards("model"), *list_cards("benchmark")]:
        assert path.stem in result.output


def test_list_as_json() -> None:
    listed = json.loads(runner.invoke(app, ["list", "--json"]).output)
    models = {row["card"]: row for row in listed["models"]}
    assert models["e3-1.7B"]["training_budget"] == 16384
    assert models["e3-1.7B"]["hf_id"] == "CMU-AIRe/e3-1.7B"
    benchmarks = {row["card"]: row for row in listed["benchmarks"]}
    assert benchmarks["aime_2024"]["size"] == 30
    assert benchmarks["aime_2024"]["kind"] == "integer"
    assert len(models) == len(list_cards("model"))


def test_show_prints_a_card_that_loads(tmp_path: Path) -> None:
    result = runner.invoke(app, ["show", "Open-RS1"])
    path = tmp_path / "again.yaml"
    path.write_text(result.output)
    assert load_model_card(path) == load_model_card("Open-RS1")
    assert "Open-RS1.yaml" in result.output.splitlines()[0]


def test_show_of_an_unknown_card_suggests_cards_of_both_kinds() -> None:
    error = runner.invoke(app, ["show", "aime24"]).exception
    assert isinstance(error, UserError)
    assert "aime_2024" in str(error)


def test_check_of_all_shipped_cards() -> None:
    result = runner.invoke(app, ["check"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) == len(list_cards("model")) + len(list_cards("benchmark"))
    assert any(line.endswith("countdown.yaml: ok, generates 120 problems") for line in lines)


def test_check_prints_one_line_each_and_fails(tmp_path: Path) -> None:
    right, wrong, stale = (tmp_path / f"{name}.yaml" for name in ("right", "wrong", "stale"))
    right.write_text("name: x\n")
    wrong.write_text("name: x\nn: 0\n")
    stale.write_text(
        "name: y\nsource: {generator: multiplication, args: {problems: 3}}\nsize: 4\nanswer: {kind: integer}"
    )
    result = runner.invoke(app, ["check", str(right), str(wrong), str(stale), "nonsense"])
    assert result.exit_code == 1
    assert [line.partition(": ")[2] for line in result.output.splitlines()][:2] == [
        "ok",
        "n: 0 is not a positive whole number",
    ]
    assert "has 3 problems, but size is 4" in result.output
    assert "no card is named nonsense" in result.output
    assert len(result.output.splitlines()) == 4

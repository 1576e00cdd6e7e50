from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.cards.study import load_study
from extrap_eval.errors import UserError

WHOLE = """
name: everything
benchmark: tiny.yaml
out: ../runs
models:
- {model: markov}
- {model: cards/own.yaml, engine: http, endpoints: ["http://127.0.0.1:8000"], sample: {n: 8}}
- {model: org/name}
stages:
  sample: {n: 4, budget_max: 2048, temperature: 0.7}
  probe:
  - {at: episodes, group_size: 3, phrases: [Wait]}
  - {at: budgets, budgets: [512, 1024]}
  force:
  - {mode: s1, thinking_tokens: 1000, paper_exact: [full-cap]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_a_study_is_read_with_paths_beside_it(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, WHOLE))
    assert study.benchmark == str(tmp_path / "tiny.yaml")
    assert [model.model for model in study.models] == ["markov", str(tmp_path / "cards/own.yaml"), "org/name"]
    assert Path(study.out).resolve() == (tmp_path / ".." / "runs").resolve()
    assert [probe.at for probe in study.stages.probe] == ["episodes", "budgets"]
    assert (study.stages.force[0].mode, study.stages.force[0].extensions) == ("s1", None)
    assert study.models[0].sample is None
    assert study.stages.sample.temperature == 0.7


def test_the_least_that_a_study_says(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, "{name: s, benchmark: aime_2024, out: r, models: [{model: markov}]}"))
    assert study.benchmark == "aime_2024"
    assert (study.stages.probe, study.stages.force, study.stages.sample.n) == ([], [], None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: everything", "nome: everything"), r"study\.yaml: name: missing \(and 1 more: nome\)"),
        (("models:\n", "model:\n"), r"study\.yaml: models: missing \(and 1 more: model\)"),
        (("group_size: 3", "group_size: three"), r"stages\.probe\.0\.group_size: 'three' is not a whole number"),
        (("mode: s1", "mode: S1"), r"stages\.force\.0\.mode: 'S1' is not one of 'mrt' or 's1'"),
        (("full-cap", "half-cap"), r"stages\.force\.0\.paper_exact\.0: 'half-cap' is not one of"),
        (("- {model: org/name}", "- {model: markov}"), r"models: markov is named 2 times"),
        (("engine: http", "engine: htp"), r"models\.1\.engine: 'htp' is not one of"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in WHOLE
    with pytest.raises(UserError, match=message):
        load_study(write(tmp_path, WHOLE.replace(*change)))


def test_a_missing_study_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml: cannot be read"):
        load_study(tmp_path / "nothing.yaml")

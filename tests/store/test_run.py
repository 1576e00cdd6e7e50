from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.scoring.tokens import TokenTable
from extrap_eval.store import Completion, SamplingSettings, open_run
from tests.store.making import (
    SETTINGS,
    benchmark_card,
    completion,
    content,
    make_run,
    model_card,
    problems,
    prompts,
)


def test_a_run_gives_back_what_it_was_made_from(tmp_path: Path) -> None:
    make_run(tmp_path / "deep" / "run", count=3, n=4)
    run = open_run(tmp_path / "deep" / "run")
    assert run.n == 4
    assert run.problems() == problems(3)
    stored = run.prompts()
    assert {key: ids.tolist() for key, ids in stored.items()} == {
        key: ids.tolist() for key, ids in prompts(problems(3)).items()
    }
    assert all(ids.dtype == np.int32 for ids in stored.values())
    assert run.model_card == model_card()
    assert run.benchmark_card.name == benchmark_card().name
    assert run.token_table() is None
    assert run.manifest.tokenizer == "org/toy"
    assert run.sampling == SamplingSettings(0.6, 0.95, -1, 400, (7,))
    assert len(run.missing()) == 12
    assert list(run.completions()) == []
    assert run.stages() == []


@pytest.mark.parametrize(
    "table",
    [
        TokenTable(pieces=(b"a", b"\x00", b"", b"\xff\x00\x00")),
        TokenTable(pieces=(b"a", b" b", b"\n"), first_pieces=(b"a", b"b", b"\n"), raw=np.array([False, True, False])),
    ],
)
def test_the_token_table_comes_back(tmp_path: Path, table: TokenTable) -> None:
    make_run(tmp_path / "run", token_table=table)
    stored = open_run(tmp_path / "run").token_table()
    assert stored is not None
    assert stored.pieces == table.pieces
    assert stored.first_pieces == table.first_pieces
    assert (stored.raw is None) == (table.raw is None)
    ids = np.array([1, 0, 1, 2])
    assert stored.text_bytes(ids) == table.text_bytes(ids)


def test_a_damaged_token_table_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", token_table=TokenTable(pieces=(b"a", b"b")))
    path = run.path / "tokens.npz"
    for data in (b"", b"not a zip", path.read_bytes()[:-30]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"tokens\.npz: damaged"):
            run.token_table()


def test_re_opening_tops_up_and_never_takes_back(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=3, n=2)
    with run.writer() as writer:
        writer.append([completion(*key) for key in run.missing()])
    assert make_run(tmp_path / "run", count=3, n=2).missing() == []
    more = make_run(tmp_path / "run", count=3, n=3)
    assert more.n == 3
    assert more.missing() == [("p0", 2), ("p1", 2), ("p2", 2)]
    less = make_run(tmp_path / "run", count=3, n=1)
    assert less.n == 3
    assert open_run(tmp_path / "run").n == 3


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"settings": {**SETTINGS, "temperature": 1.0}}, "temperature: 0.6 → 1.0"),
        ({"settings": {**SETTINGS, "top_p": 1.0}}, "top_p: 0.95 → 1.0"),
        ({"settings": {**SETTINGS, "top_k": 20}}, "top_k: -1 → 20"),
        ({"settings": {**SETTINGS, "max_tokens": 800}}, "max_tokens: 400 → 800"),
        ({"settings": {**SETTINGS, "stop_token_ids": [7, 8]}}, "stop_token_ids: [7] → [7, 8]"),
        ({"model_card": model_card(hf_id="org/other")}, "model: org/toy → org/other"),
        ({"model_card": model_card(revision="abc")}, "revision: null → abc"),
        ({"problems": problems(2)}, "problems: 3 → 2; benchmark_sha256: "),
        ({"problems": problems(3)[::-1]}, "benchmark_sha256: "),
        ({"problems": [dataclasses.replace(p, gold="0") for p in problems(3)]}, "benchmark_sha256: "),
        ({"prompts": {p.id: np.arange(4) for p in problems(3)}}, "prompts_sha256: "),
        (
            {
                "settings": {
                    **SETTINGS,
                    "temperature": 1.0,
                    "top_p": 1.0,
                    "top_k": 9,
                    "max_tokens": 1,
                    "stop_token_ids": [],
                }
            },
            "top_k: -1 → 9; max_tokens: 400 → 1; and 1 more): choose another --out",
        ),
    ],
)
def test_another_distribution_is_refused_and_shown(tmp_path: Path, changes: dict[str, Any], shown: str) -> None:
    run = make_run(tmp_path / "run")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=re.escape(shown)) as error:
        make_run(run.path, **changes)
    assert str(error.value).startswith(f"{run.path}: holds completions of another distribution (")
    assert "choose another --out" in str(error.value)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {**SETTINGS, "seeded": 5, "servers": 8, "engine": "sglang"}},
        {"settings": {**SETTINGS, "stop_token_ids": np.array([7]), "temperature": np.float64(0.6)}},
        {"model_card": model_card(name="Toy, renamed", engine={"dtype": "float32", "tensor_parallel": 4})},
        {"model_card": model_card(training_budget={"tokens": 100, "source": "its paper"})},
        {"benchmark_card": benchmark_card(budgets=[100, 200])},
        {"prompts": {p: ids.astype(np.int64) for p, ids in prompts(problems(3)).items()}},
    ],
)
def test_what_does_not_change_the_distribution_is_not_compared(tmp_path: Path, changes: dict[str, Any]) -> None:
    make_run(tmp_path / "run")
    run = make_run(tmp_path / "run", **changes)
    for name in ("model_card", "benchmark_card"):  # the newest description stays
        if name in changes:
            stored = getattr(open_run(run.path), name)
            assert (stored.name, getattr(stored, "budgets", 0)) == (
                changes[name].name,
                getattr(changes[name], "budgets", 0),
            )


def test_the_policy_of_a_model_is_part_of_the_distribution(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert run.manifest.distribution["policy"] is None
    assert run.manifest.distribution["model"] == "org/toy"
    unnamed = make_run(tmp_path / "unnamed", model_card=model_card(hf_id=None, tokenizer="package:markov"))
    assert unnamed.manifest.distribution["model"] == "Toy"
    assert unnamed.manifest.tokenizer == "package:markov"


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"not empty \(thesis.tex\) and not a run directory: choose another --out"):
        make_run(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    with pytest.raises(UserError, match="cannot write: "):
        make_run(tmp_path / "thesis.tex")
    with pytest.raises(UserError, match="cannot write: "):
        make_run(tmp_path / "thesis.tex" / "run")


def test_a_creation_that_was_interrupted_is_no_run_and_is_completed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", token_table=TokenTable(pieces=(b"a",)))
    (run.path / "manifest.json").unlink()
    (run.path / ".manifest.json.tmp").write_text("{")
    (run.path / ".problems.parquet.tmp").write_text("PAR1")
    with pytest.raises(UserError, match="not a run directory"):
        open_run(run.path)
    assert make_run(run.path, count=5).problems() == problems(5)


@pytest.mark.parametrize("n", [0, -3])
def test_n_must_be_positive(tmp_path: Path, n: int) -> None:
    with pytest.raises(UserError, match="at least 1"):
        make_run(tmp_path / "run", n=n)


def test_a_mistyped_setting_or_a_missing_prompt_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        make_run(tmp_path / "run", settings={"temprature": 0.6})
    with pytest.raises(ValueError, match="no prompt for 1 problems, first p2"):
        make_run(tmp_path / "run", prompts=prompts(problems(2)))
    assert not (tmp_path / "run").exists()


def test_an_import_knows_no_prompts_and_perhaps_no_sampling_parameters(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", prompts={}, settings={**SETTINGS, "temperature": None, "top_p": None})
    assert {len(ids) for ids in run.prompts().values()} == {0}
    with pytest.raises(UserError, match="temperature, top_p unknown"):
        _ = run.sampling


def test_a_run_may_be_moved_and_copied(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=2)
    with run.writer() as writer:
        writer.append([completion("p0", 0)])
        writer.seal()
        writer.append([completion("p1", 0)])
    for path in run.path.rglob("*.json*"):
        assert str(tmp_path) not in path.read_text()
    shutil.copytree(run.path, tmp_path / "copy")
    run.path.rename(tmp_path / "moved")
    for name in ("copy", "moved"):
        again = make_run(tmp_path / name, n=3)
        assert [content(item) for item in again.completions()] == [
            content(completion("p0", 0)),
            content(completion("p1", 0)),
        ]
        assert len(again.missing()) == 7


def test_a_run_is_readable_where_it_may_not_be_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with run.writer() as writer:
        writer.append([completion("p0", 0)])
    before = sorted(run.path.rglob("*"))
    stamps = [path.stat().st_mtime_ns for path in before]
    again = open_run(run.path)
    assert len(list(again.completions())) == 1
    assert again.missing()
    assert again.digest()
    assert not again.layer().exists()
    assert sorted(run.path.rglob("*")) == before
    assert [path.stat().st_mtime_ns for path in before] == stamps


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "with space"])
def test_names_of_stages_and_layers_are_file_names(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="use letters"):
        run.layer(name)
    with pytest.raises(UserError, match="use letters"):
        run.keys(name)


def test_damaged_problems_are_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run.path / "problems.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"problems\.parquet: damaged"):
        run.problems()


def test_completions_that_repeat_another_of_their_problem_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=2, n=4)
    long, short = np.arange(600, dtype=np.int32), np.arange(100, dtype=np.int32)
    made = [
        Completion(problem, index, token_ids=ids, finish_reason="stop")
        for problem, index, ids in [
            ("p0", 0, long),
            ("p0", 1, long),
            ("p0", 2, long),
            ("p0", 3, long + 1),
            ("p1", 0, long),  # the same ids, but of another problem
            ("p1", 1, short),
            ("p1", 2, short),  # short enough to repeat by chance
        ]
    ]
    with run.writer() as writer:
        writer.append(made)
    assert run.copies() == 2
    assert run.copies(at_least=100) == 3

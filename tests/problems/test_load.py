"""A benchmark card -> problems: columns, choice of rows, fallbacks, checks."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrap_eval.cards.schema import BenchmarkCard, Fields, Filter, Source, Take
from extrap_eval.errors import UserError
from extrap_eval.problems.build import build_problems
from extrap_eval.problems.load import GENERATORS, fingerprint, load_problems, load_with_source
from extrap_eval.problems.problem import Problem

ROWS = [
    {"id": "a", "problem": " 1 + 1? ", "answer": 2, "level": 1, "tag": "sum", "year": "1989"},
    {"id": "b", "problem": "1 + 2?", "answer": "03", "level": 2.5, "tag": "sum", "year": "1990"},
    {"id": "c", "problem": "2 * 3?", "answer": 6.0, "level": 2.5, "tag": "product", "year": "2023"},
    {"id": "d", "problem": "2 * 4?", "answer": ["8"], "level": None, "tag": "product", "year": "2024"},
]


def card(**values: Any) -> BenchmarkCard:
    defaults: dict[str, Any] = {
        "name": "Sums",
        "source": {"file": "/nowhere.jsonl"},
        "answer": {"kind": "integer"},
    }
    return BenchmarkCard.model_validate({**defaults, **values})


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def ids(problems: list[Problem]) -> list[str]:
    return [problem.id for problem in problems]


def test_columns_become_problems(rows_file: Path) -> None:
    fields = {"id": "id", "difficulty": "level"}
    problems = load_problems(card(source={"file": str(rows_file)}, fields=fields))
    assert problems == [
        Problem("a", "1 + 1?", "2", "integer", 1.0),
        Problem("b", "1 + 2?", "3", "integer", 2.5),
        Problem("c", "2 * 3?", "6", "integer", 2.5),
        Problem("d", "2 * 4?", "8", "integer", None),
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([{"field": "tag", "equals": "sum"}], ["a", "b"]),
        ([{"field": "year", "min": 1990, "max": 2023}], ["b", "c"]),  # numbers in text compare as numbers
        ([{"field": "year", "min": 1990}, {"field": "tag", "equals": "product"}], ["c", "d"]),
        ([{"field": "id", "in": ["d", "a"]}], ["a", "d"]),
        ([{"field": "level", "in": [2.5, 1]}], ["a", "b", "c"]),
        ([{"field": "level", "equals": "2.5"}], ["b", "c"]),
    ],
)
def test_filters(rows_file: Path, filters: list[dict[str, Any]], expected: list[str]) -> None:
    assert ids(load_problems(card(source={"file": str(rows_file)}, fields={"id": "id"}, filters=filters))) == expected


def test_a_row_without_an_id_keeps_its_number_through_filters(rows_file: Path) -> None:
    filters = [{"field": "tag", "equals": "product"}]
    assert ids(load_problems(card(source={"file": str(rows_file)}, filters=filters))) == ["2", "3"]


def test_take_gives_the_first_of_each_value_in_the_order_of_the_dataset(rows_file: Path) -> None:
    take = {"field": "tag", "counts": {"product": 1, "sum": 2}}
    assert ids(load_problems(card(source={"file": str(rows_file)}, fields={"id": "id"}, take=take))) == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"take": {"field": "tag", "counts": {"sum": 3}}},
            "take.counts.sum: 3 rows asked, but tag is sum in 2 only",
        ),
        ({"filters": [{"field": "tag", "equals": "x"}]}, "none of 4 rows is left after filters"),
        (
            {"filters": [{"field": "level", "min": 1}]},
            "rows.jsonl:4: level: None is not a number, but has a min or max",
        ),
        (
            {"fields": {"answer": "anwser"}},
            "rows.jsonl:1: fields.answer: there is no anwser; the fields here are id, problem, answer, level",
        ),
        ({"fields": {"id": "tag"}}, "rows.jsonl:2: id 'sum' is used already, by"),
        ({"fields": {"id": "level"}}, "level: 2.5 is no id"),
        ({"fields": {"difficulty": "tag"}}, "rows.jsonl:1: tag: 'sum' is not a number"),
        ({"fields": {"problem": "answer"}}, "rows.jsonl:1: answer: 2 is not the text of a problem"),
        (
            {"fields": {"id": "id", "answer": "tag"}},
            "rows.jsonl:1: problem a: the answer 'sum' is not an integer",
        ),
        ({"fields": {"answer_from_solution": "tag"}}, r"rows.jsonl:1: tag: has no \boxed{...}"),
        (
            {"fields": {"problem_suffix": "1?"}},
            "rows.jsonl:2: problem: does not end with fields.problem_suffix '1?'",
        ),
        ({"size": 5}, "has 4 problems, but size is 5"),
        ({"sha256": "0" * 64}, "not the known problems: sha256 is"),
    ],
)
def test_what_does_not_fit_is_one_line(rows_file: Path, values: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as error:
        load_problems(card(source={"file": str(rows_file)}, **values))
    assert expected in str(error.value)
    assert str(error.value).startswith("benchmark card Sums: ")
    assert "\n" not in str(error.value)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="there are no rows"):
        load_problems(card(source={"file": str(tmp_path / "empty.jsonl")}))


def test_answers_from_solutions() -> None:
    rows = [("row 0", {"q": "?", "s": r"first \boxed{1}, so \boxed{\frac{1}{2}}"})]
    fields = Fields(problem="q", answer_from_solution="s")
    assert build_problems(rows, fields, "math")[0].gold == r"\frac{1}{2}"


def test_the_fallback_is_used_and_named(rows_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    fallback = {"file": str(rows_file), "fields": {"id": "id", "problem": "problem", "answer": "answer"}}
    with caplog.at_level(logging.WARNING):
        problems, source = load_with_source(card(fields={"problem": "Problem"}, fallbacks=[fallback]))
    assert ids(problems) == ["a", "b", "c", "d"]
    assert source.file == str(rows_file)
    assert f"using {rows_file}; not to be had: /nowhere.jsonl: no such file or directory" in caplog.text


def test_a_wrong_row_is_an_error_and_no_reason_for_the_fallback(rows_file: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.jsonl").write_text('{"problem": "?"}')
    with pytest.raises(UserError, match=r"wrong\.jsonl:1: fields\.answer: there is no answer"):
        load_problems(card(source={"file": str(tmp_path / "wrong.jsonl")}, fallbacks=[{"file": str(rows_file)}]))


def test_nothing_to_be_had_says_what_was_tried_and_how_to_mend_it() -> None:
    with pytest.raises(UserError) as error:
        load_problems(card(fallbacks=[{"file": "/nowhere/else.parquet"}]))
    message = str(error.value)
    assert "/nowhere.jsonl: no such file" in message
    assert "/nowhere/else.parquet: no such file" in message
    assert "--problems FILE.jsonl" in message
    assert "source: {file: PATH}" in message


def test_the_datasets_library_reads_a_dataset_and_its_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "test.jsonl").write_text("\n".join(json.dumps({**row, "answer": str(row["answer"])}) for row in ROWS[:2]))
    with caplog.at_level(logging.WARNING):
        problems, source = load_with_source(
            card(
                source={"hf": str(folder), "split": "train"},
                fallbacks=[{"hf": str(folder), "split": "test"}],
                fields={"id": "id"},
            )
        )
    assert [(problem.id, problem.gold) for problem in problems] == [("a", "2"), ("b", "3")]
    assert source.split == "test"
    assert 'Unknown split "train"' in caplog.text


OFFLINE = """
from extrap_eval.cards.load import load_benchmark_card
from extrap_eval.errors import UserError
from extrap_eval.problems.load import load_problems
try:
    load_problems(load_benchmark_card("aime_2025"))
except UserError as error:
    print(error)
"""


def run_offline(tmp_path: Path, **environment: str) -> list[str]:
    environment = {**os.environ, "HF_HOME": str(tmp_path), **environment}
    command = [sys.executable, "-c", OFFLINE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_offline_every_source_is_tried_in_the_cache(tmp_path: Path) -> None:
    (line,) = run_offline(tmp_path, HF_HUB_OFFLINE="1")
    for source in ("FVU/AIME_2025 (train)", "yentinglin/aime_2025 (train)", "math-ai/aime25 (test)"):
        assert f"{source}: ConnectionError" in line
    assert "--problems FILE.jsonl" in line


@pytest.mark.slow
def test_an_unreachable_hub_is_asked_once(tmp_path: Path) -> None:
    """The hub's library retries for some 20 seconds; three datasets must not take three times that."""
    # Nothing listens on port 9 of this machine: connections are refused at once.
    (line,) = run_offline(tmp_path, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert "FVU/AIME_2025 (train): ConnectionError" in line
    assert "yentinglin/aime_2025 (train): not tried, the hub is out of reach" in line


def test_every_generator_of_the_schema_exists() -> None:
    annotation = Source.model_fields["generator"].annotation
    names = {name for literal in get_args(annotation) for name in get_args(literal)}
    assert names == set(GENERATORS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            {"generator": "countdown", "args": {"sed": 1}},
            "source.args: got an unexpected keyword argument 'sed'; countdown takes problems, numbers, seed",
        ),
        (
            {"generator": "multiplication", "args": {"problems": 0}},
            "source.args.problems: 0 is not a positive",
        ),
        ({"generator": "countdown"}, "answer.kind: integer is not expression, which countdown makes"),
    ],
)
def test_wrong_arguments_of_a_generator(source: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as error:
        load_problems(card(source=source))
    assert expected in str(error.value)


def test_fingerprint_changes_with_everything_and_with_the_order() -> None:
    base = [Problem("a", "t", "1"), Problem("b", "u", "2")]
    others = [
        base[::-1],
        base[:1],
        [Problem("c", "t", "1"), base[1]],
        [Problem("a", "T", "1"), base[1]],
        [Problem("a", "t", "0"), base[1]],
        [Problem("a", "t", "1", "integer"), base[1]],
        [Problem("a", "t", "1", difficulty=1.0), base[1]],
    ]
    assert len({fingerprint(problems) for problems in [base, *others]}) == 1 + len(others)
    assert fingerprint(base) == fingerprint(list(base))


VALUES = st.sampled_from([1, 2.5, "2.5", "4", 4, "x"])


@settings(deadline=None)
@given(
    st.lists(VALUES, max_size=12),
    st.dictionaries(st.sampled_from([1, 2.5, 4, "x"]), st.integers(1, 3), min_size=1),
)
def test_take_equals_the_obvious_way(values: list[Any], counts: dict[Any, int]) -> None:
    rows = [(f"row {i}", {"problem": "?", "answer": "1", "v": value}) for i, value in enumerate(values)]
    chosen: list[int] = []
    for key, count in counts.items():
        matching = [i for i, value in enumerate(values) if str(value) == str(key)]
        chosen += matching[:count] if len(matching) >= count else [-1]
    if -1 in chosen or not chosen:
        with pytest.raises(UserError):
            build_problems(rows, Fields(), "integer", take=Take(field="v", counts=counts))
    else:
        problems = build_problems(rows, Fields(), "integer", take=Take(field="v", counts=counts))
        assert ids(problems) == [str(i) for i in sorted(chosen)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 9) | st.floats(0, 9), max_size=12), st.integers(0, 9), st.integers(0, 9))
def test_filters_equal_the_obvious_way(values: list[float], low: int, high: int) -> None:
    rows = [(f"row {i}", {"problem": "?", "answer": "1", "v": value}) for i, value in enumerate(values)]
    condition = Filter.model_validate({"field": "v", "min": low, "max": high})
    kept = [str(i) for i, value in enumerate(values) if low <= value <= high]
    if kept:
        assert ids(build_problems(rows, Fields(), "integer", [condition])) == kept
    else:
        with pytest.raises(UserError):
            build_problems(rows, Fields(), "integer", [condition])

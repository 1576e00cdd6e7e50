from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extrap_eval.errors import UserError
from extrap_eval.importers.problems import Reference, group, read_references, take_evenly
from extrap_eval.problems.problem import Problem
from tests.importers.logs import sample

REFERENCES = [Reference("a1", "Find x.", "1"), Reference("a2", "Find x. Then find y.", "2")]


def test_samples_of_one_id_from_many_rows_and_files_count_up() -> None:
    rows = [("0", "f"), ("1", "f"), ("0", "f"), ("0", "g"), ("1", "g"), ("1", "g")]
    samples = [sample(problem_id=id, problem=f"q{id}", gold=id, file=Path(file)) for id, file in rows]
    problems, numbered = group(samples, None, "math")
    assert problems == [Problem("0", "q0", "0"), Problem("1", "q1", "1")]
    assert [(s.problem_id, s.sample_index) for s in numbered] == [
        ("0", 0),
        ("1", 0),
        ("0", 1),
        ("0", 2),
        ("1", 1),
        ("1", 2),
    ]
    assert [s.file for s in numbered] == [s.file for s in samples]


def test_without_ids_the_statement_decides_and_blanks_do_not() -> None:
    samples = [sample(problem=text, gold="1") for text in ("Find  x.", "Find y.", "Find\nx. ")]
    problems, numbered = group(samples, None, "math")
    assert [problem.id for problem in problems] == ["0", "1"]
    assert [(s.problem_id, s.sample_index) for s in numbered] == [("0", 0), ("1", 0), ("0", 1)]


@pytest.mark.parametrize(
    ("fields", "id"),
    [
        ({"problem": "Find x."}, "a1"),
        ({"problem": "Find x. Then  find y."}, "a2"),
        ({"prompt_text": "<User>Find x.<Assistant>"}, "a1"),
        ({"prompt_text": "<User>Find x. Then find y.<Assistant>"}, "a2"),  # holds both statements: the longer one
        ({"problem": "Find x.\nPut it in \\boxed{}."}, "a1"),
        ({"problem_id": "a2", "problem": "written otherwise"}, "a2"),
        ({"problem_id": "9", "problem": "Find x."}, "a1"),
    ],
)
def test_references_are_found(fields: dict[str, Any], id: str) -> None:
    (problem,), (found,) = group([sample(**fields, gold="77")], REFERENCES, "math")
    entry = {reference.id: reference for reference in REFERENCES}[id]
    assert problem == Problem(id, entry.text, entry.gold)
    assert found.problem_id == id


def test_problems_come_in_the_order_of_the_references() -> None:
    samples = [sample(problem="Find x. Then find y."), sample(problem="Find x.")]
    problems, numbered = group(samples, REFERENCES, "math")
    assert [problem.id for problem in problems] == ["a1", "a2"]
    assert [s.problem_id for s in numbered] == ["a2", "a1"]


def test_reference_without_id_leaves_the_log_its_own() -> None:
    problems, _ = group([sample(problem_id="60", problem="Find x.")], [Reference(None, "Find x.", "1")], "math")
    assert problems == [Problem("60", "Find x.", "1")]


def test_kind_shapes_the_gold_answer() -> None:
    problems, _ = group([sample(problem="q", gold="033")], None, "integer")
    assert problems == [Problem("0", "q", "33", "integer")]


@pytest.mark.parametrize(
    ("samples", "references", "message"),
    [
        ([{"problem": "q"}], None, r"log\.jsonl:1: the log has no gold answer .*--gold"),
        ([{"problem_id": "1", "gold": "1"}], None, r"log\.jsonl:1: the log has no statement .*--gold"),
        ([{"gold": "1"}], None, r"log\.jsonl:1: the row has neither an id nor a statement"),
        ([{"problem": "other"}], REFERENCES, r"log\.jsonl:1: the --gold file has no problem with this statement"),
        (
            [
                {"problem_id": "1", "problem": "q", "gold": "1"},
                {"problem_id": "1", "problem": "r", "gold": "1", "row": 5},
            ],
            None,
            r"log\.jsonl:5: problem 1 has another statement here than in log\.jsonl:1; .*separate runs",
        ),
        (
            [
                {"problem_id": "1", "prompt_text": "<A>Find x."},
                {"problem_id": "1", "prompt_text": "<B>Find x. Then find y.", "row": 2},
            ],
            REFERENCES,
            r"log\.jsonl:2: problem 1 has another statement",
        ),
        (
            [{"problem_id": "1", "problem": "Find x."}, {"problem_id": "2", "problem": "Find x.", "row": 2}],
            REFERENCES,
            r"log\.jsonl:2: is problem a1 of the --gold file, and so is log\.jsonl:1",
        ),
    ],
)
def test_refused(samples: list[dict[str, Any]], references: list[Reference] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        group([sample(**fields) for fields in samples], references, "math")


def test_one_problem_under_two_instructions_is_one_problem() -> None:
    samples = [sample(problem_id="1", prompt_text=f"<{system}>Find x.<end>") for system in "AB"]
    problems, numbered = group(samples, REFERENCES, "math")
    assert len(problems) == 1
    assert [s.sample_index for s in numbered] == [0, 1]


def test_bad_integer() -> None:
    with pytest.raises(UserError, match=r"log\.jsonl:1: the answer 'x' is not an integer"):
        group([sample(problem="q", gold="x")], None, "integer")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("g.json", json.dumps([{"question": "Find x.", "gold": 7.0, "id": 3}])),
        ("g.jsonl", json.dumps({"problem": "Find x.", "answer": "7", "id": "3"}) + "\n"),
        ("g.csv", "id,prompt,gt\n3,Find x.,7\n"),
    ],
)
def test_reference_files(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert read_references(path) == [Reference("3", "Find x.", "7")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"--gold .*g\.json: cannot be read"),
        ("[]", r"g\.json: has no rows"),
        ("{", r"g\.json: not valid JSON"),
        ('[{"question": "q"}]', r"row 0: has none of the fields gold, answer, gt \(the row's fields: question\)"),
        ('[{"gold": "1"}]', r"row 0: has none of the fields problem, question, prompt"),
        ('[{"question": "q", "gold": ["1", "2"]}]', r"row 0: gold: 2 answers"),
    ],
)
def test_bad_reference_files(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "g.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_references(path)


def uneven() -> list[Any]:
    counts = {"0": 3, "1": 2, "2": 3}
    return [sample(problem_id=id, sample_index=i) for id, count in counts.items() for i in range(count)]


def test_even_samples() -> None:
    n, taken = take_evenly([sample(problem_id=id, sample_index=i) for id in "01" for i in range(2)], None)
    assert (n, len(taken)) == (2, 4)


def test_uneven_samples_are_listed_with_the_mend() -> None:
    with pytest.raises(UserError, match=r"not every problem has 3 samples: problem 1 has 2; --n 2 takes the first 2"):
        take_evenly(uneven(), None)


def test_first_of_uneven_samples() -> None:
    n, taken = take_evenly(uneven(), 2)
    assert n == 2
    assert [(s.problem_id, s.sample_index) for s in taken] == [(id, i) for id in "012" for i in range(2)]


def test_too_many_asked() -> None:
    with pytest.raises(UserError, match=r"--n 3: problem 1 has 2; --n 2 is the most"):
        take_evenly(uneven(), 3)

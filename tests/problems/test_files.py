"""Problems from a plain JSON-lines file."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.cards.load import dump_card, load_benchmark_card
from extrap_eval.cards.schema import DEFAULT_PROMPT
from extrap_eval.errors import UserError
from extrap_eval.problems.files import problems_from_jsonl
from extrap_eval.problems.load import load_problems
from extrap_eval.problems.problem import Problem


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.jsonl"
    path.write_text(text)
    return path


@pytest.mark.parametrize("question", ["problem", "question", "prompt"])
@pytest.mark.parametrize("answer", ["answer", "gold", "expected_answer"])
def test_every_pair_of_names(tmp_path: Path, question: str, answer: str) -> None:
    path = write(tmp_path, f'{{"{question}": "1+1", "{answer}": 2}}\n\n{{"{question}": "1+2", "{answer}": "$3$"}}\n')
    _, problems = problems_from_jsonl(path)
    assert problems == [Problem("0", "1+1", "2"), Problem("1", "1+2", "3")]


def test_id_and_difficulty(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"problem": "1+1", "answer": "002", "id": "x", "difficulty": 3}\n{"problem": "?", "answer": 3, "id": 7}\n',
    )
    card, problems = problems_from_jsonl(path, kind="integer")
    assert problems == [Problem("x", "1+1", "2", "integer", 3.0), Problem("7", "?", "3", "integer", None)]
    assert (card.name, card.size, card.prompt, card.answer.kind) == ("mine", 2, DEFAULT_PROMPT, "integer")


def test_the_card_describes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '{"question": "1+1", "gold": 2, "id": "x"}\n{"question": "?", "gold": 3, "id": "y"}\n')
    monkeypatch.chdir(tmp_path)
    card, problems = problems_from_jsonl("mine.jsonl")
    (tmp_path / "elsewhere").mkdir()
    again = tmp_path / "elsewhere" / "card.yaml"
    again.write_text(dump_card(card))
    assert load_problems(load_benchmark_card(again)) == problems
    assert load_benchmark_card(again) == card


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"problem": "1", "answer": 2}\n{"problem": ', "mine.jsonl:2: not valid JSON"),
        (
            '{"text": "1", "answer": 2}',
            "mine.jsonl:1: has none of the fields problem, question, prompt; there",
        ),
        ('{"problem": "1"}', "mine.jsonl:1: has none of the fields answer, gold, expected_answer"),
        (
            '{"problem": "1", "answer": 2}\n\n{"problem": "1"}',
            "mine.jsonl:3: fields.answer: there is no answer",
        ),
        ('{"problem": "1", "answer": ""}', "mine.jsonl:1: problem 0: the answer is empty"),
        ('{"problem": "", "answer": "2"}', "mine.jsonl:1: problem: '' is not the text of a problem"),
        (
            '{"problem": "1", "answer": 2, "id": 1}\n{"problem": "2", "answer": 2, "id": "1"}',
            "mine.jsonl:2: id '1'",
        ),
        ('{"problem": "1", "answer": 2, "id": 1}\n{"problem": "2", "answer": 2}', "mine.jsonl:2: fields.id"),
        ("\n", "mine.jsonl: has no problems"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        problems_from_jsonl(write(tmp_path, text))
    assert expected in str(error.value)


def test_a_missing_or_other_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl: cannot be read: no such file"):
        problems_from_jsonl(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match=r"a\.csv: is not a \.jsonl file"):
        problems_from_jsonl(tmp_path / "a.csv")

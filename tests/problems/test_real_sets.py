"""Real problem sets, through cards that name their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.cards.load import load_benchmark_card
from extrap_eval.problems.load import load_problems
from extrap_eval.problems.problem import Problem

QWQ = r"Please reason step by step, and put your final answer within \boxed{}."
VIBE = r"Let's think step by step and output the final answer within \boxed{}."
CARDS = {
    "aime24__QwQ.jsonl": f"""
size: 30
fields: {{problem: prompt, problem_suffix: '{QWQ}', answer: answer}}
answer: {{kind: integer}}
""",
    "aime25__QwQ.jsonl": f"""
size: 30
fields: {{problem: prompt, problem_suffix: '{QWQ}', answer: answer}}
answer: {{kind: integer}}
""",
    "hmmt_feb_2025__VibeThinker.parquet": f"""
size: 30
fields:
  id: extra_info.problem_idx
  problem: prompt.0.content
  problem_suffix: "{VIBE.replace(chr(92), chr(92) * 2)}"
  answer: reward_model.ground_truth
""",
    "amc23__Qwen2.5-Math.jsonl": """
size: 40
fields: {id: id, problem: problem, answer: answer}
answer: {kind: integer}
""",
    "minerva_math__Qwen2.5-Math.jsonl": """
size: 272
fields: {id: idx, problem: problem, answer_from_solution: solution}
""",
    "olympiadbench__Qwen2.5-Math.jsonl": """
size: 675
fields: {id: id, problem: question, answer: final_answer}
""",
    "math500__evalchemy.jsonl": """
size: 500
fields: {id: unique_id, problem: problem, answer: answer, difficulty: level}
""",
    "omni_math_num_500__STILL.jsonl": """
size: 500
fields: {problem: problem, answer: answer, difficulty: difficulty}
""",
}


def problems_of(name: str, fixtures_dir: Path, tmp_path: Path, more: str = "") -> dict[str, Problem]:
    card = tmp_path / f"{name}.yaml"
    source = f"name: {name}\nsource: {{file: '{fixtures_dir / 'problem_sets' / name}'}}"
    card.write_text(source + CARDS[name].replace("size:", "size: null #" if more else "size:") + more)
    return {problem.id: problem for problem in load_problems(load_benchmark_card(card))}


@pytest.mark.parametrize("name", CARDS)
def test_every_set_loads_completely(name: str, fixtures_dir: Path, tmp_path: Path) -> None:
    problems = problems_of(name, fixtures_dir, tmp_path).values()  # size is checked
    assert all(problem.text and problem.gold for problem in problems)
    assert not any(r"\boxed" in problem.gold for problem in problems)
    assert not any("put your final answer within" in problem.text for problem in problems)
    if CARDS[name].endswith("{kind: integer}\n"):
        assert all(str(int(problem.gold)) == problem.gold for problem in problems)


@pytest.mark.parametrize(
    ("name", "id", "gold"),
    [
        ("aime24__QwQ.jsonl", "0", "204"),
        ("aime25__QwQ.jsonl", "1", "588"),
        ("hmmt_feb_2025__VibeThinker.parquet", "3", r"\frac{1}{576}"),
        ("hmmt_feb_2025__VibeThinker.parquet", "4", "-984"),
        ("amc23__Qwen2.5-Math.jsonl", "0", "27"),
        ("minerva_math__Qwen2.5-Math.jsonl", "0", "1.6"),
        ("minerva_math__Qwen2.5-Math.jsonl", "5", "np.arcsin(10/13)"),
        ("olympiadbench__Qwen2.5-Math.jsonl", "1606", "2"),
        ("olympiadbench__Qwen2.5-Math.jsonl", "1610", r"\frac{1}{2 n+2}"),
        ("math500__evalchemy.jsonl", "test/precalculus/807.json", r"\left( 3, \frac{\pi}{2} \right)"),
        ("omni_math_num_500__STILL.jsonl", "1", "1223456"),
    ],
)
def test_known_answers(name: str, id: str, gold: str, fixtures_dir: Path, tmp_path: Path) -> None:
    assert problems_of(name, fixtures_dir, tmp_path)[id].gold == gold


def test_dollars_go_from_answers_that_are_mathematics_only(fixtures_dir: Path, tmp_path: Path) -> None:
    problems = problems_of("olympiadbench__Qwen2.5-Math.jsonl", fixtures_dir, tmp_path)
    with_dollars = {problem.gold for problem in problems.values() if "$" in problem.gold}
    assert len(with_dollars) <= 10, with_dollars
    assert any(problem.gold == "69,84" for problem in problems.values())


def test_ten_problems_at_each_difficulty(fixtures_dir: Path, tmp_path: Path) -> None:
    take = "take: {field: difficulty, counts: {4: 10, 4.5: 10, 5: 10, 5.5: 10}}\n"
    problems = problems_of("omni_math_num_500__STILL.jsonl", fixtures_dir, tmp_path, take)
    assert len(problems) == 40
    assert (
        sorted(problem.difficulty or 0 for problem in problems.values())
        == [4.0] * 10 + [4.5] * 10 + [5.0] * 10 + [5.5] * 10
    )
    numbers = [int(id) for id in problems]
    assert numbers == sorted(numbers)


def test_hard_problems_only(fixtures_dir: Path, tmp_path: Path) -> None:
    problems = problems_of("math500__evalchemy.jsonl", fixtures_dir, tmp_path, "filters: [{field: level, min: 5}]\n")
    assert 100 < len(problems) < 200
    assert {problem.difficulty for problem in problems.values()} == {5.0}

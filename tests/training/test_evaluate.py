"""The training evaluation: curves from token ids, and what it cuts out of a thought."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extrap_eval.problems.residue_search import residue_search
from extrap_eval.scoring.tokens import TokenTable
from training.residue_search.evaluate import BUDGETS, Rollouts, _audit, _thought, budget_curve, last_answer
from training.residue_search.tokenizer import CLOSE, END, THINK, train_tokenizer
from training.residue_search.trace import final_answer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


@pytest.fixture(scope="module")
def table(tokenizer: Any) -> TokenTable:
    return TokenTable.from_tokenizer(tokenizer)


def completion(tokenizer: Any, steps: int, answer: str) -> list[int]:
    thought = "\n\n".join(["748 + 31 = 779, mod 7: 0 0 2, need 6."] * steps)
    text = f"{THINK}\n{thought}\n{CLOSE}\n\n{final_answer(int(answer))}{END}"
    return list(tokenizer.encode(text))


def test_budget_curve_by_hand(tokenizer: Any, table: TokenTable) -> None:
    """Two problems, 16 samples: half finish early and wrong, half late and right (or never)."""
    problems = residue_search("tiny")[:2]
    early = [completion(tokenizer, 4, "1000")] * 8
    late = [completion(tokenizer, 40, problems[0].gold)] * 8
    endless = [list(tokenizer.encode(f"{THINK}\n" + "Wait, " * 5000))[:4096]] * 8
    rollouts = Rollouts(problems, [[], []], [early + late, early + endless])
    assert 100 < len(early[0]) < 128
    assert 768 < len(late[0]) < 1024
    curve = {record["budget"]: record for record in budget_curve(rollouts, table, tokenizer.eos_token_id)}
    assert list(curve) == list(BUDGETS)
    expected = {64: (0, 0, 0, 0), 128: (0, 0, 0, 0.5), 768: (0, 0, 0, 0.5), 1024: (0.25, 0.5, 0.25, 0.75)}
    for budget, (first, sixteen, majority, finished) in expected.items():
        record = curve[budget]
        assert record["pass@1"] == pytest.approx(first)
        assert record["pass@16"] == pytest.approx(sixteen)
        assert record["maj@16"] == pytest.approx(majority)  # 8 against 8 is a tie: a half
        assert record["finished"] == pytest.approx(finished)
    assert curve[4096]["over_training_budget"] == pytest.approx(0.25)
    assert curve[4096]["over_low"] < 0.25 < curve[4096]["over_high"]


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        (f"{THINK}\nSo n = 7.\n{CLOSE}\n\nThe integer", f"{THINK}\nSo n = 7."),
        (f"{THINK}\nSo n = 7.", f"{THINK}\nSo n = 7."),
        (f", check 7.\n{CLOSE}\n\n{CLOSE}", ", check 7."),
    ],
)
def test_thought(tokenizer: Any, text: str, thought: str) -> None:
    assert tokenizer.decode(_thought(list(tokenizer.encode(text)), tokenizer)) == thought


def test_last_answer(tokenizer: Any, table: TokenTable) -> None:
    assert last_answer(list(tokenizer.encode("\\boxed{1} \\boxed{31} \\boxed{7")), table) == "31"
    assert last_answer(list(tokenizer.encode("no box")), table) is None


def test_audit_counts_changes() -> None:
    record = _audit(1, ["1", "1", "1", "1"], ["1", "2", "1", None], ["1", "1", "3", "1"], 50.0)
    assert (record["wrong_to_right"], record["right_to_wrong"]) == (2, 1)
    assert np.isclose(record["pass@1"], 0.75)

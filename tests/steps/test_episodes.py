from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.episodes import Rules, episode_table, pieces, read_trace, summary, with_parts
from extrap_eval.steps.score import score
from tests.steps.episode_runs import OPEN, SHORT, THOUGHT, text_run


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("episodes") / "run"
    text_run(path, [[THOUGHT, SHORT], [OPEN, THOUGHT]], difficulties=[4.0, 5.5])
    score(path, workers=1)
    return path


def test_one_row_per_sample(run_path: Path) -> None:
    table = episode_table(run_path)
    assert table[["problem_id", "sample_index", "difficulty", "correct"]].values.tolist() == [
        ["set/0", 0, 4.0, True],
        ["set/0", 1, 4.0, False],
        ["set/1", 0, 5.5, False],
        ["set/1", 1, 5.5, True],
    ]
    assert table["episodes"].tolist() == [3, 1, 2, 3]
    assert table["steps"].tolist() == [8, 2, 4, 8]
    assert table["closed"].tolist() == [True, True, False, True]
    thoughts = [text.partition("</think>")[0].removeprefix("<think>\n") for text in (THOUGHT, SHORT, OPEN, THOUGHT)]
    assert table["thought_tokens"].tolist() == [len(thought) for thought in thoughts]
    assert table["n_tokens"].tolist() == [len(THOUGHT) + 1, len(SHORT) + 1, len(OPEN), len(THOUGHT) + 1]


def test_rules_of_ones_own(run_path: Path) -> None:
    def counts(**rules: object) -> list[int]:
        return episode_table(run_path, Rules(**rules), correct=False)["episodes"].tolist()  # type: ignore[arg-type]

    assert counts(phrases=("Wait",)) == [2, 1, 1, 2]
    assert counts(min_steps=1) == [3, 2, 2, 3]
    assert counts(min_steps=4) == [2, 1, 1, 2]
    assert counts(cap=2) == [2, 1, 2, 2]


def test_an_unscored_run_has_no_verdicts(tmp_path: Path) -> None:
    run = text_run(tmp_path / "run", [[THOUGHT]])
    table = episode_table(run, correct=False)
    assert table["correct"].isna().all()
    assert table["difficulty"].isna().all()
    with pytest.raises(UserError, match="score the run"):
        episode_table(run)
    for by in ("correct", "difficulty"):
        with pytest.raises(UserError, match="use --by all"):
            with_parts(table, by)  # type: ignore[arg-type]


def test_parts(run_path: Path) -> None:
    table = episode_table(run_path)
    assert with_parts(table, "correct")["part"].tolist() == ["right", "right", "wrong", "wrong"]
    assert with_parts(table, "difficulty")["part"].tolist() == ["difficulty 4"] * 2 + ["difficulty 5.5"] * 2
    assert set(with_parts(table, "all")["part"]) == {"all"}
    many = table.loc[np.arange(24) % 4].assign(difficulty=np.arange(24.0))
    quarters = with_parts(many, "difficulty")
    assert quarters["part"].value_counts().tolist() == [6, 6, 6, 6]
    assert quarters["part"].iloc[0] == "difficulty up to 5.75"


def test_summary(run_path: Path) -> None:
    right, wrong = summary(with_parts(episode_table(run_path), "correct"))
    assert right == {
        "part": "right",
        "traces": 2,
        "mean": "3.0",
        "least": "3",
        "25 %": "3",
        "median": "3",
        "75 %": "3",
        "most": "3",
        "steps per episode": f"{8 / 3:.1f}",
        "tokens per episode": f"{len(THOUGHT.partition('</think>')[0].removeprefix('<think>' + chr(10))) / 3:.0f}",
        "thoughts closed": "100 %",
    }
    assert (wrong["mean"], wrong["median"], wrong["thoughts closed"]) == ("1.5", "1.5", "50 %")


def test_pieces_are_the_whole_text_in_order(run_path: Path) -> None:
    found = pieces(read_trace(run_path, "set/0", 0))
    assert "".join(piece.text for piece in found) == THOUGHT + "<end>"
    assert [piece.episode for piece in found] == [-1, 0, 0, 0, 1, 1, 1, 2, -1, -1, -1]
    by_episode = ["".join(piece.text for piece in found if piece.episode == e) for e in range(3)]
    assert by_episode[0] == "First step.\n\nIs it \\boxed{3}?\n\nNo."
    assert by_episode[1] == "\n\nWait, look again.\n\nIt may be \\boxed{7}.\n\nYes."
    assert by_episode[2] == "\n\nAlternatively, no.\n\nStill 7.\n"
    assert [(piece.text, piece.episode) for piece in found if piece.boxed] == [
        ("\\boxed{3}", 0),
        ("\\boxed{7}", 1),
        ("\\boxed{7}", -1),
    ]


def test_a_trace_that_is_not_there(run_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no problem set/7; did you mean set/[01]"):
        read_trace(run_path, "set/7", 0)
    with pytest.raises(UserError, match="sample 2 of problem set/0 is not there: it has up to 2"):
        read_trace(run_path, "set/0", 2)


def test_a_tokenizer_that_is_no_table(run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by decoding, every trace is the same."""
    from tests.steps.episode_runs import END

    class Tokenizer:
        def decode(self, ids: list[int], **_: object) -> str:
            return "".join("<end>" if i == END else chr(i) for i in ids)

    monkeypatch.setattr("extrap_eval.prompts.tokenizer.load_tokenizer", lambda *_: Tokenizer())
    run = text_run(tmp_path / "run", [[THOUGHT, SHORT], [OPEN, THOUGHT]], difficulties=[4.0, 5.5], table=False)
    columns = ["episodes", "steps", "thought_tokens", "n_tokens", "closed"]
    expected = episode_table(run_path)[columns].values.tolist()
    assert episode_table(run, correct=False)[columns].values.tolist() == expected


def test_an_empty_run(tmp_path: Path) -> None:
    run = text_run(tmp_path / "run", [[THOUGHT]])
    for part in (tmp_path / "run" / "completions").rglob("*"):
        if part.is_file():
            part.unlink()
    with pytest.raises(UserError, match="holds no completions yet"):
        episode_table(run, correct=False)

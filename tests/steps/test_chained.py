"""Traces cut after their attempts, on completions written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.candidates import attempt_rule, read_traces
from extrap_eval.steps.chained import cap_table, chained_tables, count_table, gap_table, trace_table
from extrap_eval.steps.diversity import attempt_table
from extrap_eval.steps.episodes import Rules
from extrap_eval.steps.score import score
from extrap_eval.steps.stopped import cut_after, read_chained
from extrap_eval.store import Run
from tests.steps.episode_runs import text_run

# Three episodes, two verifications; boxes 3, 7, 7.
LONG = (
    "<think>\nFirst step.\n\nIs it \\boxed{3}?\n\nLet me check: no.\n\n"
    "Wait, look again.\n\nIt may be \\boxed{7}.\n\nLet me verify. Yes.\n\n"
    "Alternatively, no.\n\nStill so.\n</think>\n\nThe answer is \\boxed{7}, let me check."
)
SHORT = "<think>\nEasy.\n\nIt is 8, double-check.\n</think>\n\n\\boxed{8}"
OPEN = "<think>\nHm.\n\nSo \\boxed{7}.\n\nLet me see.\n\nBut wait, what"
PHRASES = ["let me check", "let me verify", "double-check"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = text_run(tmp_path_factory.mktemp("chained") / "run", [[LONG, SHORT], [OPEN, LONG], [SHORT, SHORT]])
    score(made.path, workers=1)
    return made


def prefix(text: str, tokens: int) -> str:
    return text.encode()[:tokens].decode()


def test_where_a_trace_is_cut(run: Run) -> None:
    traces = read_traces(run, phrases=PHRASES)
    assert str(attempt_rule(run)) == "boxed answers"
    trace = traces["set/0", 0]
    assert (len(trace.episode_ends), len(trace.checks), len(trace.attempt_ends)) == (3, 2, 3)
    assert prefix(LONG, cut_after(trace, "episodes", 1)).endswith("Let me check: no.")
    assert prefix(LONG, cut_after(trace, "episodes", 2)).endswith("Yes.")
    assert prefix(LONG, cut_after(trace, "verifications", 1)).endswith("It may be \\boxed{7}.\n\n")
    assert prefix(LONG, cut_after(trace, "candidates", 1)).endswith("It may be \\boxed{7")
    for unit, number in (("episodes", 3), ("verifications", 2), ("candidates", 3)):
        assert cut_after(trace, unit, number) == trace.n_tokens == len(LONG.encode()) + 1  # type: ignore[arg-type]
    assert trace.right.tolist() == [False, True, True]
    assert trace.class_id[1] == trace.class_id[2] != trace.class_id[0]
    assert [prefix(LONG, end)[-9:] for end in trace.attempt_ends] == ["\\boxed{3}", "\\boxed{7}", "\\boxed{7}"]
    # What the model says after its thought is no verification.
    assert len(traces["set/1", 0].checks) == 0
    assert len(traces["set/0", 1].checks) == 1


def test_accuracy_after_j_episodes(run: Run) -> None:
    found = read_chained(run, phrases=PHRASES)
    assert found.caps == (1, 2, 4)
    assert found.counts["episodes"].tolist() == [[3, 1], [2, 3], [1, 1]]
    table = cap_table(found, ks=[1, 2]).set_index(["k", "group"])
    assert table["value"].to_dict() == {
        (1, 1): pytest.approx(1 / 6), (1, 2): pytest.approx(0.5), (1, 4): pytest.approx(0.5),
        (2, 1): pytest.approx(1 / 3), (2, 2): pytest.approx(2 / 3), (2, 4): pytest.approx(2 / 3),
    }  # fmt: skip
    assert table.loc[(2, 4), "tokens"] == 2 * np.mean([t.n_tokens for t in read_traces(run).values()])
    gap = gap_table(found).set_index("attempts")
    assert gap["alone"].tolist() == pytest.approx([1 / 6] * 3)
    assert gap["gap"].tolist() == pytest.approx([0, 1 / 3, 1 / 3])
    # Of two first attempts: one right and one wrong in one problem, twice wrong in the others.
    assert gap.loc[2, "votes"] == pytest.approx((0 + 1 / 2 + 0) / 3)
    assert gap.loc[2, "best"] == pytest.approx(1 / 3)
    assert np.isnan(gap.loc[4, "votes"])
    assert gap["tried"].tolist() == [1.0] * 3


def test_counts_of_right_and_wrong_traces(run: Run) -> None:
    table = count_table(read_chained(run, phrases=PHRASES)).set_index(["unit", "part"])
    assert table.loc[("verifications", "right"), "value"] == pytest.approx((2 + 0 + 2) / 3)
    assert table.loc[("verifications", "wrong"), "value"] == 1
    assert table.loc[("verifications", "difference"), ["value", "problems"]].tolist() == [1, 1]
    assert table.loc[("episodes", "right"), ["traces", "problems"]].tolist() == [3, 2]
    each = trace_table(read_chained(run, phrases=PHRASES))
    assert each["part"].tolist() == ["right", "wrong", "right", "right", "wrong", "wrong"]
    assert each["count"].tolist() == [2, 1, 0, 2, 1, 1]


def test_other_rules(run: Run) -> None:
    found = read_chained(run, unit="candidates", pattern=r"is (\d)|x", rules=Rules(phrases=("It",), min_steps=1))
    assert found.counts["candidates"].tolist() == [[0, 1], [0, 0], [1, 1]]
    assert found.first_class.tolist() == [[-1, 0], [-1, -1], [0, 0]]
    assert found.counts["episodes"].tolist() == [[2, 2], [1, 2], [2, 2]]
    assert found.caps == (1,)
    for pattern, reason in {"(a": "not a regular expression", "a": "0 groups", "(a)(b)": "2 groups"}.items():
        with pytest.raises(UserError, match=f"--pattern: .*{reason}"):
            attempt_rule(run, pattern)
    with pytest.raises(UserError, match="counted from 1"):
        read_chained(run, caps=[0])
    with pytest.raises(UserError, match=r"--k: \[3\] is not in 1..2"):
        cap_table(found, ks=[3])


def test_several_runs_and_unique_attempts(run: Run) -> None:
    tables = chained_tables([run, run], phrases=PHRASES)
    assert len(tables.counts) == 18
    attempts = attempt_table([run], budgets=[50, 400]).set_index(["quantity", "budget"])["value"]
    assert attempts["attempts", 400] == pytest.approx((3 + 1 + 1 + 3 + 1 + 1) / 6)
    assert attempts["unique", 400] == pytest.approx((2 + 1 + 1 + 2 + 1 + 1) / 6)
    assert attempts["unique right", 400] == attempts["tried", 400] == pytest.approx(3 / 6)
    assert attempts["of problem", 400] == pytest.approx((3 + 2 + 1) / 3)
    assert attempts["attempts", 50] == pytest.approx((1 + 0 + 1 + 1 + 0 + 0) / 6)
    assert isinstance(tables.gap, pd.DataFrame)


def test_a_run_without_completions(tmp_path: Path) -> None:
    made = text_run(tmp_path / "run", [[SHORT]])
    with pytest.raises(UserError, match="not scored yet"):
        read_chained(made)

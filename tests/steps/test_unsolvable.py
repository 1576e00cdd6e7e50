from __future__ import annotations

from pathlib import Path

import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.compare import compare
from extrap_eval.steps.unsolvable import one_of, read_unsolved, region_table, set_table
from extrap_eval.store import Run
from tests.steps.scored_runs import Said, random_samples, scored_run

RIGHT, WRONG, LATE = Said(100, [(40, "7")]), Said(100, [(40, "8")]), Said(300, [(250, "7")])


def made(folder: Path, name: str, rows: str) -> Run:
    """One word per problem: r right, w wrong, l right after 250 tokens."""
    kinds = {"r": RIGHT, "w": WRONG, "l": LATE}
    return scored_run(folder / name, [[kinds[c] for c in word] for word in rows.split()], model={"name": name})


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [made(tmp_path, "a", "ww wr rr lw"), made(tmp_path, "b", "ww ww wr wl"), made(tmp_path, "c", "rr ww ww ll")]


def test_sets_of_all_samples(runs: list[Run]) -> None:
    sets = read_unsolved(runs)
    assert (sets.k, sets.budget, sets.samples) == (2, 400, (2, 2, 2))
    table = set_table(sets)
    assert table["size"].tolist() == table["expected"].tolist() == [1, 2, 2]
    assert ((table["low"] <= table["size"]) & (table["size"] <= table["high"])).all()
    regions = region_table(sets).set_index("members")
    assert regions["size"].to_dict() == {"111": 0, "110": 1, "101": 0, "011": 1, "100": 0, "010": 0, "001": 1}
    assert regions.loc["110", ["models", "problem_ids"]].tolist() == ["a + b", "p0"]
    assert sets.overlap == 0


def test_which_k_of_n_matters(runs: list[Run]) -> None:
    sets = read_unsolved(runs[:2], k=1, budget=150)
    table = set_table(sets)
    assert table["size"].tolist() == [3, 4]  # of the first sample: p0, p1, p3 and all
    assert table["expected"].tolist() == [1 + 0.5 + 0 + 1, 1 + 1 + 0.5 + 1]
    regions = region_table(sets).set_index("members")
    assert regions.loc["11", "expected"] == 1 + 0.5 + 0 + 1
    assert regions.loc["01", "expected"] == 0 + 0.5 + 0.5 + 0
    assert sets.overlap == 3 / 4


def test_agrees_with_compare(tmp_path: Path) -> None:
    pair = [
        scored_run(tmp_path / name, random_samples(20, 4, seed, 0.2), model={"name": name})
        for seed, name in enumerate("ab")
    ]
    for row in compare(*pair).itertuples():
        sets = read_unsolved(pair, budget=row.budget)
        assert set_table(sets)["size"].tolist() == [row.unsolved_a, row.unsolved_b]
        assert sets.overlap == pytest.approx(row.overlap, nan_ok=True)
        assert int(sets.inside.all(axis=0).sum()) == row.unsolved_both


def test_more_than_three_runs_show_what_is_there(tmp_path: Path) -> None:
    runs = [made(tmp_path, name, "w w r r" if name < "d" else "w r r r") for name in "abcde"]
    regions = region_table(read_unsolved(runs)).set_index("members")
    assert regions["size"].to_dict() == {"11111": 1, "11100": 1}


def test_what_cannot_be_compared(runs: list[Run], tmp_path: Path) -> None:
    other = scored_run(tmp_path / "other", [[RIGHT], [RIGHT]], texts="another")
    hot = scored_run(tmp_path / "hot", [[RIGHT, WRONG]] * 4, sampling={"temperature": 1.0})
    with pytest.raises(UserError, match="differ in their problems"):
        read_unsolved([runs[0], other])
    with pytest.raises(UserError, match="nothing in common"):
        read_unsolved([runs[0], other], allow=["problems"])
    assert "temperature" in read_unsolved([runs[0], hot], allow=["sampling"]).unlike[0]
    with pytest.raises(UserError, match=r"--k: 3 is not in 1..2"):
        read_unsolved(runs, k=3)
    with pytest.raises(UserError, match="budget: 5000"):
        read_unsolved(runs, budget=5000)
    with pytest.raises(UserError, match="is given twice"):
        read_unsolved([runs[0], runs[1], runs[0].path])
    with pytest.raises(UserError, match="0 runs"):
        read_unsolved([])
    with pytest.raises(UserError, match="--k: 1, 2: one is needed"):
        one_of("--k", [1, 2])

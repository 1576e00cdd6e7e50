"""Published values: read, derived from their source, and held against ours."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest

from extrap_eval.errors import UserError
from extrap_eval.steps.references import PLACE, POINT_COLUMNS, REFERENCE_COLUMNS, against_reference, read_reference
from tests.conftest import REPO

ROW = {
    "panel": "AIME",
    "axis": "budget",
    "line": "M",
    "metric": "pass@1",
    "at": 4096,
    "x": 4096,
    "value": 0.25,
    "error": 0.01,
    "error_note": "+-0.01",
    "source": "a paper",
}


def reference(folder: Path, *rows: dict[str, object]) -> pd.DataFrame:
    path = folder / "reference.csv"
    pd.DataFrame([ROW | row for row in rows], columns=REFERENCE_COLUMNS).to_csv(path, index=False)
    return read_reference(path)


def point(**changes: object) -> dict[str, object]:
    return {name: ROW[name] for name in PLACE} | {"x": 4096.0, "value": 0.3, "low": 0.2, "high": 0.4} | changes


def test_each_place_has_one_row_and_says_whether_the_paper_lies_within(tmp_path: Path) -> None:
    paper = reference(tmp_path, {"at": 1}, {"at": 2}, {"at": 3}, {"at": 4})
    ours = pd.DataFrame(
        [
            point(at=5.0),
            point(at=3.0, low=float("nan"), high=float("nan")),
            point(at=2.0, low=0.261),  # further from 0.25 than the value is known
            point(at=1.0, low=0.259),  # within what is known of it
        ],
        columns=POINT_COLUMNS,
    )
    table = against_reference(ours, paper)
    assert table["at"].tolist() == [1, 2, 3, 4, 5]
    assert table["within"].tolist()[:2] == [True, False]
    assert table["within"].isna().tolist() == [False, False, True, True, True]
    assert table["difference"].round(9).tolist()[:3] == [0.05] * 3
    assert table["paper"].isna().tolist() == [False] * 4 + [True]


def test_with_only_one_side_nothing_is_compared(tmp_path: Path) -> None:
    paper = reference(tmp_path, {})
    none = pd.DataFrame(columns=POINT_COLUMNS).astype({"at": float, "value": float, "low": float, "high": float})
    assert against_reference(none, paper)["within"].isna().all()
    ours = pd.DataFrame([point()], columns=POINT_COLUMNS)
    assert against_reference(ours, paper[:0])["ours"].tolist() == [0.3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("panel,value\na,1\n", "its columns are panel, value, not panel, axis"),
        (",".join(REFERENCE_COLUMNS) + "\na,budget,M,pass@1,4,4,many,0,exact,p\n", ":2: value: many is not a number"),
        (",".join(REFERENCE_COLUMNS) + "\n" + "a,budget,M,pass@1,4,4,1,0,exact,p\n" * 2, ":3: a, budget, M, .*twice"),
    ],
)
def test_wrong_values_are_refused_with_file_line_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "reference.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_reference(path)


def test_the_shipped_values_are_those_that_the_script_derives(fixtures_dir: Path, tmp_path: Path) -> None:
    curves = fixtures_dir.parent / "reference" / "reference_curves.csv"
    if not curves.is_file():
        pytest.skip(f"the papers' curves are not here ({curves})")
    script = runpy.run_path(str(REPO / "results" / "derive_references.py"))
    for name in script["RECIPES"]:
        (tmp_path / name).mkdir()
    script["main"](curves, tmp_path)
    shipped = {path.parent.name: path.read_bytes() for path in (REPO / "results").glob("*/reference.csv")}
    assert {path.parent.name: path.read_bytes() for path in tmp_path.glob("*/reference.csv")} == shipped


@pytest.mark.parametrize(
    ("note", "value", "error"),
    [
        ("exact (vector; recovered integer count /480, residual <1e-4)", "0.1", 0.0),
        ("x +-3 tokens, y exact to 1e-4; values are k/3840 = 30 problems x128", "0.1", 1e-4),
        ("printed (2 decimals)", "0.1", 0.005),
        ("printed (0.1%)", "0.1", 0.0005),
        ("x +-1%, y +-0.002 (snapped to 1/500)", "0.1", 0.002),
        ("+-0.006; tokens +-2%", "0.1", 0.006),
        ("+-0.0005 (raster 400dpi) occluded +-0.001", "0.1", 0.001),
        ("marker hidden under base: +-0.003", "0.1", 0.003),
        ("+-0.0005 ; plotted x is ~8092-8105, paper text says 8192", "0.1", 0.0005),
        ("raster, snapped to k/(8*n_traces); raw deviation 0.0013; tokens +-2%", "0.1", 0.0013),
    ],
)
def test_the_words_of_an_error_become_a_number(note: str, value: str, error: float) -> None:
    script = runpy.run_path(str(REPO / "results" / "derive_references.py"))
    assert script["error"]({"error_estimate": note, "value": value}) == error

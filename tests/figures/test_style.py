from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.errors import UserError
from extrap_eval.figures import budget_curve, save_figure
from extrap_eval.figures.style import budget_label, model_styles, spread, wrap_name
from tests.figures.tables import curve_table


@pytest.mark.parametrize(
    ("budget", "label"),
    [(512, "512"), (1024, "1k"), (1536, "1.5k"), (4096, "4k"), (16384, "16k"), (24576, "24k"), (31000, "31000")],
)
def test_budget_labels(budget: int, label: str) -> None:
    assert budget_label(budget) == label


@pytest.mark.parametrize(
    ("name", "width", "wrapped"),
    [
        ("e3-1.7B", 17, "e3-1.7B"),
        ("DeepSeek-R1-Distill-Qwen-1.5B", 17, "DeepSeek-R1-\nDistill-Qwen-1.5B"),
        ("averyveryverylongname", 5, "averyveryverylongname"),
        ("my model", 4, "my\nmodel"),
    ],
)
def test_names_break_after_hyphens_and_spaces(name: str, width: int, wrapped: str) -> None:
    assert wrap_name(name, width) == wrapped


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(1, 20)), min_size=1, max_size=12),
)
def test_spread_labels_never_overlap_and_stay_in_order(items: list[tuple[float, float]]) -> None:
    centres, heights = (np.array(values) for values in zip(*items, strict=True))
    placed = spread(centres, heights, 0, 100)
    order = np.argsort(centres, kind="stable")
    low, high = (placed - heights / 2)[order], (placed + heights / 2)[order]
    assert (low[1:] >= high[:-1] - 1e-9).all()
    if heights.sum() <= 100:
        assert low[0] >= -1e-9
        assert high[-1] <= 100 + 1e-9
    apart = (np.diff(np.sort(centres)) >= heights.max()).all()
    if apart and centres.min() >= 20 and centres.max() <= 80:
        np.testing.assert_allclose(placed, centres, atol=1e-9)  # nothing moves without need


def test_ten_models_are_all_different() -> None:
    styles = model_styles([f"m{i}" for i in range(20)])
    assert len({(style.colour, style.marker) for style in styles.values()}) == 20
    assert model_styles(["a", "b", "a"]).keys() == {"a", "b"}


def test_saved_files(tmp_path: Path) -> None:
    figure = budget_curve(curve_table(2))
    before = dict(matplotlib.rcParams)
    written = [save_figure(figure, tmp_path / "new" / f"curve.{kind}") for kind in ("png", "svg", "pdf")]
    assert dict(matplotlib.rcParams) == before
    png, svg, pdf = (path.read_bytes() for path in written)
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (round(3.4 * 300), round(2.3 * 300))
    assert b"<text" not in svg  # drawn as paths: no font is needed to show it
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    again = save_figure(budget_curve(curve_table(2)), tmp_path / "again.svg")
    assert again.read_bytes() == svg


@pytest.mark.parametrize("name", ["curve.jpg", "curve", "curve.eps"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"saved as \.png, \.svg or \.pdf"):
        save_figure(budget_curve(curve_table()), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_no_pyplot() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from tests.figures.tables import curve_table; from extrap_eval.figures import budget_curve;"
        "assert 'matplotlib' not in sys.modules; budget_curve(curve_table());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])

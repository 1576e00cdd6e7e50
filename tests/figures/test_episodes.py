from __future__ import annotations

import numpy as np
import pytest

from extrap_eval.errors import UserError
from extrap_eval.figures import episode_histogram
from tests.figures.probe_tables import episode_rows
from tests.figures.test_budget_curve import assert_apart, texts_inside


@pytest.mark.parametrize("bin_width", [None, 1, 10])
def test_parts_are_stacked(bin_width: int | None) -> None:
    table = episode_rows()
    figure = episode_histogram(table, bin_width=bin_width)
    axes = figure.axes[0]
    right, wrong = axes.containers
    for container, part in ((right, "right"), (wrong, "wrong")):
        counts = [bar.get_height() for bar in container.patches]  # type: ignore[attr-defined]
        assert sum(counts) == (table["part"] == part).sum()
    for below, above in zip(right.patches, wrong.patches, strict=True):  # type: ignore[attr-defined]
        assert above.get_y() == pytest.approx(below.get_height())
    texts_inside(figure)
    assert_apart([tick for tick in axes.get_xticklabels() if tick.get_text()])


def test_every_number_has_its_bar() -> None:
    table = episode_rows(("all",)).head(3).assign(episodes=[0, 2, 2])
    (container,) = episode_histogram(table).axes[0].containers
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in container.patches}  # type: ignore[attr-defined]
    assert bars == {0: 1, 1: 0, 2: 2}


def test_four_difficulties() -> None:
    figure = episode_histogram(episode_rows([f"difficulty {d:g}" for d in np.arange(4, 6, 0.5)]))
    texts_inside(figure)


def test_empty() -> None:
    with pytest.raises(UserError, match="no rows"):
        episode_histogram(episode_rows().iloc[:0])

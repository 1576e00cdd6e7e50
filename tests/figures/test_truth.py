"""The figure of truth against estimates shows the numbers of its table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from extrap_eval.figures import truth_against_estimates


def test_lines_are_the_truth_and_markers_the_estimates() -> None:
    budgets = [64, 128, 256]
    table = pd.concat(
        [
            pd.DataFrame({"metric": metric, "budget": budgets}).assign(
                truth=[0.1, 0.2, 0.3 + shift],
                mean=[0.11, 0.2, 0.31],
                width=0.2,
                coverage=[0.95, 0.93, 0.70],
            )
            for metric, shift in (("pass@1", 0.0), ("maj@4", 0.1))
        ]
    )
    left, right = truth_against_estimates(table, level=0.9).axes
    truth = [line for line in left.lines if line.get_gid() == "truth"]
    assert [np.asarray(line.get_ydata()).round(9).tolist() for line in truth] == [[10, 20, 30], [10, 20, 40]]
    coverage = [line for line in right.lines if line.get_gid() == "coverage"]
    assert np.allclose(np.asarray(coverage[0].get_ydata()), [95, 93, 70])
    assert right.get_ylim()[0] <= 68  # nothing is cut off
    for axes in (left, right):
        assert "tokens" in axes.get_xlabel()
        assert "%" in axes.get_ylabel()

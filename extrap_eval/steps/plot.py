"""Draw the figures of runs into files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from extrap_eval.errors import UserError
from extrap_eval.scoring.timeline import AnswerRule

FIGURES = ("budget", "passk", "outcomes")


def plot(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    figure: str = "budget",
    budgets: Sequence[int] | None = None,
    ks: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    rule: AnswerRule = AnswerRule(),
) -> Path:
    """Draw one figure of scored runs and return the path written (.png, .svg or .pdf by its suffix).

    ``figure``: "budget" (pass@1 against budget, every run in one panel), "passk" (pass@k and maj@k against k) or
    "outcomes" (what became of every sample at each budget; one run). Raises UserError for anything the runs cannot
    show.
    """
    from extrap_eval.figures import budget_curve, outcome_bands, passk_majk, save_figure
    from extrap_eval.steps.curves import curves, outcome_table

    if figure not in FIGURES:
        raise UserError(f"--figure: {figure} is not one of {', '.join(FIGURES)}")
    if figure == "outcomes":
        if len(runs) != 1:
            raise UserError(f"--figure outcomes draws one run, not {len(runs)}: call it once per run")
        drawn = outcome_bands(
            outcome_table(runs[0], budgets=budgets, n=n, rule=rule),
            curves(runs, budgets=budgets, ks=[1], n=n, level=level, rule=rule),
        )
    elif figure == "passk":
        drawn = passk_majk(curves(runs, budgets=budgets, ks=ks, n=n, level=level, rule=rule))
    else:
        drawn = budget_curve(curves(runs, budgets=budgets, ks=[1], n=n, level=level, rule=rule))
    return save_figure(drawn, out)

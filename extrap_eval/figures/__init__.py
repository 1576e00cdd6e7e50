"""Figures: each function takes a tidy table and returns a matplotlib Figure, with no pyplot state."""

from extrap_eval.figures.budget_curve import budget_curve
from extrap_eval.figures.outcomes import outcome_bands
from extrap_eval.figures.passk_majk import passk_majk
from extrap_eval.figures.style import COLUMN, PAGE, save_figure

__all__ = ["COLUMN", "PAGE", "budget_curve", "outcome_bands", "passk_majk", "save_figure"]

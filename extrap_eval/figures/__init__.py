"""Figures: each function takes a tidy table and returns a matplotlib Figure, with no pyplot state."""

from extrap_eval.figures.attempts import chained_attempts
from extrap_eval.figures.budget_curve import budget_curve
from extrap_eval.figures.difference import difference_curve
from extrap_eval.figures.distributions import distributions_by_position
from extrap_eval.figures.diversity import diversity_curves
from extrap_eval.figures.episodes import episode_histogram
from extrap_eval.figures.forcing import forcing_curves, wait_bars
from extrap_eval.figures.grid import attempt_grid
from extrap_eval.figures.lengths import length_histograms
from extrap_eval.figures.outcomes import outcome_bands
from extrap_eval.figures.passk_majk import passk_majk
from extrap_eval.figures.probes import probe_curves, progress_histogram
from extrap_eval.figures.quality import quality_panels
from extrap_eval.figures.regret import regret_curve
from extrap_eval.figures.replacement import replacement_effects
from extrap_eval.figures.reproduction import reproduction
from extrap_eval.figures.style import COLUMN, PAGE, figure_svg, save_figure
from extrap_eval.figures.truth import truth_against_estimates
from extrap_eval.figures.unsolvable import unsolvable_sets
from extrap_eval.figures.verification import verification_against_generation
from extrap_eval.figures.votes import one_thought_against_votes, votes_against_tokens

__all__ = [
    "COLUMN",
    "PAGE",
    "attempt_grid",
    "budget_curve",
    "chained_attempts",
    "difference_curve",
    "distributions_by_position",
    "diversity_curves",
    "episode_histogram",
    "figure_svg",
    "forcing_curves",
    "length_histograms",
    "one_thought_against_votes",
    "outcome_bands",
    "passk_majk",
    "probe_curves",
    "progress_histogram",
    "quality_panels",
    "regret_curve",
    "replacement_effects",
    "reproduction",
    "save_figure",
    "truth_against_estimates",
    "unsolvable_sets",
    "verification_against_generation",
    "votes_against_tokens",
    "wait_bars",
]

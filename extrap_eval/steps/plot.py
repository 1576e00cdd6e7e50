"""Draw the figures of runs into files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.errors import UserError
from extrap_eval.scoring.timeline import AnswerRule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from extrap_eval.store import Run

FIGURES = ("budget", "passk", "outcomes", "votes")
EXPLORATION = ("unsolvable", "diversity", "attempts", "quality", "lengths")  # as the commands of these names draw them
# Of what follows from traces.
FOLLOWED = (
    "probes", "progress", "regret", "regret-groups", "grid", "forced-budgets", "forcing", "wait", "slide", "entropy",
    "verify", "replace",
)  # fmt: skip
OF_SEVERAL = ("progress", "regret", "regret-groups", "forcing", "entropy")  # the others draw one run each


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
    """Draw one figure of scored runs (see ``draw``) and return the path written (.png, .svg or .pdf by its suffix)."""
    from extrap_eval.figures import save_figure

    return save_figure(draw(runs, figure=figure, budgets=budgets, ks=ks, n=n, level=level, rule=rule), out)


def draw(
    runs: Sequence[str | Path | Run],
    *,
    figure: str = "budget",
    budgets: Sequence[int] | None = None,
    ks: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    rule: AnswerRule = AnswerRule(),
) -> Figure:
    """One figure of scored runs.

    ``figure``: "budget" (pass@1 against budget, every run in one panel), "passk" (pass@k and maj@k against k), "votes"
    (maj@k of whole completions against their tokens), "outcomes" (what became of every sample at each budget; one
    run), or one of ``EXPLORATION`` (as the commands of those names draw them). Raises UserError for anything the runs
    cannot show.
    """
    from extrap_eval.figures import budget_curve, outcome_bands, passk_majk, votes_against_tokens
    from extrap_eval.steps.curves import curves, outcome_table
    from extrap_eval.steps.efficiency import vote_table

    if figure not in (*FIGURES, *EXPLORATION):
        raise UserError(f"--figure: {figure} is not one of {', '.join((*FIGURES, *EXPLORATION, *FOLLOWED))}")
    if figure == "outcomes":
        if len(runs) != 1:
            raise UserError(f"--figure outcomes draws one run, not {len(runs)}: call it once per run")
        return outcome_bands(
            outcome_table(runs[0], budgets=budgets, n=n, rule=rule),
            curves(runs, budgets=budgets, ks=[1], n=n, level=level, rule=rule),
        )
    if figure == "votes":
        return votes_against_tokens(vote_table(runs, ks=ks, n=n, level=level))
    if figure == "unsolvable":
        from extrap_eval.steps.unsolvable import draw_unsolvable

        return draw_unsolvable(runs, ks=ks, budgets=budgets, n=n, rule=rule)
    if figure == "diversity":
        from extrap_eval.steps.diversity import draw_diversity

        return draw_diversity(runs, ks=ks, budgets=budgets, n=n, level=level, rule=rule)
    if figure == "attempts":
        from extrap_eval.steps.chained import draw_chained

        return draw_chained(runs, ks=ks, n=n, level=level, rule=rule)
    if figure == "quality":
        from extrap_eval.figures import quality_panels
        from extrap_eval.steps.quality import quality_tables

        return quality_panels(quality_tables(runs, budgets=budgets, n=n, level=level, rule=rule))
    if figure == "lengths":
        import pandas as pd

        from extrap_eval.figures import length_histograms
        from extrap_eval.steps.lengths import length_rows, lengths_of_runs

        read = lengths_of_runs(runs, n=n, rule=rule)
        return length_histograms(pd.concat([length_rows(each).assign(model=name) for name, each in read]))
    if figure == "passk":
        return passk_majk(curves(runs, budgets=budgets, ks=ks, n=n, level=level, rule=rule))
    return budget_curve(curves(runs, budgets=budgets, ks=[1], n=n, level=level, rule=rule))


def plot_followed(
    runs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    figure: str,
    variant: str | None = None,
    baseline: str | Path | None = None,
    budgets: Sequence[int] | None = None,
    level: float = 0.95,
) -> Path:
    """Draw what was asked of the traces of runs (see ``draw_followed``), and return the path written."""
    from extrap_eval.figures import save_figure

    drawn = draw_followed(runs, figure=figure, variant=variant, baseline=baseline, budgets=budgets, level=level)
    return save_figure(drawn, out)


def draw_followed(
    runs: str | Path | Run | Sequence[str | Path | Run],
    *,
    figure: str,
    variant: str | None = None,
    baseline: str | Path | None = None,
    budgets: Sequence[int] | None = None,
    level: float = 0.95,
) -> Figure:
    """What was asked of the traces of runs, drawn.

    ``figure``: "probes" ([maj@p]_j against tokens, with the pass@k of the run ``baseline``, which answers at once),
    "progress" (what each group of episodes adds), "regret" (by tokens, continued by forcing where there is some) and
    "regret-groups", "grid" (samples against episodes, and at equal tokens: ``budgets``), "forced-budgets" (the two ways
    to cut at a budget), "forcing" (after w extensions, with the run's own curve), "wait" (the audit), "slide" (one long
    thought against votes), "entropy" (and branching, by relative position), "verify" (verification against
    generation), "replace" (what replacing a token does). Those in ``OF_SEVERAL`` take several runs. ``variant``: which
    one, where there are several.
    Raises UserError for anything that the runs cannot show.
    """
    from extrap_eval import figures
    from extrap_eval.steps import probe_curves
    from extrap_eval.steps.regret import regret_of_runs

    paths = [*runs] if isinstance(runs, Sequence) and not isinstance(runs, str) else [runs]
    if figure not in FOLLOWED:
        raise UserError(f"--figure: {figure} is not one of {', '.join((*FIGURES, *EXPLORATION, *FOLLOWED))}")
    if len(paths) != 1 and (figure not in OF_SEVERAL or not paths):
        raise UserError(f"--figure {figure} draws one run, not {len(paths)}: call it once per run")
    run = paths[0]
    if figure == "probes":
        direct = None if baseline is None else probe_curves.direct_baseline(baseline, beside=run, level=level)
        return figures.probe_curves(probe_curves.probe_votes(run, variant, level=level), direct=direct)
    if figure == "progress":
        return _progress(paths, variant)
    if figure == "regret":
        return figures.regret_curve(regret_of_runs(paths, "tokens", variant, budgets=budgets, level=level))
    if figure == "regret-groups":
        return figures.regret_curve(regret_of_runs(paths, "groups", variant, level=level), by="groups")
    if figure == "grid":
        from extrap_eval.steps.efficiency import attempt_tables

        cells, equal = attempt_tables(run, variant, budgets=budgets, level=level)
        return figures.attempt_grid(cells, equal=equal)
    if figure == "forced-budgets":
        return two_ways_to_cut(run, probe_curves.forced_budgets(run, variant, level=level))
    if figure == "entropy":
        from extrap_eval.steps.logprobs import position_table
        from extrap_eval.steps.outcomes import as_run
        from extrap_eval.steps.score import ensure_scored

        for each in paths:
            ensure_scored(as_run(each).path)
        return figures.distributions_by_position(position_table(paths, level=level))
    if figure == "slide":
        from extrap_eval.steps.sliding import window_curves

        return figures.one_thought_against_votes(window_curves(run, level=level))
    if figure == "verify":
        from extrap_eval.steps.verification import problem_table, verification_table

        problems = problem_table(run, variant)
        return figures.verification_against_generation(problems, verification_table(problems, level=level))
    if figure == "replace":
        from extrap_eval.steps.replacement import effect_table

        names = None if variant is None else [variant]
        effects = [effect_table(run, names, bins=bins, level=level) for bins in (1, 5)]
        return figures.replacement_effects(*effects)
    if figure == "wait":
        from extrap_eval.steps.forcing import audit_table

        return figures.wait_bars(audit_table(run, variant, level=level))
    return _forcing(paths, variant, level)


def _progress(runs: Sequence[str | Path | Run], variant: str | None) -> Figure:
    import pandas as pd

    from extrap_eval.figures import progress_histogram
    from extrap_eval.steps.curves import run_names
    from extrap_eval.steps.following import find_variant
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.probe_curves import probe_progress

    opened = [as_run(run) for run in runs]
    tables = [
        probe_progress(run, variant).assign(model=name) for run, name in zip(opened, run_names(opened), strict=True)
    ]
    replicates = max(find_variant(run, "probe-episodes", variant).promise["replicates"] for run in opened)
    return progress_histogram(pd.concat(tables, ignore_index=True), replicates=replicates)


def two_ways_to_cut(run: str | Path | Run, table: pd.DataFrame) -> Figure:
    """A figure of ``probe_curves.forced_budgets``: a line for each way to cut."""
    from extrap_eval.figures import budget_curve
    from extrap_eval.steps.outcomes import as_run

    training = as_run(run).model_card.training_budget
    named = table["model"] + ", " + table["semantics"]
    tokens = None if training is None else training.tokens
    return budget_curve(table.assign(model=named, metric="pass@k", k=1, training_budget=tokens))


def _forcing(runs: Sequence[str | Path | Run], variant: str | None, level: float) -> Figure:
    """The extensions of every run that has some, beside the runs' own curves; both of the same samples."""
    import pandas as pd

    from extrap_eval.figures import forcing_curves
    from extrap_eval.steps.curves import curve
    from extrap_eval.steps.following import find_variant
    from extrap_eval.steps.forcing import forcing_table
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.score import ensure_scored

    opened = [as_run(run) for run in runs]
    for run in opened:
        ensure_scored(run.path)
    extended = [run for run in opened if run.variants("force")] or opened[:1]
    tables = [forcing_table(run, variant, level=level) for run in extended]
    samples = {run.path: find_variant(run, "force", variant).promise["samples"] for run in extended}
    own = [curve(run, ks=[1], n=samples.get(run.path), level=level) for run in opened]
    return forcing_curves(pd.concat(tables, ignore_index=True), trained=pd.concat(own, ignore_index=True))

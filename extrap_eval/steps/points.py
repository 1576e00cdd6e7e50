"""What runs say about the figure of a recipe, as points that lie beside the published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics.passk import powers_of_two
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.outcomes import default_budgets, outcomes, sampled_maximum
from extrap_eval.steps.references import POINT_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.cards.recipe import Recipe
    from extrap_eval.store import Run, Variant

_LENGTH_BINS = 16
_MOST_CHAINS = 5  # lines of a grid


@dataclass(frozen=True)
class Source:
    """A run that a figure is drawn from. ``n``: samples per problem that count; ``followed``: its probes or extensions
    are shown, not only its completions; ``variants``: the names of those that belong to the recipe (empty: whatever the
    run has); ``limit``: it holds only the first so many problems of its benchmark.
    """

    run: Run
    n: int
    followed: bool = True
    variants: tuple[str, ...] = ()
    limit: int | None = None

    @property
    def benchmark(self) -> str:
        name = self.run.benchmark_card.name
        return name if self.limit is None else f"{name}, first {self.limit} problems"

    def of_kind(self, kind: str) -> list[Variant]:
        """The complete variants of a kind. Raises UserError, naming the command, without any."""
        from extrap_eval.steps.following import find_variant

        found = [
            each
            for each in self.run.variants(kind)
            if each.complete and (not self.variants or each.name in self.variants)
        ]
        return found or [find_variant(self.run, kind, next((n for n in self.variants if n.startswith(kind)), None))]

    def only(self, kind: str) -> str:
        """The name of the one variant of a kind. Raises UserError where there are several."""
        from extrap_eval.steps.following import find_variant

        found = self.of_kind(kind)
        return found[0].name if len(found) == 1 else find_variant(self.run, kind).name


@dataclass
class Collected:
    """Points in the making, and what had to be done otherwise than the recipe says, one line each."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, panel: str, axis: str, line: str, metric: str, at: float, x: float, cell: Mapping[Any, Any]) -> None:
        interval = {name: float(cell[name]) if name in cell else float("nan") for name in ("value", "low", "high")}
        place = {"panel": panel, "axis": axis, "line": line, "metric": metric, "at": float(at), "x": float(x)}
        self.rows.append(place | interval)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def points(recipe: Recipe, sources: Sequence[Source], *, level: float = 0.95) -> tuple[pd.DataFrame, list[str]]:
    """The points of a recipe's figure (``POINT_COLUMNS``; values are fractions) from scored runs, and notes on what the
    runs could not give as the recipe asks (fewer samples, smaller budgets), one line each.

    Axes: "budget" (token budget), "tokens" (completion tokens used, mean), "thinking tokens" (mean), "samples k",
    "groups" (of episodes), "episodes", "length" (completion tokens), "progress", "score". Raises UserError for anything
    that the runs cannot show.
    """
    import pandas as pd

    if not sources:
        raise UserError("no run was given: name at least one run directory")
    found = Collected()
    names = run_names([source.run for source in sources])
    for source, name in zip(sources, names, strict=True):
        if source.followed:
            _OF_FIGURE[recipe.figure](recipe, source, name, level, found)
    for source, name in zip(sources, names, strict=True):
        if not source.followed:
            _beside(recipe, source, name, level, found)
    return pd.DataFrame(found.rows, columns=POINT_COLUMNS), found.notes


def _panel_and_line(recipe: Recipe, source: Source, name: str) -> tuple[str, str]:
    return (source.benchmark, name) if recipe.panels == "benchmark" else (name, source.benchmark)


def _budgets(recipe: Recipe, source: Source, found: Collected) -> list[int]:
    most = sampled_maximum(source.run)
    wanted = recipe.budgets or default_budgets(source.run)
    kept = [budget for budget in wanted if budget <= most]
    if len(kept) < len(wanted):
        # As e3 does for models whose context is short of the last budget.
        found.note(f"{source.run.path}: sampled up to {most} tokens, which stand in for larger budgets")
        kept = sorted({*kept, most}) if kept else default_budgets(source.run)
    return kept


def _ks(recipe: Recipe, source: Source) -> list[int]:
    wanted = recipe.ks or powers_of_two(source.n)
    return [k for k in wanted if k <= source.n]


def _curve(source: Source, level: float, budgets: Sequence[int], ks: Sequence[int]) -> pd.DataFrame:
    from extrap_eval.steps.curves import curve

    table = curve(source.run, budgets=budgets, ks=ks, n=source.n, level=level)
    return table[table["metric"] == "pass@k"]


def _by_budget(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    panel, line = _panel_and_line(recipe, source, name)
    for row in _curve(source, level, _budgets(recipe, source, found), [1]).to_dict("records"):
        found.add(panel, "budget", line, "pass@1", row["budget"], row["budget"], row)


def _by_samples(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    panel, line = _panel_and_line(recipe, source, name)
    last = _budgets(recipe, source, found)[-1]
    for row in _curve(source, level, [last], _ks(recipe, source)).to_dict("records"):
        if recipe.figure == "scores":
            found.add(panel, "score", line, f"pass@{row['k']}", row["k"], row["value"], row)
        else:
            found.add(panel, "samples k", line, "pass@k", row["k"], row["k"], row)


def _votes(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.efficiency import vote_table

    panel, line = _panel_and_line(recipe, source, name)
    table = vote_table([source.run], ks=_ks(recipe, source), n=source.n, level=level)
    for row in table.to_dict("records"):
        found.add(panel, "tokens", line, "maj@k", row["k"], row["tokens"], row)


def _lengths(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    most = sampled_maximum(source.run)
    whole = outcomes(source.run, [most], n=source.n)
    edges = np.linspace(0, most, _LENGTH_BINS + 1)
    for part, chosen in (("right", whole.correct[..., 0]), ("wrong", ~whole.correct[..., 0])):
        shares = np.histogram(whole.n_tokens[chosen], edges)[0] / whole.n_tokens.size
        for start, end, share in zip(edges, edges[1:], shares, strict=False):
            panel = f"{name}, {source.benchmark}"
            found.add(panel, "length", part, "completions", start, (start + end) / 2, {"value": share})


def _probes(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.probe_curves import probe_votes

    table = probe_votes(source.run, source.only("probe-episodes"), ks=[1], bin_width=recipe.bins, level=level)
    for row in table.to_dict("records"):
        panel = source.benchmark
        if recipe.bins is not None:
            panel += f": {row['first']}–{row['last']} episodes"
        found.add(panel, "tokens", name, "[maj@1]_j", row["group"], row["tokens"], row)


def _progress(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.following import find_variant
    from extrap_eval.steps.probe_curves import probe_progress

    variant = source.only("probe-episodes")
    bins = min(16, find_variant(source.run, "probe-episodes", variant).promise["replicates"])
    gained = probe_progress(source.run, variant)["progress"].to_numpy(float)
    counts = np.histogram(gained, (np.arange(-bins, bins + 2) - 0.5) / bins)[0]
    for step, count in zip(range(-bins, bins + 1), counts.tolist(), strict=True):
        found.add(
            source.benchmark, "progress", name, "groups", step / bins, step / bins, {"value": count / len(gained)}
        )


def _regret(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.regret import regret_by_groups, regret_by_tokens

    variant = source.only("probe-episodes")
    if recipe.figure == "regret-groups":
        table, axis = regret_by_groups(source.run, variant, protocol=recipe.protocol, level=level), "groups"
    else:
        forced = [each.name for each in source.run.variants("force") if each.complete]
        forced = [each for each in forced if not source.variants or each in source.variants]
        table = regret_by_tokens(
            source.run,
            variant,
            budgets=recipe.budgets and _budgets(recipe, source, found),
            forced=forced[0] if len(forced) == 1 else None,
            protocol=recipe.protocol,
            level=level,
        )
        axis = "budget"
    for row in table.to_dict("records"):
        found.add(source.benchmark, axis, name, "normalised regret", row["at"], row["at"], row)


def _grid(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.efficiency import attempt_tables

    cells, _ = attempt_tables(source.run, source.only("probe-episodes"), level=level)
    shown = sorted({int(group) for group in cells["group"]})
    if len(shown) > _MOST_CHAINS:
        shown = [group for group in shown if group and group & (group - 1) == 0]  # powers of two
    for row in cells.to_dict("records"):
        if row["group"] in shown and (recipe.ks is None or row["k"] in recipe.ks):
            panel, line = f"{name}, {source.benchmark}", f"{row['group']} chained"
            found.add(panel, "samples k", line, "pass@k", row["k"], row["k"], row)


def _episodes(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.episodes import episode_table

    traces = episode_table(source.run, correct=False)
    counts = traces[traces["sample_index"] < source.n]["episodes"].to_numpy()
    width = recipe.bins or 1
    shares = np.bincount((np.maximum(counts, 1) - 1) // width) / len(counts)
    for place, share in enumerate(shares.tolist()):
        at = place * width + 1
        found.add(source.benchmark, "episodes", name, "traces", at, at + (width - 1) / 2, {"value": share})


def _forcing(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.forcing import forcing_table

    for variant in source.of_kind("force"):
        for row in forcing_table(source.run, variant.name, level=level).to_dict("records"):
            for axis, x in (("tokens", row["tokens"]), ("budget", row["cap"])):
                found.add(source.benchmark, axis, f"{name}, forced", "accuracy", row["w"], x, row)
    _not_forced(recipe, source, name, level, found)


def _not_forced(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    for row in _curve(source, level, _budgets(recipe, source, found), [1]).to_dict("records"):
        for axis, x in (("tokens", row["mean_tokens"]), ("budget", row["budget"])):
            found.add(source.benchmark, axis, f"{name}, not forced", "accuracy", row["budget"], x, row)


def _thinking(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.metrics import intervals
    from extrap_eval.metrics.forcing import forcing_curve
    from extrap_eval.steps.forcing import force_arrays

    for variant in source.of_kind("force"):
        arrays = force_arrays(source.run, variant.name)
        draws = intervals.resamples(len(arrays.problem_ids), 2000, 0)
        thought = np.where(arrays.there, arrays.prefix_tokens, np.nan)
        curve = forcing_curve(arrays.accuracy, thought, draws, level=level)
        extended = variant.settings["extensions"] > 0
        for i, w in enumerate(arrays.places):
            cell = {key: getattr(curve.accuracy, key)[i] for key in ("value", "low", "high")}
            # Without extensions a variant is one cap on the thought.
            at = w if extended else variant.settings["thinking_tokens"]
            found.add(source.benchmark, "thinking tokens", name, "accuracy", at, curve.tokens.value[i], cell)


def _slide(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    from extrap_eval.steps.sliding import window_curves

    for row in window_curves(source.run, level=level).to_dict("records"):
        found.add(source.benchmark, "tokens", row["model"], "accuracy", row["k"], row["tokens"], row)


def _beside(recipe: Recipe, source: Source, name: str, level: float, found: Collected) -> None:
    """What a run that is sampled only adds to a figure of followed ones."""
    if recipe.figure in ("forcing",):
        _not_forced(recipe, source, name, level, found)
    elif recipe.figure == "probes":
        from extrap_eval.steps.probe_curves import direct_baseline

        panels = dict.fromkeys(row["panel"] for row in found.rows if row["panel"].startswith(source.benchmark))
        for row in direct_baseline(source.run, level=level).to_dict("records"):
            for panel in panels:
                found.add(panel, "tokens", f"{name}, direct", "pass@k", row["k"], row["tokens"], row)
    else:
        raise UserError(f"figure {recipe.figure} shows nothing of a run that is not followed ({source.run.path})")


_OF_FIGURE: dict[str, Callable[[Recipe, Source, str, float, Collected], None]] = {
    "budgets": _by_budget,
    "pass-at-k": _by_samples,
    "scores": _by_samples,
    "votes": _votes,
    "lengths": _lengths,
    "probes": _probes,
    "progress": _progress,
    "regret": _regret,
    "regret-groups": _regret,
    "grid": _grid,
    "episodes": _episodes,
    "forcing": _forcing,
    "thinking": _thinking,
    "slide": _slide,
}

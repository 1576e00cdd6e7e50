"""Normalised regret of runs that were probed: how far their thoughts are from making progress at once (MRT)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.probes import PROBE_KS, Protocol, probe_majority
from extrap_eval.metrics.regret import Probed, episode_areas, paper_episode_regret, token_regret
from extrap_eval.metrics.traces import ratio_of_means, trace_mean
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.following import find_variant
from extrap_eval.steps.outcomes import as_run
from extrap_eval.steps.probe_curves import numbers, votes_of
from extrap_eval.steps.probes import ProbeArrays, arrays_of, probe_table

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run


def regret_of_runs(
    runs: Sequence[str | Path | Run],
    by: Literal["tokens", "groups"],
    variant: str | None = None,
    *,
    budgets: Sequence[int] | None = None,
    protocol: Protocol = "sound",
    level: float = 0.95,
) -> pd.DataFrame:
    """The rows of ``regret_by_tokens`` (continued by the extensions of each run that has one complete variant of them,
    for as many samples as were probed) or of ``regret_by_groups`` for several runs; those of one model and benchmark
    are told apart by their folder.
    """
    import pandas as pd

    opened = [as_run(run) for run in runs]
    tables = []
    for run, name in zip(opened, run_names(opened), strict=True):
        if by == "tokens":
            table = regret_by_tokens(
                run, variant, budgets=budgets, forced=_only_forced(run, variant), protocol=protocol, level=level
            )
        else:
            table = regret_by_groups(run, variant, protocol=protocol, level=level)
        tables.append(table.assign(model=name))
    return pd.concat(tables, ignore_index=True)


def _only_forced(run: Run, variant: str | None) -> str | None:
    """The one variant of forcing that a run has; None where it has none or several, or one of fewer samples."""
    found = run.variants("force")
    probed = find_variant(run, "probe-episodes", variant).promise["samples"]
    enough = len(found) == 1 and found[0].complete is not None and found[0].promise["samples"] >= probed
    return found[0].name if enough else None


def regret_by_tokens(
    run: str | Path | Run,
    variant: str | None = None,
    *,
    budgets: Sequence[int] | None = None,
    forced: str | None = None,
    protocol: Protocol = "sound",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Normalised regret at token budgets (default: eight up to the longest trace; MRT Fig. 9, 12).

    ``forced``: the variant of ``force`` whose answers continue the curve; its budgets are the
    longest thought after each number of extensions. ``protocol``: "paper-exact" is the arithmetic of the released code;
    ``metrics.regret.token_regret`` says how it differs. Columns: model, benchmark, at, value, low, high, natural (the
    longest natural completion). Raises UserError as ``probe_table`` does, and when the extensions do not cover the
    samples that were probed.
    """
    import pandas as pd

    run = as_run(run)
    arrays = arrays_of(probe_table(run, variant), "j")
    natural = int(arrays.prefix_tokens.max())
    at = [int(b) for b in budgets] if budgets is not None else [max(1, round(natural * i / 8)) for i in range(1, 9)]
    more, more_at = None, list[int]()
    if forced is not None:
        more = _extended(run, forced, arrays)
        more_at = [int(each) for each in np.nanmax(more.prefix_tokens, axis=(0, 1))]
        if protocol == "sound":  # every budget uses all of the extensions; a cap on thoughts makes some the same
            more_at = sorted({each for each in more_at if each > max([natural, *at])})
    values = token_regret(_probed(arrays), at, forced=more, forced_budgets=more_at, protocol=protocol)
    draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
    # The paper's points may run backwards, which takes its regret out of [0, 1].
    estimate = trace_mean(values, draws, level=level, fractions=protocol == "sound")
    common = {"model": run.model_card.name, "benchmark": run.benchmark_card.name, "natural": natural}
    return pd.DataFrame(
        [common | {"at": budget, **numbers(estimate, i)} for i, budget in enumerate([*at, *more_at])],
        columns=["model", "benchmark", "at", "value", "low", "high", "natural"],
    )


def regret_by_groups(
    run: str | Path | Run,
    variant: str | None = None,
    *,
    protocol: Protocol = "sound",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Normalised regret against votes from any earlier prefix (MRT Fig. 26): model, benchmark, at (groups), value, low,
    high.

    ``protocol``: "paper-exact" compares with the prefix just before alone, at 1, 2, 4 and 6 answers, and averages over
    traces; ``metrics.regret.episode_areas`` says how it differs. Raises UserError as ``probe_table`` does, and for the
    paper's with fewer than 8 answers per probe.
    """
    import pandas as pd

    run = as_run(run)
    arrays = arrays_of(probe_table(run, variant), "j")
    ks = votes_of(arrays)
    if protocol == "paper-exact" and not set(PROBE_KS) <= set(ks):
        raise UserError(
            f"{run.path}: --paper-exact: needs 8 answers per probe, not {arrays.class_id.shape[-1]}: top up with "
            "extrap-eval probe --replicates 8"
        )
    votes = probe_majority(arrays.class_id, arrays.correct, ks, there=arrays.there)
    groups = list(range(1, votes.shape[-2]))
    lost, best = episode_areas(votes, groups, ks=ks, protocol=protocol)
    draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
    if protocol == "paper-exact":
        estimate = trace_mean(paper_episode_regret(lost, best), draws, level=level, weigh="trace")
    else:
        estimate = ratio_of_means(lost.sum(axis=1).T, best.sum(axis=1).T, draws, level=level)
    common = {"model": run.model_card.name, "benchmark": run.benchmark_card.name}
    return pd.DataFrame(
        [common | {"at": group, **numbers(estimate, i)} for i, group in enumerate(groups)],
        columns=["model", "benchmark", "at", "value", "low", "high"],
    )


def _extended(run: Run, variant: str, arrays: ProbeArrays) -> Probed:
    """The answers after extensions of the samples that were probed, without those of the thought as it was."""
    from extrap_eval.steps.forcing import force_arrays

    extended = force_arrays(run, variant)
    samples = arrays.there.shape[1]
    if extended.problem_ids != arrays.problem_ids or extended.there.shape[1] < samples:
        raise UserError(f"{run.path}: the extensions do not cover the samples that were probed")
    places = [i for i, w in enumerate(extended.places) if w > 0]
    probed = _probed(extended)
    return Probed(
        prefix_tokens=probed.prefix_tokens[:, :samples, places],
        answer_tokens=probed.answer_tokens[:, :samples, places],
        accuracy=probed.accuracy[:, :samples, places],
        replicates=probed.replicates,
    )


def _probed(arrays: ProbeArrays) -> Probed:
    def there(values: np.ndarray) -> np.ndarray:
        return np.where(arrays.there, values, np.nan)

    replicates = arrays.class_id.shape[-1]
    return Probed(
        prefix_tokens=there(arrays.prefix_tokens),
        answer_tokens=there(arrays.answer_tokens * replicates),
        accuracy=arrays.accuracy,
        replicates=replicates,
    )

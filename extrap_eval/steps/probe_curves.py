"""From judged probes to curves with intervals: [maj@p]_j, progress, cut + forced answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.majk import VotePolicy
from extrap_eval.metrics.passk import powers_of_two
from extrap_eval.metrics.probes import bins, probe_majority, progress, vote_tokens
from extrap_eval.metrics.traces import Estimate, trace_mean
from extrap_eval.steps.outcomes import as_run
from extrap_eval.steps.probes import NOT_A_REPLICATE, ProbeArrays, arrays_of, probe_table

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run


def votes_of(arrays: ProbeArrays) -> list[int]:
    """1, 2, 4, … up to the number of replicates."""
    return powers_of_two(arrays.class_id.shape[-1])


def probe_votes(
    run: str | Path | Run,
    variant: str | None = None,
    *,
    ks: Sequence[int] | None = None,
    bin_width: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    policy: VotePolicy = "abstain",
    search_prefix: bool = False,
) -> pd.DataFrame:
    """[maj@p]_j of one run, tidy: one row per bin of traces, group j and p.

    Columns: model, benchmark, first, last (episodes of the traces in the bin), traces, group (j), episodes (in the
    prefix, mean), p, tokens (prefix and p answers, mean completion tokens), value, low, high.

    ``bin_width``: traces of 1..width, width+1..2·width, … episodes apart, every trace counting the same, and each only
    as far as it goes (MRT's figures). By default all traces together: what one gets by stopping after at most j groups,
    so that a trace with fewer stands with its last one; otherwise only the hard problems would be left at a large j.
    ``search_prefix``: as in ``probe_table``.
    Raises UserError as ``probe_table`` does, and for p beyond the replicates.
    """
    import pandas as pd

    run = as_run(run)
    arrays = arrays_of(probe_table(run, variant, search_prefix=search_prefix), "j")
    chosen = votes_of(arrays) if ks is None else list(ks)
    if chosen and not 1 <= min(chosen) <= max(chosen) <= arrays.class_id.shape[-1]:
        raise UserError(f"{run.path}: p: {chosen} is not in 1..{arrays.class_id.shape[-1]}, the answers per probe")
    votes = probe_majority(arrays.class_id, arrays.correct, chosen, there=arrays.there, policy=policy)
    tokens = vote_tokens(arrays.prefix_tokens, arrays.answer_tokens, chosen)
    draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
    episodes = arrays.episodes
    if bin_width is None:
        last = np.minimum(np.arange(len(arrays.places)), arrays.there.sum(axis=-1, keepdims=True) - 1)  # (P, n, J)
        episodes = np.take_along_axis(episodes, last, axis=2)
        votes, tokens = (np.take_along_axis(each, last[..., None], axis=2) for each in (votes, tokens))
    width = bin_width or max(1, int(episodes.max()))
    rows = [
        {
            "model": run.model_card.name,
            "benchmark": run.benchmark_card.name,
            "first": found.first,
            "last": found.last,
            "traces": int(found.traces[j]),
            "group": arrays.places[j],
            "episodes": found.episodes[j],
            "p": p,
            "tokens": found.tokens[j, k],
            "value": found.accuracy.value[j, k],
            "low": found.accuracy.low[j, k],
            "high": found.accuracy.high[j, k],
        }
        for found in bins(votes, tokens, episodes, width, draws, level=level)
        for j in range(len(found.traces))
        for k, p in enumerate(chosen)
    ]
    return pd.DataFrame(rows)


def direct_baseline(
    run: str | Path | Run, *, beside: str | Path | Run | None = None, level: float = 0.95
) -> pd.DataFrame:
    """pass@k of a model that answers the bare problem, against the tokens of k samples.

    Columns: model, k, tokens (completion tokens, as on the side of the probes; the paper counts its prompt on one side
    only), value, low, high. Raises UserError when ``beside``, the run that was probed, has other problems.
    """
    from extrap_eval.steps.curves import curve
    from extrap_eval.steps.outcomes import sampled_maximum
    from extrap_eval.steps.score import ensure_scored

    run = as_run(run)
    if beside is not None and _problems(as_run(beside)) != _problems(run):
        raise UserError(
            f"{run.path} and {as_run(beside).path} have different problems: sample the baseline on the same"
        )
    ensure_scored(run.path)
    table = curve(run, budgets=[sampled_maximum(run)], level=level)
    table = table[table["metric"] == "pass@k"]
    k = table["k"].astype(int)
    return table.assign(k=k, tokens=k * table["mean_tokens"])[["model", "k", "tokens", "value", "low", "high"]]


def _problems(run: Run) -> object:
    return run.manifest.distribution["benchmark_sha256"]


def probe_progress(run: str | Path | Run, variant: str | None = None) -> pd.DataFrame:
    """What each group of episodes adds to a trace's accuracy, one row per trace and group: model, benchmark,
    problem_id, sample_index, group, progress (fraction, -1 to 1).
    """
    import pandas as pd

    run = as_run(run)
    arrays = arrays_of(probe_table(run, variant), "j")
    gained = progress(arrays.accuracy)
    rows = [
        {
            "model": run.model_card.name,
            "benchmark": run.benchmark_card.name,
            "problem_id": arrays.problem_ids[p],
            "sample_index": n,
            "group": arrays.places[j + 1],
            "progress": gained[p, n, j],
        }
        for p, n, j in np.argwhere(~np.isnan(gained)).tolist()
    ]
    return pd.DataFrame(rows)


def forced_budgets(
    run: str | Path | Run,
    variant: str | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The two ways to cut at a budget, side by side: "cut" (the last box within the budget, nothing forced) and
    "forced" (the budget, then an answer is asked for; its tokens are reported apart).

    Columns: model, benchmark, budget, semantics, value, low, high (pass@1, the replicates of a sample averaged),
    prefix_tokens (completion tokens within the budget, mean), answer_tokens (of one forced answer, mean, 0 where the
    completion had ended), forced (share of the samples that had to be).
    """
    import pandas as pd

    from extrap_eval.steps.outcomes import outcomes, problem_values

    run = as_run(run)
    table = probe_table(run, variant, at="budgets")
    arrays = arrays_of(table, "budget")
    samples = arrays.there.shape[1]
    found = outcomes(run, arrays.places, n=samples)
    draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
    forced = trace_mean(arrays.accuracy, draws, level=level)
    plain, _ = problem_values(found, "pass@k", 1)
    low, high = intervals.interval(plain, draws, level)
    own = table[table["replicate"] == NOT_A_REPLICATE].groupby("budget").size()
    traces = len(arrays.problem_ids) * samples
    rows = []
    for i, budget in enumerate(arrays.places):
        common = {"model": run.model_card.name, "benchmark": run.benchmark_card.name, "budget": budget}
        used = float(arrays.prefix_tokens[..., i].mean())
        rows.append(
            common
            | {"semantics": "cut", "value": plain[i].mean(), "low": low[i], "high": high[i]}
            | {"prefix_tokens": used, "answer_tokens": 0.0, "forced": 0.0}
        )
        rows.append(
            common
            | {"semantics": "forced", **numbers(forced, i), "prefix_tokens": used}
            | {
                "answer_tokens": float(arrays.answer_tokens[..., i].mean()),
                "forced": 1 - float(own.get(budget, 0)) / traces,
            }
        )
    return pd.DataFrame(rows)


def numbers(estimate: Estimate, i: int) -> dict[str, float]:
    """The i-th value of an estimate with its interval, as columns of a table."""
    return {name: float(getattr(estimate, name)[i]) for name in ("value", "low", "high")}

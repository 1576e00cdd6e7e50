"""From scored runs to accuracy against budget, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.extrapolation import Gain, gain
from extrap_eval.metrics.majk import VotePolicy
from extrap_eval.metrics.passk import powers_of_two
from extrap_eval.scoring.outcomes import OUTCOMES
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.outcomes import (
    Metric,
    as_run,
    outcomes,
    problem_values,
    sampled_maximum,
)

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run


def curve(
    run: str | Path | Run,
    *,
    budgets: Sequence[int] | None = None,
    ks: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    layer: str = "default",
    rule: AnswerRule = AnswerRule(),
    policy: VotePolicy = "abstain",
) -> pd.DataFrame:
    """Accuracy of one scored run at every budget, tidy: one row per metric, k and budget.

    Columns: model, benchmark, metric ("pass@k", "maj@k", "finished": share of samples that ended by
    themselves), k (missing for "finished"), budget (completion tokens), value, low, high (fractions; interval
    over problems, see ``metrics.intervals``), n (samples per problem), problems, tie_rate (maj@k: probability
    of a tied vote), mean_tokens (completion tokens used per sample within the budget), training_budget.

    ``budgets``: default ``default_budgets``; ``ks``: default powers of two up to n; ``n``: first n samples
    only. Raises UserError as ``outcomes`` does, and for k > n.
    """
    import pandas as pd

    found = outcomes(run, budgets, layer, rule, n=n)
    if ks is None:
        ks = powers_of_two(found.n)
    for k in ks:
        if not 1 <= k <= found.n:
            raise UserError(
                f"{found.model}: k: {k} is not in 1..{found.n}, the samples per problem: choose a smaller k, or sample "
                "more with --n"
            )
    _check_level(level)
    draws = intervals.resamples(len(found.problem_ids), resamples, seed)
    series: list[tuple[Metric, int | None]] = [("pass@k", k) for k in ks]
    series += [("maj@k", k) for k in ks]
    series.append(("finished", None))
    computed = [problem_values(found, metric, k, policy) for metric, k in series]
    values = np.stack([each for each, _ in computed])  # (series, B, P)
    low, high = intervals.interval(values, draws, level)
    tokens = np.minimum(found.n_tokens[..., None], found.budgets).mean(axis=(0, 1))
    rows = [
        {
            "model": found.model,
            "benchmark": found.benchmark,
            "metric": metric,
            "k": k,
            "budget": int(budget),
            "value": values[i, j].mean(),
            "low": low[i, j],
            "high": high[i, j],
            "n": found.n,
            "problems": len(found.problem_ids),
            "tie_rate": computed[i][1][j].mean(),
            "mean_tokens": tokens[j],
            "training_budget": found.training_budget,
        }
        for i, (metric, k) in enumerate(series)
        for j, budget in enumerate(found.budgets)
    ]
    return pd.DataFrame(rows).astype({"k": "Int64", "training_budget": "Int64"})


def curves(runs: Sequence[str | Path | Run], **options: Any) -> pd.DataFrame:
    """The rows of ``curve`` for several runs, ``options`` being its keywords.

    Runs of one model and benchmark are told apart by their folder.
    """
    import pandas as pd

    return pd.concat([curve(run, **options).assign(model=name) for name, run in named(runs)], ignore_index=True)


def named(runs: Sequence[str | Path | Run]) -> list[tuple[str, Run]]:
    """Runs with their ``run_names``. Raises UserError without any."""
    found = [as_run(run) for run in runs]
    if not found:
        raise UserError("no run was given: name at least one run directory")
    return list(zip(run_names(found), found, strict=True))


def outcome_table(
    run: str | Path | Run,
    *,
    budgets: Sequence[int] | None = None,
    n: int | None = None,
    layer: str = "default",
    rule: AnswerRule = AnswerRule(),
) -> pd.DataFrame:
    """What became of the samples: model, benchmark, budget, outcome (all seven, in order), fraction."""
    import pandas as pd

    found = outcomes(run, budgets, layer, rule, n=n)
    rows = [
        {
            "model": found.model,
            "benchmark": found.benchmark,
            "budget": int(budget),
            "outcome": name,
            "fraction": float((found.outcome[..., j] == code).mean()),
        }
        for j, budget in enumerate(found.budgets)
        for code, name in enumerate(OUTCOMES)
    ]
    return pd.DataFrame(rows)


def sensitivity(
    run: str | Path | Run,
    *,
    budgets: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    layer: str = "default",
) -> pd.DataFrame:
    """pass@1 under every answer rule: how much the choice of rule matters.

    Columns: model, benchmark, region, pick, budget, value, and difference, low, high: the paired difference
    to the default rule (anywhere, last) with its interval over problems (missing for that rule itself).
    """
    import pandas as pd

    _check_level(level)
    rows = []
    reference: np.ndarray | None = None
    for region in ("anywhere", "after_think"):
        for pick in ("last", "first"):  # the default rule comes first
            found = outcomes(run, budgets, layer, AnswerRule(region, pick), n=n)
            values, _ = problem_values(found, "pass@k", 1)
            reference = values if reference is None else reference
            draws = intervals.resamples(len(found.problem_ids), resamples, seed)
            low, high = intervals.difference_interval(values - reference, draws, level)
            if values is reference:
                low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
            rows += [
                {
                    "model": found.model,
                    "benchmark": found.benchmark,
                    "region": region,
                    "pick": pick,
                    "budget": int(budget),
                    "value": values[j].mean(),
                    "difference": (values[j] - reference[j]).mean(),
                    "low": low[j],
                    "high": high[j],
                }
                for j, budget in enumerate(found.budgets)
            ]
    return pd.DataFrame(rows)


def extrapolation(
    run: str | Path | Run,
    *,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    layer: str = "default",
    rule: AnswerRule = AnswerRule(),
) -> Gain:
    """Gain in pass@1 from the model's training budget B_tr to 2 B_tr, or to the sampled maximum if that is less.

    Raises UserError when the model card has no training budget or nothing beyond it was sampled.
    """
    run = as_run(run)
    _check_level(level)
    first, second = _extrapolation_budgets(run)
    found = outcomes(run, (first, second), layer, rule, n=n)
    values, _ = problem_values(found, "pass@k", 1)
    draws = intervals.resamples(len(found.problem_ids), resamples, seed)
    return gain(values[0], values[1], draws, budgets=(first, second), level=level)


def extrapolation_sentences(
    runs: Sequence[str | Path | Run], *, n: int | None = None, level: float = 0.95, rule: AnswerRule = AnswerRule()
) -> Iterator[str]:
    """For each run the verdict on extrapolation, or why there is none; and which problems every metric leaves out."""
    found = [as_run(run) for run in runs]
    for run, name in zip(found, run_names(found), strict=True):
        subject = f"{name} on {run.benchmark_card.name}"
        if left_out := run.layer().score()["settings"].get("gold_errors"):
            id, reason = next(iter(left_out.items()))
            total = run.manifest.distribution["problems"]
            yield f"{subject}: {len(left_out)} of {total} problems left out, first {id}: {reason}"
        try:
            first, second = _extrapolation_budgets(run)
        except UserError as error:
            yield f"{subject}: no verdict on extrapolation ({error})"
            continue
        beyond = "" if second == 2 * first else f" (2·B_tr = {2 * first} was not sampled)"
        gained = extrapolation(run, n=n, level=level, rule=rule)
        ratio = f"J({second})/J({first}) = {gained.ratio:.2f} [{gained.ratio_low:.2f}, {gained.ratio_high:.2f}]"
        yield f"{subject}: {gained.verdict}{beyond}; {ratio}"


def _extrapolation_budgets(run: Run) -> tuple[int, int]:
    training = run.model_card.training_budget
    if training is None:
        raise UserError("the model card has no training_budget")
    largest = sampled_maximum(run)
    if largest <= training.tokens:
        raise UserError(f"sampled up to {largest} tokens, trained to {training.tokens}")
    return training.tokens, min(2 * training.tokens, largest)


def run_names(runs: Sequence[Run]) -> list[str]:
    """Model names, with the folder's where model and benchmark do not tell runs apart."""
    keys = [(run.model_card.name, run.benchmark_card.name) for run in runs]
    return [
        key[0] if keys.count(key) == 1 else f"{key[0]} ({run.path.name})" for key, run in zip(keys, runs, strict=True)
    ]


def _check_level(level: float) -> None:
    if math.isnan(level) or not 0 < level < 1:
        raise UserError(f"level: {level} is not between 0 and 1")

"""Is one run better than another? Paired differences on the same problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.majk import VotePolicy
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.outcomes import Metric, as_run, default_budgets, outcomes, problem_values

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run


def compare(
    run_a: str | Path | Run,
    run_b: str | Path | Run,
    *,
    metric: Metric = "pass@k",
    k: int = 1,
    budgets: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    layer: str = "default",
    rule: AnswerRule = AnswerRule(),
    policy: VotePolicy = "abstain",
) -> pd.DataFrame:
    """Difference a - b at every budget, with an interval over problems; both are resampled alike.

    Columns: model_a, model_b, benchmark, metric, k, budget, value_a, value_b, difference, low, high
    (fractions), n_a, n_b, problems. ``budgets``: by default those that are default for both runs.

    Raises UserError when the runs differ in problems, prompt template or scoring rules, naming the
    difference, for k > n, and as ``curves.outcomes`` does.
    """
    import pandas as pd

    a, b = as_run(run_a), as_run(run_b)
    refuse_unlike(a, b, layer)
    if budgets is None:
        budgets = sorted(set(default_budgets(a)) & set(default_budgets(b)))
        if not budgets:
            raise UserError(f"{a.path} and {b.path} have no default budget in common: name the budgets")
    first, second = (outcomes(run, budgets, layer, rule, n=n) for run in (a, b))
    if first.problem_ids != second.problem_ids:
        odd = sorted(set(first.problem_ids) ^ set(second.problem_ids))[0]
        raise UserError(f"problem {odd} is left out of only one of {a.path} and {b.path}: score both again")
    if not 1 <= k <= min(first.n, second.n):
        raise UserError(f"k: {k} is not in 1..{min(first.n, second.n)}, the samples per problem of both runs")
    if not 0 < level < 1:
        raise UserError(f"level: {level} is not between 0 and 1")
    values_a, values_b = (problem_values(found, metric, k, policy)[0] for found in (first, second))
    draws = intervals.resamples(len(first.problem_ids), resamples, seed)
    low, high = intervals.difference_interval(values_a - values_b, draws, level)
    return pd.DataFrame(
        {
            "model_a": first.model,
            "model_b": second.model,
            "benchmark": first.benchmark,
            "metric": metric,
            "k": k,
            "budget": first.budgets,
            "value_a": values_a.mean(axis=1),
            "value_b": values_b.mean(axis=1),
            "difference": (values_a - values_b).mean(axis=1),
            "low": low,
            "high": high,
            "n_a": first.n,
            "n_b": second.n,
            "problems": len(first.problem_ids),
        }
    )


def refuse_unlike(a: Run, b: Run, layer: str) -> None:
    """UserError where a difference between the runs would not be one between the models."""
    for (what, of_a), of_b in zip(_circumstances(a, layer).items(), _circumstances(b, layer).values(), strict=True):
        if of_a != of_b:
            raise UserError(f"{a.path} and {b.path} cannot be compared: they differ in {what}: {of_a} and {of_b}")


def _circumstances(run: Run, layer: str) -> dict[str, object]:
    problems, sha256 = (run.manifest.distribution[name] for name in ("problems", "benchmark_sha256"))
    return {
        "their problems": f"{problems} problems, sha256 {sha256[:12]}",
        "the prompt template": repr(run.benchmark_card.prompt),
        "the rules they were scored by": run.layer(layer).score()["versions"],
    }

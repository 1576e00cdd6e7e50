"""How many different answers the samples of a run give, and how many different attempts its traces make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.diversity import answer_diversity, counted_within, first_times
from extrap_eval.metrics.passk import powers_of_two
from extrap_eval.metrics.traces import of_problems, trace_mean
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.candidates import attempt_rule, read_traces
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.outcomes import as_run, outcomes, sampled_maximum

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from extrap_eval.store import Run


def diversity_table(
    runs: Sequence[str | Path | Run],
    *,
    budget: int | None = None,
    ks: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    rule: AnswerRule = AnswerRule(),
) -> pd.DataFrame:
    """Answer diversity against k: the expected number of distinct answers among k samples (RLVR-exploration, Fig. 1).

    One row per scored run and k (default: powers of two up to n). Columns: model, benchmark, budget (default: the
    sampled maximum), k, value (answer classes, exact, mean over problems), low, high, no_answer (share of the samples
    without an answer), no_answer_low, no_answer_high, n, problems. Raises UserError as ``outcomes`` does and for k
    beyond the samples.
    """
    import pandas as pd

    opened = [as_run(run) for run in runs]
    rows = []
    for run, name in zip(opened, run_names(opened), strict=True):
        found = outcomes(run, [sampled_maximum(run) if budget is None else budget], rule=rule, n=n)
        chosen = powers_of_two(found.n) if ks is None else sorted(set(ks))
        if not 1 <= chosen[0] <= chosen[-1] <= found.n:
            raise UserError(f"{found.model}: k: {chosen} is not in 1..{found.n}, the samples per problem")
        values = answer_diversity(found.class_id[..., 0], chosen)  # (K, P)
        draws = intervals.resamples(len(found.problem_ids), resamples, seed)
        low, high = intervals.difference_interval(values, draws, level)
        silent = of_problems((found.class_id[..., 0] < 0).mean(axis=1), draws, level=level)
        rows += [
            {
                "model": name,
                "benchmark": found.benchmark,
                "budget": int(found.budgets[0]),
                "k": k,
                "value": values[i].mean(),
                "low": max(0.0, float(low[i])) if low[i] == low[i] else np.nan,
                "high": min(float(k), float(high[i])) if high[i] == high[i] else np.nan,
                "no_answer": float(silent.value),
                "no_answer_low": float(silent.low),
                "no_answer_high": float(silent.high),
                "n": found.n,
                "problems": len(found.problem_ids),
            }
            for i, k in enumerate(chosen)
        ]
    return pd.DataFrame(rows)


def attempt_table(
    runs: Sequence[str | Path | Run],
    *,
    budgets: Sequence[int] | None = None,
    pattern: str | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Cumulative unique attempts against tokens, one row per scored run, quantity and budget.

    Columns: model, benchmark, attempts (what counts as one, in words), quantity, budget, value, low, high, n,
    problems. Quantities: "attempts" and "unique" (in a trace, mean), "unique right" (different attempts of a trace that
    are right), "tried" (share of the traces in which a right attempt was made), "of problem" (different attempts in all
    n traces of a problem together). ``budgets``: default four per octave. ``pattern``: as in
    ``candidates.attempt_rule``. Raises UserError as that and ``outcomes`` do.
    """
    import pandas as pd

    from extrap_eval.steps.compare import dense_budgets

    opened = [as_run(run) for run in runs]
    rows = []
    for run, name in zip(opened, run_names(opened), strict=True):
        rule = attempt_rule(run, pattern)
        at = np.array(sorted(set(budgets)) if budgets else dense_budgets(sampled_maximum(run)), dtype=np.int64)
        found = outcomes(run, at.tolist(), n=n)  # for its checks, of budgets and of what is missing
        traces = read_traces(run, rule, n=found.n)
        counts = np.zeros((5, len(found.problem_ids), found.n, len(at)))
        for p, id in enumerate(found.problem_ids):
            own = [traces[id, index] for index in range(found.n)]
            for s, trace in enumerate(own):
                new = first_times(trace.class_id)
                right = new & trace.right
                for q, chosen in enumerate((slice(None), new, right)):
                    counts[q, p, s] = counted_within(trace.attempt_ends[chosen], at)
                counts[3, p, s] = counts[2, p, s] > 0
            ends = np.concatenate([trace.attempt_ends for trace in own])
            order = np.argsort(ends, kind="stable")
            pooled = first_times(np.concatenate([trace.class_id for trace in own])[order])
            counts[4, p] = counted_within(ends[order][pooled], at)
        draws = intervals.resamples(len(found.problem_ids), resamples, seed)
        for q, quantity in enumerate(("attempts", "unique", "unique right", "tried", "of problem")):
            mean = trace_mean(counts[q], draws, level=level, fractions=quantity == "tried")
            rows += [
                {
                    "model": name,
                    "benchmark": found.benchmark,
                    "attempts": str(rule),
                    "quantity": quantity,
                    "budget": budget,
                    "value": mean.value[b],
                    "low": max(0.0, mean.low[b]) if mean.low[b] == mean.low[b] else np.nan,
                    "high": mean.high[b],
                    "n": found.n,
                    "problems": len(found.problem_ids),
                }
                for b, budget in enumerate(at.tolist())
            ]
    return pd.DataFrame(rows)


def draw_diversity(
    runs: Sequence[str | Path | Run],
    *,
    ks: Sequence[int] | None = None,
    budgets: Sequence[int] | None = None,
    pattern: str | None = None,
    n: int | None = None,
    level: float = 0.95,
    rule: AnswerRule = AnswerRule(),
) -> Figure:
    """Both tables as one figure. ``budgets``: one, of the answers. Raises UserError as the tables do."""
    from extrap_eval.figures import diversity_curves
    from extrap_eval.steps.unsolvable import one_of

    budget = one_of("--budgets", budgets)
    answers = diversity_table(runs, budget=budget, ks=ks, n=n, level=level, rule=rule)
    return diversity_curves(answers, attempt_table(runs, pattern=pattern, n=n, level=level))

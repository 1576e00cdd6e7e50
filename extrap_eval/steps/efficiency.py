"""Accuracy against the tokens it costs: votes of several runs (MRT Fig. 7), and longer or more (e3 Fig. 10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import efficiency, intervals
from extrap_eval.metrics.passk import powers_of_two
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.likeness import refuse_unlike
from extrap_eval.steps.outcomes import RunOutcomes, as_run, outcomes, sampled_maximum
from extrap_eval.steps.probes import arrays_of, probe_table

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run

_MOST_BUDGETS = 4  # lines of equal tokens in one figure


def vote_table(
    runs: Sequence[str | Path | Run],
    *,
    ks: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """maj@k of whole completions against the tokens of k of them, one row per scored run and k.

    Columns: model, benchmark, k (default: powers of two up to n), tokens (k times the mean completion tokens), value,
    low, high. Raises UserError as ``steps.outcomes.outcomes`` does, and for k beyond the samples.
    """
    import pandas as pd

    opened = [as_run(run) for run in runs]
    rows = []
    for run, name in zip(opened, run_names(opened), strict=True):
        found = _whole(run, n)
        curve = _votes(found, ks)
        draws = intervals.resamples(len(found.problem_ids), resamples, seed)
        estimate = curve.accuracy(draws, level)
        rows += [
            {
                "model": name,
                "benchmark": found.benchmark,
                "k": k,
                "tokens": curve.tokens[i].mean(),
                "value": estimate.value[i],
                "low": estimate.low[i],
                "high": estimate.high[i],
            }
            for i, k in enumerate(curve.ks)
        ]
    return pd.DataFrame(rows)


def token_ratios(
    run_a: str | Path | Run,
    run_b: str | Path | Run,
    *,
    targets: Sequence[float] | None = None,
    ks: Sequence[int] | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """How many times as many tokens the votes of one run need as those of another to reach an accuracy.

    Columns: model_a, model_b, benchmark, accuracy (``targets``, fractions; default: every five points between what the
    fewest votes of both reach and what both reach at all, or the latter), tokens_a, tokens_b (inf: never reached),
    ratio, low, high (paired: every resample draws the same problems for both).
    Raises UserError for runs that cannot be compared, as ``steps.compare.compare`` does, but that models may be sampled
    each in its own way.
    """
    import pandas as pd

    a, b = as_run(run_a), as_run(run_b)
    refuse_unlike(a, b, "default", allow=["sampling"])
    found_a, found_b = _whole(a, n), _whole(b, n)
    if found_a.problem_ids != found_b.problem_ids:
        raise UserError(f"{a.path} and {b.path} leave out different problems: score both again")
    curve_a, curve_b = _votes(found_a, ks), _votes(found_b, ks)
    means = [(curve.values.mean(axis=-1), curve.tokens.mean(axis=-1)) for curve in (curve_a, curve_b)]
    if targets is None:
        least, most = (max(each[0] for each, _ in means), min(float(each.max()) for each, _ in means))
        targets = [i / 20 for i in range(21) if least <= i / 20 <= most] or [most]
    draws = intervals.resamples(len(found_a.problem_ids), resamples, seed)
    ratio = efficiency.token_ratio(curve_a, curve_b, targets, draws, level=level)
    needed = [efficiency.tokens_needed(*mean, targets) for mean in means]
    names = run_names([a, b])
    return pd.DataFrame(
        {
            "model_a": names[0],
            "model_b": names[1],
            "benchmark": found_a.benchmark,
            "accuracy": list(targets),
            "tokens_a": needed[0],
            "tokens_b": needed[1],
            "ratio": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
        }
    )


def _whole(run: Run, n: int | None) -> RunOutcomes:
    return outcomes(run, [sampled_maximum(run)], n=n)


def _votes(found: RunOutcomes, ks: Sequence[int] | None) -> efficiency.VoteCurve:
    chosen = powers_of_two(found.n) if ks is None else sorted(set(ks))
    if not chosen or not 1 <= chosen[0] <= chosen[-1] <= found.n:
        raise UserError(f"{found.model}: k: {chosen} is not in 1..{found.n}, the samples per problem")
    return efficiency.vote_curve(found.class_id[..., 0], found.correct[..., 0], found.n_tokens, chosen)


def attempt_tables(
    run: str | Path | Run,
    variant: str | None = None,
    *,
    ks: Sequence[int] | None = None,
    budgets: Sequence[int] | None = None,
    vote: efficiency.Vote = "pass",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """k samples that are stopped after at most j groups of episodes, and what each k makes of the same tokens.

    The first table has the columns model, benchmark, vote, group (j), k, tokens (of all k samples, mean), value, low,
    high; the second k, budget (tokens in all), value, low, high, missing where k samples cannot spend so much or so
    little. ``budgets``: default up to four powers of two, the largest that two k can spend. Raises UserError as
    ``probe_table`` does, and for k beyond the samples that were probed.
    """
    import pandas as pd

    run = as_run(run)
    arrays = arrays_of(probe_table(run, variant), "j")
    samples = arrays.there.shape[1]
    chosen = powers_of_two(samples) if ks is None else sorted(set(ks))
    if not chosen or not 1 <= chosen[0] <= chosen[-1] <= samples:
        raise UserError(f"{run.path}: k: {chosen} is not in 1..{samples}, the samples that were probed")
    draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
    grid = efficiency.attempt_grid(
        arrays.class_id,
        arrays.correct,
        arrays.prefix_tokens,
        arrays.answer_tokens,
        arrays.there.sum(axis=-1) - 1,
        chosen,
        draws,
        vote=vote,
        level=level,
    )
    common = {"model": run.model_card.name, "benchmark": run.benchmark_card.name, "vote": vote}
    cells = pd.DataFrame(
        [
            common
            | {"group": arrays.places[j], "k": k, "tokens": grid.tokens[j, i]}
            | {name: getattr(grid.value, name)[j, i] for name in ("value", "low", "high")}
            for j in range(len(grid.tokens))
            for i, k in enumerate(grid.ks)
        ]
    )
    at = sorted(set(budgets)) if budgets is not None else _shared_budgets(grid.tokens)
    equal = efficiency.at_equal_tokens(grid, at, draws, level=level)
    lines = [
        {"k": k, "budget": budget} | {name: getattr(equal, name)[b, i] for name in ("value", "low", "high")}
        for b, budget in enumerate(at)
        for i, k in enumerate(grid.ks)
    ]
    return cells, pd.DataFrame(lines, columns=["k", "budget", "value", "low", "high"])


def _shared_budgets(tokens: np.ndarray) -> list[int]:
    """The largest powers of two that at least two numbers of samples can spend. ``tokens`` (J, K)."""
    least, most = tokens.min(axis=0), tokens.max(axis=0)
    powers = [2**i for i in range(int(np.log2(least.min())), int(np.log2(most.max())) + 1)]
    return [power for power in powers if ((least <= power) & (power <= most)).sum() > 1][-_MOST_BUDGETS:]

"""Is one run better than another? Paired differences on the same problems."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import efficiency, intervals
from extrap_eval.metrics.comparison import holm, sign_flip_test, solved_by
from extrap_eval.metrics.majk import VotePolicy
from extrap_eval.metrics.unsolvable import never_right, overlap
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.likeness import refuse_unlike
from extrap_eval.steps.outcomes import (
    Metric,
    RunOutcomes,
    as_run,
    default_budgets,
    outcomes,
    problem_values,
    sampled_maximum,
)

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Run

_STEPS = 4  # budgets per octave, of the curves on which tokens to an accuracy are read
_SMALLEST = 64  # tokens, where these begin


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs read at the same budgets, on the same problems in the same order. ``unlike``: what else differs."""

    a: RunOutcomes
    b: RunOutcomes
    names: tuple[str, str]
    unlike: tuple[str, ...]


def read_pair(
    run_a: str | Path | Run,
    run_b: str | Path | Run,
    *,
    budgets: Sequence[int] | None = None,
    n: int | None = None,
    layer: str = "default",
    rule: AnswerRule = AnswerRule(),
    allow: Collection[str] = (),
) -> Pair:
    """Two scored runs, to be compared. ``budgets``: by default those that are default for both runs.

    ``allow``: in what they may differ (``likeness.LIKENESS``); runs on different problems are compared on those that
    both have. Raises UserError when they differ in anything else, naming it, and as ``outcomes`` does.
    """
    a, b = as_run(run_a), as_run(run_b)
    unlike = refuse_unlike(a, b, layer, allow)
    if budgets is None:
        budgets = sorted(set(default_budgets(a)) & set(default_budgets(b)))
        if not budgets:
            raise UserError(f"{a.path} and {b.path} have no default budget in common: name the budgets")
    first, second = (outcomes(run, budgets, layer, rule, n=n) for run in (a, b))
    if "problems" in allow:
        first, second = _on_shared_problems(a, b, first, second)
    elif first.problem_ids != second.problem_ids:
        odd = sorted(set(first.problem_ids) ^ set(second.problem_ids))[0]
        raise UserError(f"problem {odd} is left out of only one of {a.path} and {b.path}: score both again")
    names = run_names([a, b])
    if names[0] == names[1]:
        names = [f"{name} [{letter}]" for name, letter in zip(names, "AB", strict=True)]
    return Pair(first, second, (names[0], names[1]), tuple(unlike))


def _on_shared_problems(a: Run, b: Run, first: RunOutcomes, second: RunOutcomes) -> tuple[RunOutcomes, RunOutcomes]:
    """Both on the problems of the same text and reference answer, in the order of the first, under its ids."""
    texts = [{problem.id: (problem.text, problem.gold) for problem in run.problems()} for run in (a, b)]
    place = {texts[1][id]: i for i, id in enumerate(second.problem_ids)}
    chosen = [i for i, id in enumerate(first.problem_ids) if texts[0][id] in place]
    if not chosen:
        raise UserError(f"{a.path} and {b.path} have no problem in common: nothing to compare")
    ids = tuple(first.problem_ids[i] for i in chosen)
    others = [place[texts[0][id]] for id in ids]
    return _picked(first, chosen, ids), _picked(second, others, ids)


def _picked(found: RunOutcomes, rows: list[int], ids: tuple[str, ...]) -> RunOutcomes:
    return replace(
        found,
        problem_ids=ids,
        correct=found.correct[rows],
        class_id=found.class_id[rows],
        outcome=found.outcome[rows],
        n_tokens=found.n_tokens[rows],
        finished=found.finished[rows],
    )


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
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """Difference a - b at every budget, with an interval over problems; both are resampled alike.

    Columns: model_a, model_b, benchmark, metric, k, budget, value_a, value_b, difference, low, high (fractions), n_a,
    n_b, problems; p (sign-flip permutation test over problems), p_holm (corrected for the number of budgets);
    detectable (smallest difference that a test at that budget alone finds with 80 % power); usual_a_only, usual_b_only:
    problems that only one of them solves in more than half of its samples; unsolved_k, unsolved_a, unsolved_b,
    unsolved_both, overlap: problems that none of the first unsolved_k samples solves (k-rollout unsolvable sets), and
    the share of either set that is in both (missing where both are empty); training_a, training_b.

    Raises UserError for runs that cannot be compared, as ``read_pair`` does, and for k > n.
    """
    pair = read_pair(run_a, run_b, budgets=budgets, n=n, layer=layer, rule=rule, allow=allow)
    return difference_table(pair, metric=metric, k=k, level=level, resamples=resamples, seed=seed, policy=policy)


def difference_table(
    pair: Pair,
    *,
    metric: Metric = "pass@k",
    k: int = 1,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    policy: VotePolicy = "abstain",
) -> pd.DataFrame:
    """The table of ``compare``."""
    import pandas as pd

    first, second = pair.a, pair.b
    if not 1 <= k <= min(first.n, second.n):
        raise UserError(f"k: {k} is not in 1..{min(first.n, second.n)}, the samples per problem of both runs")
    if not 0 < level < 1:
        raise UserError(f"level: {level} is not between 0 and 1")
    values_a, values_b = (problem_values(found, metric, k, policy)[0] for found in (first, second))
    change = values_a - values_b  # (B, P)
    draws = intervals.resamples(len(first.problem_ids), resamples, seed)
    low, high = intervals.difference_interval(change, draws, level)
    p = sign_flip_test(change, seed=seed)
    usual = solved_by(*(found.correct.mean(axis=1).T > 0.5 for found in (first, second)))
    shared_n = min(first.n, second.n)
    never = np.stack([never_right(found.correct, shared_n).T for found in (first, second)])  # (2, B, P)
    return pd.DataFrame(
        {
            "model_a": pair.names[0],
            "model_b": pair.names[1],
            "benchmark": first.benchmark,
            "metric": metric,
            "k": k,
            "budget": first.budgets,
            "value_a": values_a.mean(axis=1),
            "value_b": values_b.mean(axis=1),
            "difference": change.mean(axis=1),
            "low": low,
            "high": high,
            "n_a": first.n,
            "n_b": second.n,
            "problems": len(first.problem_ids),
            "p": p,
            "p_holm": holm(p),
            "detectable": [intervals.smallest_detectable(each, level) for each in change],
            "usual_a_only": usual.first_only,
            "usual_b_only": usual.second_only,
            "unsolved_k": shared_n,
            "unsolved_a": never[0].sum(axis=-1),
            "unsolved_b": never[1].sum(axis=-1),
            "unsolved_both": never.all(axis=0).sum(axis=-1),
            "overlap": overlap(never),
            "training_a": first.training_budget,
            "training_b": second.training_budget,
        }
    ).astype({"training_a": "Int64", "training_b": "Int64"})


def problem_table(pair: Pair) -> pd.DataFrame:
    """Every problem at every budget: problem_id, budget, value_a, value_b (shares of right samples), usual ("both",
    "a only", "b only", "neither"): who solves it in more than half of the samples; in order of budget and problem.
    """
    import pandas as pd

    tables = []
    for j, budget in enumerate(pair.a.budgets.tolist()):
        shares = [found.correct[..., j].mean(axis=1) for found in (pair.a, pair.b)]
        who = 2 * (shares[0] <= 0.5) + (shares[1] <= 0.5)
        tables.append(
            pd.DataFrame(
                {
                    "problem_id": pair.a.problem_ids,
                    "budget": budget,
                    "value_a": shares[0],
                    "value_b": shares[1],
                    "usual": np.array(["both", "a only", "b only", "neither"])[who],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def accuracy_tokens(
    run_a: str | Path | Run,
    run_b: str | Path | Run,
    *,
    targets: Sequence[float] | None = None,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    rule: AnswerRule = AnswerRule(),
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """How many times as many tokens one run needs as another for the same pass@1, by thinking longer alone.

    Both curves are read at many budgets, as accuracy against the mean tokens that a sample uses within the budget.
    Columns: model_a, model_b, benchmark, accuracy (``targets``, fractions; default: every ten points that both reach),
    tokens_a, tokens_b (inf: never reached), ratio, low, high (paired). ``steps.efficiency.token_ratios`` asks the same
    of votes. Raises UserError as ``read_pair`` does.
    """
    import pandas as pd

    a, b = as_run(run_a), as_run(run_b)
    largest = min(sampled_maximum(a), sampled_maximum(b))
    pair = read_pair(a, b, budgets=dense_budgets(largest), n=n, rule=rule, allow=allow)
    curves = [budget_curve_of(found) for found in (pair.a, pair.b)]
    means = [(curve.values.mean(axis=-1), curve.tokens.mean(axis=-1)) for curve in curves]
    if targets is None:
        reached = min(float(accuracy.max()) for accuracy, _ in means)
        targets = [i / 10 for i in range(1, int(10 * reached + 1e-9) + 1)] or ([reached] if reached > 0 else [])
    draws = intervals.resamples(len(pair.a.problem_ids), resamples, seed)
    columns = ["model_a", "model_b", "benchmark", "accuracy", "tokens_a", "tokens_b", "ratio", "low", "high"]
    if not targets:
        return pd.DataFrame(columns=columns)
    ratio = efficiency.token_ratio(curves[0], curves[1], targets, draws, level=level)
    needed = [efficiency.tokens_needed(*mean, targets) for mean in means]
    values = (*pair.names, pair.a.benchmark, list(targets), *needed, ratio.value, ratio.low, ratio.high)
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def dense_budgets(largest: int) -> list[int]:
    """Four budgets per octave down from ``largest`` to 64 tokens, ascending."""
    steps = int(_STEPS * np.log2(max(largest / _SMALLEST, 1.0)))
    return sorted({max(1, round(largest / 2 ** (i / _STEPS))) for i in range(steps + 1)})


def budget_curve_of(found: RunOutcomes) -> efficiency.VoteCurve:
    """pass@1 against the tokens that a sample uses within each budget, per problem: (B, P) both."""
    values, _ = problem_values(found, "pass@k", 1)
    tokens = np.minimum(found.n_tokens[..., None], found.budgets).mean(axis=1).T
    return efficiency.VoteCurve(tuple(found.budgets.tolist()), values, tokens)


def verdict(table: pd.DataFrame, level: float = 0.95) -> str:
    """One sentence on ``compare``'s table: who is better at which budgets, after Holm's correction."""
    alpha = 1 - level
    sure = table["p_holm"] <= alpha + 1e-12
    parts = []
    for name, sign in ((table["model_a"].iloc[0], 1), (table["model_b"].iloc[0], -1)):
        won = table[sure & (sign * table["difference"] > 0)]
        if len(won):
            parts.append(f"{name} is better at {_listed(won['budget'])}")
    if not parts:
        parts = [f"no difference between {table['model_a'].iloc[0]} and {table['model_b'].iloc[0]} is shown"]
    rest = table[~sure]
    if len(rest) and sure.any():
        parts.append(f"no difference is shown at {_listed(rest['budget'])}")
    if len(rest):
        sizes = 100 * rest["detectable"]
        span = f"{sizes.min():.1f}" if len(rest) == 1 else f"{sizes.min():.1f} … {sizes.max():.1f}"
        parts[-1] += f" (smallest detectable at a single budget: {span} points)"
    return f"{'; '.join(parts)}; p ≤ {alpha:.2g} after Holm's correction for {len(table)} budgets"


def _listed(budgets: pd.Series) -> str:
    values = [str(int(budget)) for budget in budgets]
    return f"{', '.join(values[:-1])} and {values[-1]} tokens" if len(values) > 1 else f"{values[0]} tokens"

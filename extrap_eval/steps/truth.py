"""A run of the markov model beside what is exactly true of its policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.steps.outcomes import as_run, default_budgets
from extrap_eval.steps.references import POINT_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.engines.markov.policy import MarkovPolicy
    from extrap_eval.store import Run

_PLACE = ("panel", "axis", "line", "metric", "at", "x")


def truth_and_estimates(run: str | Path | Run, *, level: float = 0.95) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimates of a scored markov run (``POINT_COLUMNS``) and the truth at the same places (with an error of 0, as
    ``steps.references.read_reference`` gives published values).

    Panels: pass@1, pass@n and maj@n of whole completions cut at budgets; and, as far as the run has the variants,
    answers forced at budgets, after groups of so many episodes, and after extensions. Raises UserError for a run of
    another model, and as ``steps.curves.curve`` does.
    """
    import pandas as pd

    run = as_run(run)
    policy, probabilities = _policy(run)
    rows: list[dict[str, Any]] = []
    rows += _at_budgets(run, policy, probabilities, level)
    if run.variants("probe-budgets"):
        rows += _forced_at_budgets(run, policy, probabilities, level)
    if run.variants("probe-episodes"):
        rows += _after_groups(run, policy, probabilities, level)
    if run.variants("force"):
        rows += _extended(run, policy, probabilities, level)
    both = pd.DataFrame(rows)
    truth = both[list(_PLACE)].assign(value=both["truth"], low=both["truth"], high=both["truth"], error=0.0)
    return both[POINT_COLUMNS], truth.assign(x=both["truth_x"])


def _policy(run: Run) -> tuple[MarkovPolicy, list[float]]:
    from extrap_eval.engines.markov.engine import state_from_prompt
    from extrap_eval.engines.markov.policy import MarkovPolicy

    if run.model_card.policy is None:
        raise UserError(f"{run.path}: the truth is known of runs of a model card with a policy alone, such as markov")
    prompts = run.prompts()
    policy = MarkovPolicy(**run.model_card.policy)  # type: ignore[arg-type]
    return policy, [state_from_prompt(prompts[problem.id]).probability for problem in run.problems()]


def _row(
    place: tuple[str, str, str, str, float, float], cell: Any, truth: float, x: float | None = None
) -> dict[str, Any]:
    interval = {name: float(cell[name]) for name in ("value", "low", "high")}
    return dict(zip(_PLACE, place, strict=True)) | interval | {"truth": float(truth), "truth_x": x or place[-1]}


def _at_budgets(run: Run, policy: MarkovPolicy, probabilities: list[float], level: float) -> list[dict[str, Any]]:
    from extrap_eval.engines.markov.truth import maj_at_k, pass_at_k
    from extrap_eval.steps.curves import curve

    budgets = default_budgets(run)
    ks = sorted({1, run.n})
    table = curve(run, budgets=budgets, ks=ks, level=level)
    rows = []
    for metric, exact in (("pass@k", pass_at_k), ("maj@k", maj_at_k)):
        for k in ks:
            if metric == "maj@k" and k == 1:
                continue  # the same as pass@1
            truths = exact(policy, probabilities, budgets, k)
            found = table[(table["metric"] == metric) & (table["k"] == k)].to_dict("records")
            line = f"{metric[:-1]}{k}"
            for cell, truth in zip(found, truths, strict=True):
                budget = float(cell["budget"])
                rows.append(_row(("whole completions, cut", "budget", line, "accuracy", budget, budget), cell, truth))
    return rows


def _forced_at_budgets(
    run: Run, policy: MarkovPolicy, probabilities: list[float], level: float
) -> list[dict[str, Any]]:
    from extrap_eval.engines.markov.probe_truth import forced_answers
    from extrap_eval.steps.probe_curves import forced_budgets

    table = forced_budgets(run, level=level)
    table = table[table["semantics"] == "forced"]
    budgets = table["budget"].to_numpy()
    truths = np.mean([forced_answers(policy, p, budgets)[:, 0] for p in probabilities], axis=0)
    panel = "cut, and an answer forced"
    return [
        _row((panel, "budget", "pass@1", "accuracy", float(cell["budget"]), float(cell["budget"])), cell, truth)
        for cell, truth in zip(table.to_dict("records"), truths, strict=True)
    ]


def _after_groups(run: Run, policy: MarkovPolicy, probabilities: list[float], level: float) -> list[dict[str, Any]]:
    """Of traces as far as they go: the truth is that of the traces that have so many groups."""
    from extrap_eval.engines.markov.probe_truth import probe_majority
    from extrap_eval.steps.following import find_variant
    from extrap_eval.steps.probe_curves import probe_votes

    settings = find_variant(run, "probe-episodes").settings
    if settings["group_size"] is None or policy.max_attempts is None:
        return []  # what is enumerated are groups of so many episodes, of thoughts that end
    table = probe_votes(run, ks=[1], bin_width=10**6, level=level)
    truths = probe_majority(policy, probabilities, settings["group_size"], [1])[:, 0]
    return [
        _row(
            ("after groups of episodes", "groups", "[maj@1]_j", "accuracy", cell["group"], cell["group"]),
            cell,
            truths[j],
        )
        for cell in table.to_dict("records")
        if (j := int(cell["group"])) < len(truths)
    ]


def _extended(run: Run, policy: MarkovPolicy, probabilities: list[float], level: float) -> list[dict[str, Any]]:
    from extrap_eval.engines.markov.forcing_truth import forced
    from extrap_eval.sampling.continuation import cycle
    from extrap_eval.steps.following import find_variant
    from extrap_eval.steps.forcing import forcing_table

    settings = find_variant(run, "force").settings
    if settings["thinking_tokens"] is not None or settings["extension_tokens"] is None:
        return []  # the truth is that of extensions with a cap each and none in all
    strings = [cycle(settings["strings"], w) for w in range(1, settings["extensions"] + 1)]
    options = {"cap": settings["extension_tokens"], "max_tokens": run.sampling.max_tokens}
    truths = [forced(policy, p, strings, **options) for p in probabilities]
    accuracy = np.mean([each.accuracy for each in truths], axis=0)
    tokens = np.mean([each.tokens for each in truths], axis=0) + policy.conclusion_tokens - 1  # of an answer
    return [
        _row(
            ("after w extensions", "tokens", "forced", "accuracy", cell["w"], cell["tokens"]),
            cell,
            accuracy[int(cell["w"])],
            float(tokens[int(cell["w"])]),
        )
        for cell in forcing_table(run, level=level).to_dict("records")
    ]

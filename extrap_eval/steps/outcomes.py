"""What every sample of a scored run amounts to at every budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics.majk import VotePolicy, class_counts, maj_at_k_many
from extrap_eval.metrics.passk import pass_at_k
from extrap_eval.scoring.outcomes import Verdict, sample_outcomes
from extrap_eval.scoring.timeline import AnswerRule, answer_index

if TYPE_CHECKING:
    from extrap_eval.store import Run, ScoreLayer

Metric = Literal["pass@k", "maj@k", "finished"]


@dataclass(frozen=True, eq=False)
class RunOutcomes:
    """What every sample of a run amounts to at every budget: P problems, n samples, B budgets.

    ``left_out``: problem id -> why its reference answer cannot be compared with anything; these problems are
    not among the P.
    """

    model: str
    benchmark: str
    training_budget: int | None  # tokens
    problem_ids: tuple[str, ...]
    n: int
    budgets: np.ndarray  # int64 (B,), completion tokens
    correct: np.ndarray  # bool (P, n, B): the answer within the budget is right
    class_id: np.ndarray  # int32 (P, n, B): equivalence class of that answer, -1 for none
    outcome: np.ndarray  # int8 (P, n, B): index into scoring.outcomes.OUTCOMES
    n_tokens: np.ndarray  # int32 (P, n): length of the completion
    finished: np.ndarray  # bool (P, n): the model ended it itself
    left_out: dict[str, str]


def outcomes(
    run: str | Path | Run,
    budgets: Sequence[int] | None = None,
    layer: str = "default",
    rule: AnswerRule = AnswerRule(),
    *,
    n: int | None = None,
) -> RunOutcomes:
    """Read a score layer at the given budgets (default: ``default_budgets``), first ``n`` samples of each problem.

    Raises UserError when the run is not scored as it stands, when promised samples are missing, for more
    samples than the run has, and for a budget beyond what was sampled.
    """
    run = as_run(run)
    scores = run.layer(layer)
    settings = scores.score()["settings"]
    if not scores.made_from(run.digest()):
        raise UserError(f"{scores.path}: older than the completions of the run: score the run again")
    count = _checked_n(run, n)
    at = _checked_budgets(run, budgets)
    left_out = dict(settings.get("gold_errors") or {})
    ids = [problem.id for problem in run.problems() if problem.id not in left_out]
    if not ids:
        raise UserError(f"{run.path}: no problem has a usable reference answer: mend the benchmark card")
    place = {id: i for i, id in enumerate(ids)}
    judged = judged_answers(scores, ids)
    shape = (len(ids), count)
    n_tokens = np.full(shape, -1, dtype=np.int32)
    finished = np.zeros(shape, dtype=bool)
    correct = np.zeros((*shape, len(at)), dtype=bool)
    class_id = np.full((*shape, len(at)), -1, dtype=np.int32)
    outcome = np.zeros((*shape, len(at)), dtype=np.int8)
    for (id, index), timeline in scores.timelines():
        if id not in place or index >= count:
            continue
        where = place[id], index
        known = judged[id]
        try:
            said = [known[answer] if answer else ("incorrect", -1) for answer in timeline.answers]
        except KeyError as error:
            raise UserError(f"{scores.path}: answer {error} of {id} is not judged: score the run again") from None
        chosen = answer_index(timeline, at, rule)
        correct[where] = np.array([verdict == "correct" for verdict, _ in said] + [False])[chosen]
        class_id[where] = np.array([number for _, number in said] + [-1])[chosen]
        outcome[where] = sample_outcomes(timeline, [verdict for verdict, _ in said], at, rule)
        n_tokens[where], finished[where] = timeline.n_tokens, timeline.finished
    if missing := np.argwhere(n_tokens < 0).tolist():
        problem, index = missing[0]
        raise UserError(
            f"{run.path}: {len(missing)} of {n_tokens.size} samples are missing (first: sample {index} of problem "
            f"{ids[problem]}): top the run up, or ask for fewer samples with n"
        )
    card = run.model_card
    return RunOutcomes(
        model=card.name,
        benchmark=run.benchmark_card.name,
        training_budget=None if card.training_budget is None else card.training_budget.tokens,
        problem_ids=tuple(ids),
        n=count,
        budgets=at,
        correct=correct,
        class_id=class_id,
        outcome=outcome,
        n_tokens=n_tokens,
        finished=finished,
        left_out=left_out,
    )


def judged_answers(scores: ScoreLayer, problem_ids: Sequence[str]) -> dict[str, dict[str, tuple[Verdict, int]]]:
    """Problem id -> answer -> its verdict and equivalence class, for these problems."""
    judged: dict[str, dict[str, tuple[Verdict, int]]] = {id: {} for id in problem_ids}
    answers = scores.answers()
    columns = (answers[name].tolist() for name in ("problem_id", "answer", "verdict", "class_id"))
    for id, answer, verdict, number in zip(*columns, strict=True):
        if id in judged:
            judged[id][answer] = (cast(Verdict, verdict), number)
    return judged


def problem_values(
    found: RunOutcomes, metric: Metric, k: int | None = None, policy: VotePolicy = "abstain"
) -> tuple[np.ndarray, np.ndarray]:
    """One metric per problem: values (B, P) in [0, 1] and tie probabilities (B, P), nan but for maj@k."""
    no_ties = np.full((len(found.budgets), len(found.problem_ids)), np.nan)
    if metric == "finished":
        whole = found.finished[..., None] & (found.n_tokens[..., None] <= found.budgets)
        return whole.mean(axis=1).T, no_ties
    assert k is not None
    if metric == "pass@k":
        return pass_at_k(found.correct.sum(axis=1).T, found.n, k), no_ties
    counts = class_counts(np.moveaxis(found.class_id, 2, 0), np.moveaxis(found.correct, 2, 0))
    return maj_at_k_many(*counts, k, policy)


def default_budgets(run: str | Path | Run) -> list[int]:
    """The benchmark card's budgets, the model's B_tr and 2 B_tr, as far as they were sampled, and the maximum."""
    run = as_run(run)
    largest = sampled_maximum(run)
    training = run.model_card.training_budget
    wanted = [*run.benchmark_card.budgets, largest]
    if training is not None:
        wanted += [training.tokens, 2 * training.tokens]
    return sorted({budget for budget in wanted if budget <= largest})


def sampled_maximum(run: Run) -> int:
    """The cap on completion tokens under which the run was sampled; its longest completion where none is known."""
    cap = run.manifest.distribution.get("max_tokens")
    if cap is not None:
        return int(cap)
    return max((completion.n_tokens for completion in run.completions(columns=[])), default=1)


def as_run(run: str | Path | Run) -> Run:
    """Open a path; a run stays as it is. Raises UserError when the path is no run directory."""
    from extrap_eval.store import open_run

    return open_run(run) if isinstance(run, (str, Path)) else run


def _checked_n(run: Run, n: int | None) -> int:
    if n is None:
        return run.n
    if not 1 <= n <= run.n:
        raise UserError(f"{run.path}: n: {n} is not in 1..{run.n}, the samples per problem of the run")
    return n


def _checked_budgets(run: Run, budgets: Sequence[int] | None) -> np.ndarray:
    chosen = default_budgets(run) if budgets is None else sorted(set(budgets))
    largest = sampled_maximum(run)
    for budget in chosen:
        if not 1 <= budget <= largest:
            raise UserError(
                f"{run.path}: budget: {budget} is not in 1..{largest}, the tokens that were sampled: choose a smaller "
                "one, or sample a new run with a larger max_new_tokens"
            )
    if not chosen:
        raise UserError(f"{run.path}: budgets: none given")
    return np.array(chosen, dtype=np.int64)

"""Check the whole way from tokens to intervals against a model whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.engines.markov.engine import State, answers, write_completion
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.script import Script
from extrap_eval.engines.markov.text import THINK_CLOSE, TOKENIZER_FOLDER
from extrap_eval.engines.markov.truth import maj_at_k, pass_at_k
from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals, majk, passk
from extrap_eval.scoring.timeline import answer_index, read_timeline
from extrap_eval.scoring.tokens import TokenTable

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_POLICY = MarkovPolicy(
    attempt_tokens=32, accept_right=0.8, accept_wrong=0.06, give_up=0.02, loop=0.004, distractors=4
)
DEFAULT_PROBABILITIES = (0.01, 0.03, 0.06, 0.12, 0.25, 0.5)
DEFAULT_BUDGETS = (64, 96, 128, 192, 256, 384, 512, 768)
DEFAULT_KS = (1, 4, 8)

MAX_BIAS = 4.0  # standard errors
_RESAMPLES = 1000


def calibrate(
    policy: MarkovPolicy = DEFAULT_POLICY,
    probabilities: Sequence[float] = DEFAULT_PROBABILITIES,
    problems: int = 30,
    n: int = 16,
    budgets: Sequence[int] = DEFAULT_BUDGETS,
    ks: Sequence[int] = DEFAULT_KS,
    *,
    replications: int = 500,
    seed: int = 0,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Repeat a whole evaluation many times and compare its estimates and intervals with the truth.

    Every replication is a benchmark of its own: success probabilities drawn independently from
    ``probabilities`` (so that problems are a sample, as the intervals over problems take them to be), ``n``
    completions each, written by the markov engine as token ids, read by ``scoring.timeline`` at every budget,
    counted by ``metrics``. Answers are judged by comparing strings: the policy writes canonical integers, so
    this is what the judge would say.

    Returns one row per metric (pass@1; pass@k and maj@k for the other ks) and budget: ``truth``, ``mean`` of
    the estimates, ``bias_se`` (their bias in standard errors of that mean), ``coverage`` of the intervals,
    their mean ``width``, and ``passed``: bias within 4 standard errors and coverage between level − 5 and
    level + 4 points (meant for 500 replications; wider for fewer, whose coverage is known less well).
    ``progress`` is called with replications done and promised. Raises UserError for k > n, fewer than two
    replications or problems, and budgets that are not positive.
    """
    import pandas as pd

    for name, value, least in (("problems", problems, 2), ("replications", replications, 2), ("n", n, 1)):
        if value < least:
            raise UserError(f"{name}: {value} is below {least}")
    if not budgets or min(budgets) < 1:
        raise UserError(f"budgets: {list(budgets)} must be positive numbers of tokens")
    if not ks or not 1 <= min(ks) <= max(ks) <= n:
        raise UserError(f"ks: {list(ks)} must lie between 1 and n = {n}")
    metrics = [("pass", k) for k in ks] + [("maj", k) for k in ks if k > 1]
    at = np.asarray(budgets, np.int64)
    truths = np.stack([_TRUTH[kind](policy, probabilities, at, k) for kind, k in metrics])
    script, table = Script(policy), _token_table()
    rng = np.random.default_rng(seed)
    classes = np.empty((replications, len(at), problems, n), np.int16)  # of the answers
    for replication in range(replications):
        drawn = rng.choice(np.asarray(probabilities, np.float64), size=problems)
        for problem, probability in enumerate(drawn.tolist()):
            state = State(problem, probability)
            classes[replication, :, problem] = _answers_read(script, table, state, n, at, rng)
        if progress is not None:
            progress(replication + 1, replications)
    values = np.stack([_ESTIMATE[kind](classes, k) for kind, k in metrics], axis=1)  # [R, metrics, B, P]
    estimates = values.mean(axis=-1)
    low, high = np.empty_like(estimates), np.empty_like(estimates)
    for replication in range(replications):
        draws = intervals.resamples(problems, _RESAMPLES, seed=int(rng.integers(2**31)))
        low[replication], high[replication] = intervals.interval(values[replication], draws, level)

    bias = _in_standard_errors(estimates, truths)
    coverage = ((low <= truths) & (truths <= high)).mean(axis=0)
    spare = max(1.0, math.sqrt(500 / replications))
    passed = (np.abs(bias) <= MAX_BIAS) & (coverage >= level - 0.05 * spare) & (coverage <= level + 0.04 * spare)
    rows = [(f"{kind}@{k}", budget) for kind, k in metrics for budget in budgets]
    return pd.DataFrame(rows, columns=["metric", "budget"]).assign(
        truth=truths.ravel(),
        mean=estimates.mean(axis=0).ravel(),
        bias_se=bias.ravel(),
        coverage=coverage.ravel(),
        width=(high - low).mean(axis=0).ravel(),
        passed=passed.ravel(),
    )


def _answers_read(
    script: Script, table: TokenTable, state: State, n: int, budgets: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Answers of n completions to one problem at each budget, int64[B, n]: 0 right, -1 none."""
    number = {str(value): j for j, value in enumerate(answers(state.index, script.policy))}
    longest = int(budgets.max())
    read = np.empty((len(budgets), n), np.int64)
    for sample in range(n):
        ids = write_completion(script, state, longest, rng)[:longest]
        timeline = read_timeline(ids, table, finished=ids[-1] == script.end_token, think_close=THINK_CLOSE)
        classes = np.array([number[answer] for answer in timeline.answers] + [-1])
        read[:, sample] = classes[answer_index(timeline, budgets)]
    return read


def _pass_estimate(classes: np.ndarray, k: int) -> np.ndarray:
    """Classes int[..., n] -> float64[...]."""
    return passk.pass_at_k((classes == 0).sum(axis=-1), classes.shape[-1], k)


def _maj_estimate(classes: np.ndarray, k: int) -> np.ndarray:
    counts, correct, abstaining = majk.class_counts(classes, classes == 0)
    return majk.maj_at_k_many(counts, correct, abstaining, k)[0]  # equal counts are computed once


_TRUTH = {"pass": pass_at_k, "maj": maj_at_k}
_ESTIMATE = {"pass": _pass_estimate, "maj": _maj_estimate}


def _in_standard_errors(estimates: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Bias of the mean of R estimates, float64[R, ...] against float64[...]; 0 where all equal the truth."""
    bias = estimates.mean(axis=0) - truths
    error = estimates.std(axis=0, ddof=1) / math.sqrt(len(estimates))
    bias[np.abs(bias) < 1e-12] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(bias == 0, 0.0, bias / error))


def _token_table() -> TokenTable:
    from extrap_eval.prompts.tokenizer import quiet_transformers

    with quiet_transformers():
        from transformers import AutoTokenizer

        return TokenTable.from_tokenizer(AutoTokenizer.from_pretrained(str(TOKENIZER_FOLDER)))

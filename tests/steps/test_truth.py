"""The whole job on the markov model, whose truth is known: sample, store, score and curve find it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extrap_eval.engines.markov import MarkovEngine, MarkovPolicy
from extrap_eval.engines.markov.truth import finished_fraction, maj_at_k, pass_at_k
from extrap_eval.steps.curves import curve
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.steps.score import score

BUDGETS = [48, 96, 192, 384, 768, 1536, 2048, 3072]
PROBABILITIES = [0.002, 0.005, 0.01, 0.05]
RUNS = 32
POLICY = MarkovPolicy(
    attempt_tokens=48,
    accept_right=0.9,
    accept_wrong=0.01,
    give_up=0.01,
    loop=0.002,
    distractors=4,
    distractor_decay=0.6,
    box_attempts=True,
)


@pytest.mark.slow
def test_every_metric_is_within_three_standard_errors_of_the_closed_form(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(
        "name: small markov\ntokenizer: package:markov\n"
        'think: {open: "<think>", close: "</think>", opened_by_prompt: false}\n'
        'end_tokens: ["<|im_end|>"]\nn: 16\nmax_new_tokens: 3072\n'
        f"policy: {{{', '.join(f'{k}: {str(v).lower()}' for k, v in vars(POLICY).items() if v is not None)}}}\n"
    )
    (tmp_path / "benchmark.yaml").write_text(
        f"name: numbers\nsource: {{generator: hidden_number, args: {{problems: 12, probabilities: {PROBABILITIES}}}}}\n"
        f"answer: {{kind: integer}}\nbudgets: {BUDGETS}\n"
    )
    plan = plan_sampling(str(tmp_path / "model.yaml"), str(tmp_path / "benchmark.yaml"))
    tables = []
    for index in range(RUNS):
        run = prepare_run(plan, tmp_path / f"run{index}")
        report = sample(plan, run, MarkovEngine(POLICY, seed=index))
        assert (report.finished, report.missing) == (192, ())
        score(run.path, workers=1)
        tables.append(curve(run.path, budgets=BUDGETS, ks=[1, 4, 16], resamples=2))

    def measured(metric: str, k: int | None) -> np.ndarray:
        """Shape (runs, budgets)."""
        rows = [t[(t["metric"] == metric) & (t["k"].isna() if k is None else t["k"] == k)] for t in tables]
        return np.array([row["value"].to_numpy(float) for row in rows])

    ps = [1 - problem.difficulty for problem in plan.problems if problem.difficulty is not None]
    truths = {
        ("pass@k", 1): pass_at_k(POLICY, ps, BUDGETS, 1),
        ("pass@k", 4): pass_at_k(POLICY, ps, BUDGETS, 4),
        ("pass@k", 16): pass_at_k(POLICY, ps, BUDGETS, 16),
        ("maj@k", 4): maj_at_k(POLICY, ps, BUDGETS, 4),
        ("maj@k", 16): maj_at_k(POLICY, ps, BUDGETS, 16),
        ("finished", None): finished_fraction(POLICY, ps, BUDGETS),
    }
    for (metric, k), truth in truths.items():
        values = measured(metric, k)
        error = values.std(axis=0, ddof=1) / np.sqrt(RUNS)
        off = np.abs(values.mean(axis=0) - truth)
        # Hardly any run differs where the truth is near 0 or 1: no error is smaller than one deviating problem in all.
        error = np.maximum(error, 1 / (RUNS * len(ps)))
        assert (off <= 3 * error).all(), (metric, k, off, error)
        assert np.median(error) < 0.02  # the check has teeth

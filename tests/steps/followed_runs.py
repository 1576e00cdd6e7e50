"""A small run of the markov model, sampled, and what is needed to follow its traces in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.steps.following import FollowPlan, FollowReport, follow
from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
from extrap_eval.store import Run, open_run

SEED = 3


def engine_of(run: Run, seconds_per_token: float = 0.0) -> MarkovEngine:
    assert run.model_card.policy is not None
    return MarkovEngine(MarkovPolicy(**run.model_card.policy), seconds_per_token=seconds_per_token)  # type: ignore[arg-type]


def sampled_run(
    folder: Path,
    *,
    problems: int = 6,
    n: int = 3,
    budget_max: int = 1500,
    probabilities: Sequence[float] = (0.05, 0.2),
    name: str = "run",
    sampled: bool = True,
    seed: int = SEED,
) -> Run:
    """``sampled``: otherwise there are only its prompts."""
    benchmark = folder / f"{name}.yaml"
    benchmark.write_text(
        f"name: Small\nsource: {{generator: hidden_number, args: {{problems: {problems}, "
        f"probabilities: {list(probabilities)}}}}}\nanswer: {{kind: integer}}\nbudgets: [256, 512, 1024]\n"
    )
    plan = plan_sampling("markov", str(benchmark), n=n, budget_max=budget_max)
    run = prepare_run(plan, folder / name)
    if sampled:
        report = sample(plan, run, engine_of(run), concurrency=64, seed=seed)
        assert report.missing == ()
    return open_run(run.path)


def asked(run: Run, *plans: FollowPlan) -> FollowReport:
    """Ask all of it, with the seed of these tests."""
    return follow(run, plans, engine_of(run), concurrency=64, seed=SEED)


def policy_cards(
    folder: Path,
    policy: Mapping[str, Any],
    *,
    problems: int,
    probabilities: Sequence[float],
    budgets: Sequence[int],
    verifications: Sequence[str] | None = None,
) -> tuple[str, str]:
    """Cards of a policy with a tokenizer of its own, and of hidden numbers, in files whose paths are returned.
    ``verifications``: phrases that announce one.
    """
    model, benchmark = folder / "m.yaml", folder / "b.yaml"
    phrases = "" if verifications is None else f"verification: {{phrases: {json.dumps(verifications)}}}\n"
    model.write_text(
        "name: markov-truth\ntokenizer: package:markov\n"
        'think: {open: "<think>", close: "</think>", opened_by_prompt: false}\nend_tokens: ["<|im_end|>"]\n'
        f"{phrases}policy: {dict(policy)}\n"
    )
    benchmark.write_text(
        f"name: b\nsource: {{generator: hidden_number, args: {{problems: {problems}, "
        f"probabilities: {list(probabilities)}}}}}\nanswer: {{kind: integer}}\nbudgets: {list(budgets)}\n"
    )
    return str(model), str(benchmark)

"""One long thought in a sliding window against votes over short ones (MRT Fig. 8): ask for both, and compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.efficiency import vote_curve
from extrap_eval.metrics.passk import powers_of_two
from extrap_eval.metrics.traces import trace_mean
from extrap_eval.steps.answers import answer_table, ensure_answers_scored
from extrap_eval.steps.following import FollowPlan, draw_of, pen_of, plain, refuse_incomplete, samples_of
from extrap_eval.steps.forcing import carried_forward
from extrap_eval.steps.outcomes import as_run
from extrap_eval.steps.probes import arrays_of

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.sampling.sliding import Sliding
    from extrap_eval.store import Run

Mode = Literal["linear", "parallel"]


def plan_sliding(
    run: str | Path | Run,
    *,
    mode: Mode = "linear",
    episodes: int | None = None,
    window_tokens: int | None = None,
    episode_tokens: int | None = None,
    thinking_tokens: int | None = None,
    answers_after: Sequence[int] | None = None,
    replicates: int = 1,
    answer_tokens: int = 4096,
    text: str | None = None,
    phrases: Sequence[str] | None = None,
    min_steps: int | None = None,
    n: int | None = None,
    sampling: Mapping[str, float | int | None] | None = None,
    tokenizer: str | None = None,
) -> FollowPlan:
    """What to ask: for ``mode`` "linear" ``n`` thoughts per problem of ``episodes`` (default 16) in a window of
    ``window_tokens`` (2048); for "parallel" ``n`` thoughts of three episodes. Nothing of the run's own completions is
    used, only its prompts and sampling parameters. The meaning of the rest: ``sampling.sliding.Window``.

    Raises UserError for anything that does not fit together.
    """
    from extrap_eval.sampling.continuation import PROBE_TEXT, check_text
    from extrap_eval.sampling.sliding import linear, parallel

    run = as_run(run)
    card = run.model_card.episodes
    opening = tuple(phrases or card.phrases), min_steps or card.min_steps
    make = linear if mode == "linear" else parallel
    rules = make(*opening, answer_tokens=answer_tokens) if episodes is None else make(*opening, episodes=episodes)
    text = PROBE_TEXT if text is None else text
    check_text("--probe-text", text)
    if mode == "parallel" and window_tokens is not None:
        raise UserError("--window belongs to --mode linear: short thoughts are seen whole")
    longest = episode_tokens or rules.episode_tokens
    changes: dict[str, Any] = {
        "window_tokens": window_tokens,
        "answers_after": None if answers_after is None else tuple(sorted(set(answers_after))),
    }
    rules = replace(
        rules,
        text=text,
        answer_tokens=answer_tokens,
        episode_tokens=longest,
        thinking_tokens=thinking_tokens or longest * rules.episodes,
        **{name: value for name, value in changes.items() if value is not None},
    )
    if not rules.answers_after or not 1 <= min(rules.answers_after) <= max(rules.answers_after) <= rules.episodes:
        raise UserError(f"--answers-after: {list(rules.answers_after)} is not within 1..{rules.episodes}, the episodes")
    settings = plain({"mode": mode, **asdict(rules), **asdict(draw_of(run, sampling))})
    promise = {"samples": samples_of(run, n), "replicates": replicates}
    return FollowPlan("slide", settings, promise, _protocol(run, settings, promise, tokenizer))


def _protocol(run: Run, settings: Mapping[str, Any], promise: Mapping[str, int], tokenizer: str | None) -> Sliding:
    from extrap_eval.sampling.sliding import Sliding, Window
    from extrap_eval.sampling.traces import Draw
    from extrap_eval.store.variant import ANSWERS, variant_name

    name = variant_name("slide", settings)
    values = {field.name: settings[field.name] for field in fields(Window)}
    rules = Window(**values | {key: tuple(values[key]) for key in ("answers_after", "phrases", "go_on")})
    draw = Draw.of(settings)
    pen = pen_of(run, tokenizer)
    return Sliding(name, name + ANSWERS, rules, pen, draw, promise["replicates"], promise["samples"])


def slide_table(run: str | Path | Run, variant: str) -> pd.DataFrame:
    """Every answer of one variant, judged; one row each: problem_id, sample_index, episodes (before the answer),
    replicate, prefix_tokens (tokens of the whole thought before it, seen or not), answer_tokens, finished, answer,
    answer_class, verdict, correct, carried (the thought was over before and stands for more episodes).
    """
    run = as_run(run)
    found = {each.name: each for each in run.variants("slide")}.get(variant)
    if found is None:
        raise UserError(f"{run.path}: no variant {variant} of kind slide")
    ensure_answers_scored(run, found)
    table = answer_table(run, found).rename(columns={"step": "episodes"})
    return carried_forward(table, "episodes", found.settings["answers_after"])


def window_curves(run: str | Path | Run, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Both modes of a run against total tokens: accuracy of one linearised thought after k episodes, and maj@k of k
    parallel thoughts.

    Columns: model (with the mode), benchmark, mode, k (episodes, or votes), tokens (completion tokens in all, answers
    included, mean), value, low, high. Every variant of the run is a line. Raises UserError without any, and when one is
    not complete.
    """
    import pandas as pd

    run = as_run(run)
    found = run.variants("slide")
    if not found:
        raise UserError(f"{run.path}: nothing of kind slide yet: run extrap-eval slide {run.path}")
    names = [(variant.settings["mode"], variant) for variant in found]
    rows = []
    for mode, variant in names:
        refuse_incomplete(run, variant)
        arrays = arrays_of(slide_table(run, variant.name), "episodes")
        draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
        alone = [each for each, _ in names].count(mode) == 1
        line = f"{run.model_card.name}, {mode}" + ("" if alone else f" ({variant.name})")
        common = {"model": line, "benchmark": run.benchmark_card.name, "mode": mode}
        total = arrays.prefix_tokens + arrays.answer_tokens
        if mode == "linear":
            value = trace_mean(arrays.accuracy, draws, level=level)
            ks, tokens = list(arrays.places), total.mean(axis=(0, 1))
        else:
            samples = total.shape[1]
            ks = powers_of_two(samples)
            votes = vote_curve(arrays.class_id[:, :, -1, 0], arrays.correct[:, :, -1, 0], total[:, :, -1], ks)
            value, tokens = votes.accuracy(draws, level), votes.tokens.mean(axis=1)
        rows += [
            common
            | {"k": k, "tokens": float(np.asarray(tokens)[i]), "value": float(value.value[i])}
            | {"low": float(value.low[i]), "high": float(value.high[i])}
            for i, k in enumerate(ks)
        ]
    return pd.DataFrame(rows)

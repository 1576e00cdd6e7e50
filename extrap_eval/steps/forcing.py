"""Budget forcing of a run: ask it, and what "Wait" was worth (MRT Fig. 9, 12; e3 Fig. 6; s1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.forcing import forcing_curve, plurality, wait_audit
from extrap_eval.steps.answers import answer_table, ensure_answers_scored
from extrap_eval.steps.following import FollowPlan, draw_of, find_variant, pen_of, plain, samples_of
from extrap_eval.steps.outcomes import as_run, sampled_maximum
from extrap_eval.steps.probes import ProbeArrays, arrays_of

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.sampling.forcing import Forcing
    from extrap_eval.store import Run, Variant

Mode = Literal["mrt", "s1"]
PAPER_EXACT = ("open-thought", "lost-pieces", "full-cap")


def plan_forcing(
    run: str | Path | Run,
    *,
    mode: Mode = "mrt",
    strings: Sequence[str] | None = None,
    extensions: int | None = None,
    extension_tokens: int | None = None,
    thinking_tokens: int | None = None,
    answers_after: Sequence[int] | None = None,
    replicates: int = 8,
    answer_tokens: int = 4096,
    final_text: str | None = None,
    paper_exact: Sequence[str] = (),
    n: int | None = None,
    sampling: Mapping[str, float | int | None] | None = None,
    tokenizer: str | None = None,
) -> FollowPlan:
    """What to ask. ``mode`` gives the rules of MRT and e3, or of s1 (see ``sampling.forcing``); the other arguments
    change them: ``strings`` in turn, how many ``extensions``, tokens of one, tokens of the whole thought, after which
    numbers of extensions answers are asked, how many, how long, and the text that forces one from a thought at its cap.

    ``paper_exact``: any of "open-thought", "lost-pieces" (MRT's released code), "full-cap" (s1's); ``sampling.forcing``
    says what they are and why they are not the default. ``n``: the first so many samples of every problem.

    Raises UserError for anything that does not fit together.
    """
    from extrap_eval.sampling.continuation import check_text
    from extrap_eval.sampling.forcing import mrt_rules, s1_rules

    run = as_run(run)
    if unknown := set(paper_exact) - set(PAPER_EXACT):
        raise UserError(f"--paper-exact: {', '.join(sorted(unknown))} is not one of {', '.join(PAPER_EXACT)}")
    rules = mrt_rules() if mode == "mrt" else s1_rules(thinking_tokens or run.sampling.max_tokens)
    changes: dict[str, Any] = {
        "strings": None if strings is None else tuple(strings),
        "extensions": extensions,
        "extension_tokens": extension_tokens,
        "thinking_tokens": thinking_tokens,
        "answer_tokens": answer_tokens,
        "final_text": final_text,
    }
    rules = replace(rules, **{name: value for name, value in changes.items() if value is not None})
    after = rules.answers_after if answers_after is None else tuple(sorted(set(answers_after)))
    if answers_after is None:
        after = tuple(w for w in after if w <= rules.extensions)
    if not after or min(after) < 0 or max(after) > rules.extensions:
        raise UserError(f"--answers-after: {list(after)} is not within 0..{rules.extensions}, the extensions")
    if rules.final_text is not None:
        check_text("--final-text", rules.final_text)
    rules = replace(
        rules,
        answers_after=after,
        close_thought="open-thought" not in paper_exact,
        keep_unbroken="lost-pieces" not in paper_exact,
        full_cap="full-cap" in paper_exact,
    )
    if rules.full_cap and rules.thinking_tokens is None:
        raise UserError("--paper-exact full-cap needs a cap on the whole thought: --thinking-tokens, or --mode s1")
    settings = plain({"mode": mode, **asdict(rules), **asdict(draw_of(run, sampling))})
    promise = {"samples": samples_of(run, n), "replicates": replicates}
    return FollowPlan("force", settings, promise, _protocol(run, settings, promise, tokenizer))


def _protocol(
    run: Run, settings: Mapping[str, Any], promise: Mapping[str, int], tokenizer: str | None, *, reading: bool = False
) -> Forcing:
    from extrap_eval.sampling.forcing import Forcing, Rules
    from extrap_eval.sampling.traces import Draw
    from extrap_eval.store.variant import ANSWERS, variant_name

    name = variant_name("force", settings)
    values = {field.name: settings[field.name] for field in fields(Rules)}
    rules = Rules(**values | {key: tuple(values[key]) for key in ("strings", "answers_after")})
    draw = Draw.of(settings)
    pen = pen_of(run, tokenizer, reading=reading)
    return Forcing(name, name + ANSWERS, rules, pen, draw, promise["replicates"], promise["samples"])


def force_table(run: str | Path | Run, variant: str | None = None) -> pd.DataFrame:
    """Every answer after w extensions, judged; one row each.

    Columns: problem_id, sample_index, w, replicate, prefix_tokens (tokens of the thought before it, the strings that
    were put in among them), thought_tokens (all that were generated for it: those that were dropped as well),
    answer_tokens, finished, answer, answer_class (-1 for none), verdict, correct, carried: a thought that could be
    extended no further was asked once more at most, and stands for every later w. Raises UserError when the variant is
    not complete.
    """
    run = as_run(run)
    found = find_variant(run, "force", variant)
    ensure_answers_scored(run, found)
    table = answer_table(run, found).rename(columns={"step": "w"})
    spent = _spent(run, found)
    places = zip(table["problem_id"], table["sample_index"], table["w"], strict=True)
    table["thought_tokens"] = [spent[id, index][min(w, len(spent[id, index]) - 1)] for id, index, w in places]
    return carried_forward(table, "w", found.settings["answers_after"])


def _spent(run: Run, variant: Variant) -> dict[tuple[str, int], list[int]]:
    """Tokens generated for each thought after 0, 1, … extensions."""
    from extrap_eval.sampling.following import stored_pieces, stored_traces

    forcing = _protocol(run, variant.settings, variant.promise, None, reading=True)
    pieces = stored_pieces(run, variant.name)
    prefixes: dict[tuple[str, int], dict[int, int]] = {}
    for item in run.completions(variant.name, columns=[]):
        prefixes.setdefault(item.key, {})[item.step or 0] = item.prefix_tokens or 0
    found = {}
    for trace in stored_traces(run):
        key = (trace.problem_id, trace.sample_index)
        if trace.sample_index < forcing.samples:
            before = [tokens for _, tokens in sorted(prefixes.get(key, {}).items())]
            found[key] = forcing.spent(trace, pieces.get(key, ()), before)
    return found


def carried_forward(table: pd.DataFrame, step: str, steps: Sequence[int]) -> pd.DataFrame:
    """The answers of each trace at every step: where it has none, those at the last step before."""
    import pandas as pd

    parts = [table.assign(carried=False)]
    last = table.groupby(["problem_id", "sample_index"], sort=False)[step].transform("max")
    at_end = table[table[step] == last]
    parts += [at_end[at_end[step] < later].assign(**{step: later, "carried": True}) for later in steps]
    both = pd.concat(parts, ignore_index=True)
    order = {id: place for place, id in enumerate(dict.fromkeys(table["problem_id"]))}
    both["place"] = both["problem_id"].map(order)
    columns = ["place", "sample_index", step, "replicate"]
    return both.sort_values(columns, kind="stable", ignore_index=True).drop(columns="place")


def force_arrays(run: str | Path | Run, variant: str | None = None) -> ProbeArrays:
    """``force_table`` as arrays; the places are numbers of extensions, and ``prefix_tokens`` are all that were
    generated for the thought.
    """
    table = force_table(run, variant)
    return arrays_of(table.assign(prefix_tokens=table["thought_tokens"]), "w")


def forcing_table(
    run: str | Path | Run,
    variant: str | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy after w extensions, tidy: model, benchmark, w, tokens (completion tokens used, one answer included,
    mean), cap (what a thought may have used after w extensions), value, low, high.
    """
    import pandas as pd

    run = as_run(run)
    found = find_variant(run, "force", variant)
    arrays = force_arrays(run, found.name)
    draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
    used = np.where(arrays.there, arrays.prefix_tokens + arrays.answer_tokens, np.nan)
    curve = forcing_curve(arrays.accuracy, used, draws, level=level)
    rows = [
        {
            "model": run.model_card.name,
            "benchmark": run.benchmark_card.name,
            "w": w,
            "tokens": curve.tokens.value[i],
            "cap": _cap(run, found, w),
            "value": curve.accuracy.value[i],
            "low": curve.accuracy.low[i],
            "high": curve.accuracy.high[i],
        }
        for i, w in enumerate(arrays.places)
    ]
    return pd.DataFrame(rows)


def _cap(run: Run, variant: Variant, w: int) -> int:
    """The most tokens that a thought may have after ``w`` extensions."""
    settings = variant.settings
    cap = sampled_maximum(run) + w * (settings["extension_tokens"] or 0)
    total = settings["thinking_tokens"]
    return cap if total is None else min(cap, total) if settings["extension_tokens"] else total


def audit_table(
    run: str | Path | Run,
    variant: str | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The Wait audit: what the extensions between two numbers of them did to the answers (the plurality of each).

    Columns: model, benchmark, w (after), before, traces, one column per fate (``metrics.forcing.FATES``; shares) and
    with the suffix _traces its count, net (wrong to right minus right to wrong), net_low, net_high, tokens (spent on
    these extensions, mean).
    """
    import pandas as pd

    from extrap_eval.metrics.forcing import FATES

    run = as_run(run)
    arrays = force_arrays(run, variant)
    classes, right = plurality(arrays.class_id, arrays.correct)
    draws = intervals.resamples(len(arrays.problem_ids), resamples, seed)
    audit = wait_audit(classes, right, arrays.prefix_tokens, draws, there=arrays.there, level=level)
    rows = []
    for i, (before, w) in enumerate(zip(arrays.places, arrays.places[1:], strict=False)):
        row: dict[str, Any] = {"model": run.model_card.name, "benchmark": run.benchmark_card.name}
        row |= {"w": w, "before": before, "traces": int(audit.traces[i])}
        for f, fate in enumerate(FATES):
            row |= {fate: audit.shares.value[f, i], f"{fate}_traces": int(audit.counts[f, i])}
        row |= {"net": audit.net.value[i], "net_low": audit.net.low[i], "net_high": audit.net.high[i]}
        rows.append(row | {"tokens": audit.tokens.value[i]})
    return pd.DataFrame(rows)

"""Which tokens decide? One replaced by the most likely other one, and what comes of it (RLVR-exploration, Eq. 5, 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.steps.answers import answer_table, ensure_answers_scored
from extrap_eval.steps.following import FollowPlan, draw_of, find_variant, pen_of, plain, samples_of
from extrap_eval.steps.outcomes import as_run

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.metrics.replacement import Effect
    from extrap_eval.sampling.replacement import Replacement
    from extrap_eval.store import Key, Run

KIND = "replace"


def plan_replacements(
    run: str | Path | Run,
    *,
    at: Sequence[str] | None = None,
    positions: int = 4,
    replicates: int = 4,
    share: float = 0.2,
    seed: int = 0,
    answer_tokens: int | None = None,
    n: int | None = None,
    sampling: Mapping[str, float | int | None] | None = None,
    tokenizer: str | None = None,
    entropies: Mapping[Key, np.ndarray] | None = None,
) -> list[FollowPlan]:
    """What to ask, one plan per kind of position in ``at``: "early" and "late" (the first and the last ``share`` of a
    trace's tokens), "high-entropy" and "low-entropy" (the ``share`` with the highest and the lowest), "random".

    Of these, ``positions`` of each of the first ``n`` traces of a problem are drawn with ``seed``; from each,
    ``replicates`` completions go on with the token replaced and as many without, with what is left of the run's budget
    (or ``answer_tokens``). ``entropies``: of the tokens of each trace [default: what ``extrap-eval logprobs`` kept; by
    default ``at`` is all that can be done without asking for it].

    Raises UserError for anything that does not fit together, and for kinds by entropy where it is not known.
    """
    from extrap_eval.sampling.replacement import BY_ENTROPY, EVERYWHERE

    run = as_run(run)
    kinds = list(dict.fromkeys(at)) if at else _all_kinds(run, entropies)
    if unknown := [kind for kind in kinds if kind not in (*BY_ENTROPY, *EVERYWHERE)]:
        raise UserError(f"--at: {unknown[0]} is not one of {', '.join((*BY_ENTROPY, *EVERYWHERE))}")
    if not 0 < share <= 1:
        raise UserError(f"--share: {share:g} is not in (0, 1]")
    budget = run.sampling.max_tokens
    if budget < 2:
        raise UserError(f"{run.path}: completions of {budget} token: nothing goes on from a replaced one")
    samples = samples_of(run, n)
    known: Mapping[Key, np.ndarray] = {}
    if set(kinds) & set(BY_ENTROPY):
        known = entropies if entropies is not None else entropies_of(run, samples)
    promise = {"samples": samples, "positions": positions, "replicates": replicates}
    plans = []
    for kind in kinds:
        settings = plain(
            {
                "at": kind,
                # What "random" is drawn from does not depend on it.
                "share": None if kind == "random" else share,
                "seed": seed,
                "budget": budget,
                "answer_tokens": answer_tokens,
                **asdict(draw_of(run, sampling)),
            }
        )
        protocol = _protocol(run, settings, promise, tokenizer, known)
        if kind in BY_ENTROPY:
            _refuse_moved(run, protocol)
        plans.append(FollowPlan(KIND, settings, promise, protocol, protocol.top_logprobs))
    return plans


def _all_kinds(run: Run, entropies: Mapping[Key, np.ndarray] | None) -> list[str]:
    from extrap_eval.sampling.replacement import BY_ENTROPY, EVERYWHERE

    if entropies is None:
        try:
            entropies = entropies_of(run, 1)
        except UserError:
            return [*EVERYWHERE]
    return [*BY_ENTROPY, *EVERYWHERE]


def entropies_of(run: Run, samples: int) -> dict[Key, np.ndarray]:
    """Entropy of every token (nats, shape (T,)) of the first so many samples of each problem, by key.

    Raises UserError, with the command that measures it, where it is not known of all of them.
    """
    from extrap_eval.steps.logprobs import token_distributions

    found = {key: known.entropy for key, known in token_distributions(run) if key[1] < samples}
    missing = [key for key in sorted(run.keys()) if key[1] < samples and key not in found]
    if missing or not found:
        raise UserError(
            f"{run.path}: the entropy of the tokens is not known of all traces: run extrap-eval logprobs {run.path}, "
            "or choose --at early, late or random"
        )
    return found


def _refuse_moved(run: Run, protocol: Replacement) -> None:
    """Raises UserError when something is stored of positions that are not those chosen now."""
    from extrap_eval.sampling.following import stored_traces

    asked: dict[Key, dict[int, int]] = {}
    for item in run.completions(protocol.stage, columns=[]):
        asked.setdefault(item.key, {})[item.step or 0] = item.prefix_tokens or 0
    for trace in stored_traces(run, asked):
        places = protocol.chosen(trace)
        for step, place in asked[trace.problem_id, trace.sample_index].items():
            if step <= len(places) and int(places[step - 1]) != place:
                raise UserError(
                    f"{run.path}: {protocol.stage}: the entropies have changed since, and the positions with them: "
                    "choose another --seed"
                )


def _protocol(
    run: Run,
    settings: Mapping[str, Any],
    promise: Mapping[str, int],
    tokenizer: str | None,
    entropies: Mapping[Key, np.ndarray],
    *,
    reading: bool = False,
) -> Replacement:
    from extrap_eval.sampling.replacement import Replacement, Where
    from extrap_eval.sampling.traces import Draw
    from extrap_eval.store.variant import ANSWERS, variant_name

    name = variant_name(KIND, settings)
    return Replacement(
        stage=name,
        answer_stage=name + ANSWERS,
        where=Where(settings["at"], settings["share"] or 1.0, settings["seed"]),
        pen=pen_of(run, tokenizer, reading=reading),
        draw=Draw.of(settings),
        budget=settings["budget"],
        positions=promise["positions"],
        replicates=promise["replicates"],
        answer_tokens=settings["answer_tokens"],
        samples=promise["samples"],
        entropies=entropies,
    )


def replacement_table(run: str | Path | Run, variant: str | None = None) -> pd.DataFrame:
    """Every replaced token of a variant, one row each.

    Columns: problem_id, sample_index, at (kind of position), position (tokens of the trace before it), relative (in
    what may be replaced of the trace: 0 at its first token, below 1 at its last), token and other (ids: the trace's own
    and what took its place), kept and replaced (mean correctness of the completions that go on from each), difference
    (replaced minus kept), kept_tokens and replaced_tokens (mean tokens that follow). A completion's answer is that of
    the whole: the last box of trace and continuation together. Raises UserError when the variant is not complete.
    """
    import pandas as pd

    from extrap_eval.sampling.following import stored_traces

    run = as_run(run)
    found = find_variant(run, KIND, variant)
    ensure_answers_scored(run, found)
    answers = answer_table(run, found)
    answers["tokens"] = answers["answer_tokens"] - answers["prefix_tokens"]
    answers["piece"], answers["side"] = (answers["step"] + 1) // 2, answers["step"] % 2  # 1: the trace's own token
    keys, values = ["problem_id", "sample_index", "piece"], ["correct", "tokens"]
    own, other = (answers[answers["side"] == side].groupby(keys, sort=False)[values].mean() for side in (1, 0))
    protocol = _protocol(run, found.settings, found.promise, None, {}, reading=True)
    pieces = {c.place[:3]: c for c in run.completions(found.name, columns=["token_ids"])}
    traces = {(t.problem_id, t.sample_index): t for t in stored_traces(run, {place[:2] for place in pieces})}
    spans = {key: protocol.span(trace) for key, trace in traces.items()}
    rows = []
    for row in own.join(other.add_suffix("_other")).reset_index().itertuples(index=False, name=None):
        id, index, piece, kept, kept_tokens, replaced, replaced_tokens = row
        asked, (start, end) = pieces[id, index, piece], spans[id, index]
        position = asked.prefix_tokens or 0
        rows.append(
            {
                "problem_id": id,
                "sample_index": index,
                "at": found.settings["at"],
                "position": position,
                "relative": (position - start) / max(1, end - start),
                "token": int(traces[id, index].ids[position]),
                "other": int(asked.token_ids[0]),
                "kept": kept,
                "replaced": replaced,
                "difference": replaced - kept,
                "kept_tokens": kept_tokens,
                "replaced_tokens": replaced_tokens,
            }
        )
    return pd.DataFrame(rows)


def effect_table(
    run: str | Path | Run,
    variants: Sequence[str] | None = None,
    *,
    bins: int = 1,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The effect of replacing a token, one row per variant and bin of relative positions.

    ``variants``: their names [default: all of the run]. ``bins``: equal parts of the trace, those without a position
    left out. Columns: model, benchmark, at (with the variant's name where two have the same), first, last (relative
    position), positions, problems, kept, kept_low, kept_high, replaced, replaced_low, replaced_high (accuracies),
    value, low, high (replaced minus kept, paired by position, interval over problems).

    Raises UserError as ``replacement_table`` does, and without any variant.
    """
    import pandas as pd

    from extrap_eval.metrics.replacement import replacement_effect

    run = as_run(run)
    tables = _tables(run, variants)
    ids = {problem.id: place for place, problem in enumerate(run.problems())}
    there = sorted({id for table in tables.values() for id in table["problem_id"]}, key=ids.__getitem__)
    draws = intervals.resamples(len(there), resamples, seed)
    edges = np.linspace(0, 1, bins + 1)
    rows: list[dict[str, Any]] = []
    for at, table in tables.items():
        effect = replacement_effect(*_arrays(table, there), draws, edges=edges.tolist(), level=level)
        for b in range(bins):
            if effect.positions[b]:
                common = {"model": run.model_card.name, "benchmark": run.benchmark_card.name, "at": at}
                rows.append(common | {"first": edges[b], "last": edges[b + 1]} | _numbers(effect, b))
    return pd.DataFrame(rows)


def _tables(run: Run, variants: Sequence[str] | None) -> dict[str, pd.DataFrame]:
    """The tables of variants that have a position at all, by what they are called."""
    from extrap_eval.sampling.replacement import BY_ENTROPY, EVERYWHERE

    order = (*BY_ENTROPY, *EVERYWHERE)
    known = sorted(run.variants(KIND), key=lambda variant: order.index(variant.settings["at"]))
    names = [variant.name for variant in known] if variants is None else list(variants)
    if not names:
        raise UserError(f"{run.path}: nothing of kind {KIND} yet: run extrap-eval replace {run.path}")
    tables = {name: replacement_table(run, name) for name in names}
    if not any(map(len, tables.values())):
        raise UserError(f"{run.path}: its traces have no token that may be replaced")
    kinds = [str(table["at"].iloc[0]) for table in tables.values() if len(table)]
    return {
        (at := str(table["at"].iloc[0])) + (f" ({name})" if kinds.count(at) > 1 else ""): table
        for name, table in tables.items()
        if len(table)
    }


def _arrays(table: pd.DataFrame, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """kept, replaced and relative, (P, N) each, nan where a problem has fewer positions."""
    place = table["problem_id"].map({id: at for at, id in enumerate(ids)}).to_numpy(int)
    number = table.groupby("problem_id").cumcount().to_numpy(int)
    arrays = np.full((3, len(ids), int(number.max()) + 1), np.nan)
    arrays[:, place, number] = table[["kept", "replaced", "relative"]].to_numpy(float).T
    kept, replaced, relative = arrays
    return kept, replaced, relative


def _numbers(effect: Effect, b: int) -> dict[str, float]:
    row: dict[str, float] = {"positions": int(effect.positions[b]), "problems": int(effect.problems[b])}
    for name in ("kept", "replaced", "difference"):
        estimate = getattr(effect, name)
        value, before = ("value", "") if name == "difference" else (name, f"{name}_")
        row |= {value: float(estimate.value[b])}
        row |= {f"{before}low": float(estimate.low[b]), f"{before}high": float(estimate.high[b])}
    return row


def exchanged(run: str | Path | Run, variants: Sequence[str] | None = None) -> pd.DataFrame:
    """What was replaced by what, the most frequent first: at, token and other (texts), positions, difference (mean)."""
    import pandas as pd

    run = as_run(run)
    words = run.token_table()
    assert words is not None  # there would be no variant
    rows = []
    for at, table in _tables(run, variants).items():
        for (token, other), group in table.groupby(["token", "other"]):
            rows.append(
                {
                    "at": at,
                    "token": words.decode(np.array([token])),
                    "other": words.decode(np.array([other])),
                    "positions": len(group),
                    "difference": float(group["difference"].mean()),
                }
            )
    return pd.DataFrame(rows).sort_values("positions", ascending=False, kind="stable", ignore_index=True)

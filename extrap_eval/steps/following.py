"""What follows from the traces of a run (probes, extensions, windows): planned, priced, asked, and kept as variants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError
from extrap_eval.steps.interrupts import blocking

if TYPE_CHECKING:
    from extrap_eval.engines.base import Engine
    from extrap_eval.sampling.continuation import Pen
    from extrap_eval.sampling.progress import Progress
    from extrap_eval.sampling.scheduler import Failure
    from extrap_eval.sampling.traces import Draw, Price, TraceProtocol
    from extrap_eval.steps.sample import SamplingPlan
    from extrap_eval.store import Run, Variant


@dataclass(frozen=True)
class FollowPlan:
    """One protocol on one run. ``settings`` (plain JSON) name the variant, ``promise`` says how much of it."""

    kind: str
    settings: dict[str, Any]
    promise: dict[str, int]
    protocol: TraceProtocol
    top_logprobs: int = 0  # the most that its requests ask for, which servers must be started for

    @property
    def name(self) -> str:
        from extrap_eval.store.variant import variant_name

        return variant_name(self.kind, self.settings)


@dataclass(frozen=True)
class FollowReport:
    """What one call of ``follow`` came to: completions and tokens added, and what is still missing of what is known to
    be asked. ``variants``: the names of what was asked, in the order of the plans.
    """

    variants: tuple[str, ...]
    finished: int
    tokens: int
    seconds: float
    missing: int
    failures: tuple[Failure, ...]

    def reasons(self) -> list[tuple[str, int]]:
        """Why requests failed and how often, the most frequent first."""
        from extrap_eval.sampling.collect import reasons

        return reasons(self.failures)


def pen_of(run: Run, tokenizer: str | None = None, *, reading: bool = False) -> Pen:
    """What writes into the prompts of a run's model. ``tokenizer``: folder or hub id [default: the run's].

    ``reading``: it will write nothing, and no tokenizer is loaded. Raises UserError for a run whose tokenizer is no
    table of byte strings.
    """
    from extrap_eval.prompts.tokenizer import load_tokenizer
    from extrap_eval.sampling.continuation import Pen

    table = run.token_table()
    if table is None:
        raise UserError(
            f"{run.path}: its tokenizer is not one byte string per token, so prefixes of its completions cannot be "
            "cut: probes and extensions need another model"
        )
    card = run.model_card
    loaded = None if reading else load_tokenizer(card, tokenizer or run.manifest.tokenizer)
    return Pen(loaded, table, card.think, tuple(run.sampling.stop_token_ids))


def draw_of(run: Run, overrides: Mapping[str, float | int | None] | None = None) -> Draw:
    """Temperature, top-p and top-k of the traces, unless overridden, and the tokens that end a completion.

    Raises UserError for values that are out of range.
    """
    from extrap_eval.cards.load import changed
    from extrap_eval.sampling.traces import Draw

    sampling = run.sampling
    draw = Draw(sampling.temperature, sampling.top_p, sampling.top_k, tuple(sampling.stop_token_ids))
    changes: dict[str, Any] = {name: value for name, value in (overrides or {}).items() if value is not None}
    changed(run.model_card, {"sampling": {**run.model_card.sampling.model_dump(), **changes}})  # for its checks
    return replace(draw, **changes)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, so that a plan and the variant on disk have one name."""
    return dict(json.loads(json.dumps(dict(settings))))


def samples_of(run: Run, n: int | None) -> int:
    """How many samples per problem are followed. Raises UserError for more than the run promises."""
    if n is not None and not 1 <= n <= run.n:
        raise UserError(f"--n: {n} is not in 1..{run.n}, the samples per problem of {run.path}")
    return n or run.n


def sampling_plan(run: Run, tokenizer: str | None = None, weights: str | None = None) -> SamplingPlan:
    """A run as a plan again, from which an engine can be opened. ``weights``: folder or hub id of the model."""
    from extrap_eval.prompts.tokenizer import load_tokenizer
    from extrap_eval.steps.sample import SamplingPlan, weights_of

    card = run.model_card
    return SamplingPlan(
        model=card,
        benchmark=run.benchmark_card,
        problems=run.problems(),
        prompts=run.prompts(),
        tokenizer=load_tokenizer(card, tokenizer or run.manifest.tokenizer),
        token_table=run.token_table(),
        end_tokens=tuple(run.sampling.stop_token_ids),
        n=run.n,
        weights=weights_of(weights or card.tokenizer or card.name, card),
    )


def price(run: Run, plans: Sequence[FollowPlan]) -> tuple[Price, int]:
    """What the plans ask of the traces that are there, at most, and how many of these completions are stored."""
    from extrap_eval.sampling.following import begun_traces
    from extrap_eval.sampling.traces import Price

    total = Price()
    for plan in plans:
        protocol = plan.protocol
        for trace, _ in begun_traces(run, [protocol], None):
            if trace.sample_index < protocol.samples:
                total += protocol.price(trace)
    stored = sum(
        place[1] < plan.protocol.samples
        for plan in plans
        for stage in plan.protocol.stages
        for place in run.places(stage)
    )
    return total, stored


async def following(
    run: Run,
    plans: Sequence[FollowPlan],
    engine: Engine,
    *,
    rollouts: bool = False,
    concurrency: int = 256,
    seed: int | None = None,
    top_logprobs: int = 0,
    progress: Progress | None = None,
) -> FollowReport:
    """Ask what the plans promise and what is not there yet; with ``rollouts`` what the run misses as well, in one
    graph (with ``top_logprobs`` as in ``steps.sample.sample``). Every finished completion is on disk before it is
    counted, and before what follows from it is asked.

    Raises UserError when samples are missing that a plan goes on from, when something does not fit into the model's
    context, or when the engine cannot be reached. ``follow`` is the same, run to its end.
    """
    from extrap_eval.sampling.following import follow_traces, missing_jobs
    from extrap_eval.steps.score import refuse_missing

    protocols = [plan.protocol for plan in plans]
    if not rollouts:
        for protocol in protocols:
            if protocol.needs_rollouts:
                refuse_missing(run, protocol.samples)
    async with engine as ready:
        for plan in plans:
            _check_fits(run, plan, ready.info.context_length, rollouts)
        variants = [run.put_variant(plan.kind, plan.settings, plan.promise)[0] for plan in plans]
        run.record_engine(ready.info, {"variants": [variant.name for variant in variants]})
        done = await follow_traces(
            run,
            ready,
            protocols,
            rollouts=rollouts,
            concurrency=concurrency,
            seeded=seed,
            top_logprobs=top_logprobs,
            progress=progress,
        )
    missing = 0
    if done.failures or done.gave_up:
        missing = sum(1 for _ in missing_jobs(run, protocols)) + (len(run.missing()) if rollouts else 0)
    else:
        for variant in variants:
            run.complete_variant(variant)
    names = tuple(variant.name for variant in variants)
    return FollowReport(names, done.finished, done.tokens, done.seconds, missing, done.failures)


follow = blocking(following)


def context_needed(run: Run, plan: FollowPlan, rollouts: bool = False) -> int:
    """Tokens of prompt and completion together in the longest request that a plan may lead to. ``rollouts``: of traces
    that are still to be sampled as well.
    """
    return plan.protocol.longest(_longest_prompt(run), _longest_trace(run, plan, rollouts))


def _longest_prompt(run: Run) -> int:
    return max(len(ids) for ids in run.prompts().values())


def _longest_trace(run: Run, plan: FollowPlan, rollouts: bool) -> int:
    if not plan.protocol.needs_rollouts:
        return 0
    if rollouts:
        return run.sampling.max_tokens
    lengths = (c.n_tokens for c in run.completions(columns=[]) if c.sample_index < plan.protocol.samples)
    return max(lengths, default=0)


def _check_fits(run: Run, plan: FollowPlan, served: int | None, rollouts: bool) -> None:
    limits = [limit for limit in (run.model_card.max_model_len, served) if limit is not None]
    longest = context_needed(run, plan, rollouts)
    if limits and longest > min(limits):
        raise UserError(
            f"{run.path}: {plan.kind}: the longest prompt with its completion may have {longest} tokens "
            f"({_longest_prompt(run)} of the chat prompt, {_longest_trace(run, plan, rollouts)} of the longest trace), "
            f"but the context holds {min(limits)}: lower --answer-tokens or the caps on thinking, or serve the model "
            "with a longer context"
        )


def is_complete(run: Run, plan: FollowPlan) -> bool:
    """Whether everything that a plan promises is stored."""
    for variant in run.variants(plan.kind):
        if variant.name == plan.name:
            enough = all(variant.promise.get(name, 0) >= count for name, count in plan.promise.items())
            return enough and _stands(run, variant)
    return False


def _stands(run: Run, variant: Variant) -> bool:
    complete = variant.complete
    return complete is not None and all(run.digest(stage) == known for stage, known in complete.items())


def first_prompt(run: Run, plans: Sequence[FollowPlan]) -> tuple[list[int], str]:
    """The first prompt that would be sent, as ids and as text."""
    from extrap_eval.sampling.following import begun_traces

    for plan in plans:
        for trace, _ in begun_traces(run, [plan.protocol], None):
            for job in plan.protocol.jobs(trace, ()):
                ids = job.request.prompt_token_ids
                table = run.token_table()
                return ids.tolist(), "" if table is None else table.decode(ids)
    return [], ""


def siblings(run: Run, plan: FollowPlan) -> str | None:
    """How a plan differs from the variants of its kind that are there, for a notice; None when it is one of them or
    the first.
    """
    from extrap_eval.store.distribution import differences

    others = run.variants(plan.kind)
    if not others or plan.name in [other.name for other in others]:
        return None
    nearest = others[-1]
    return f"another variant beside {nearest.name} ({differences(nearest.settings, plan.settings)})"


def find_variant(run: Run, kind: str, name: str | None = None) -> Variant:
    """The variant called ``name``, or the only one of a kind ("probe-episodes", "probe-budgets", "force", "slide").

    Raises UserError when there is none, or when there are several and none is named.
    """
    from extrap_eval.store.distribution import differences

    found = run.variants(kind)
    if name is not None:
        for variant in found:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in found) or "none"
        raise UserError(f"{run.path}: no variant {name} of kind {kind} (there: {known})")
    if not found:
        command = {"probe-episodes": "probe --at episodes", "probe-budgets": "probe --at budgets"}.get(kind, kind)
        raise UserError(f"{run.path}: nothing of kind {kind} yet: run extrap-eval {command} {run.path}")
    if len(found) > 1:
        first, *others = found
        shown = [f"{other.name} ({differences(first.settings, other.settings)})" for other in others]
        raise UserError(f"{run.path}: several variants: {first.name}, {', '.join(shown)}: choose one with --variant")
    return found[0]


def refuse_incomplete(run: Run, variant: Variant) -> None:
    """Raises UserError unless everything that the variant promises is stored."""
    if not _stands(run, variant):
        raise UserError(
            f"{run.path}: {variant.name} is not complete: repeat the command that made it, it asks for the rest alone"
        )

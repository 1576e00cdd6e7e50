"""Sample every promised completion of one model on one benchmark into a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.steps.interrupts import blocking

if TYPE_CHECKING:
    from extrap_eval.cards.schema import BenchmarkCard, ModelCard
    from extrap_eval.engines.base import Engine
    from extrap_eval.problems.problem import Problem
    from extrap_eval.sampling.rollouts import Progress, SamplingReport
    from extrap_eval.scoring.tokens import TokenTable
    from extrap_eval.store import Run

IN_FLIGHT = 256  # requests at once, for engines that do not know how many keep them full


@dataclass(frozen=True)
class SamplingPlan:
    """What will be asked of the engine: everything of a run except where it is kept and who answers."""

    model: ModelCard
    benchmark: BenchmarkCard
    problems: list[Problem]
    prompts: dict[str, np.ndarray]  # problem id -> int32 prompt token ids
    tokenizer: Any
    token_table: TokenTable | None  # None: the tokenizer's decoder is not tabular, completions keep their text
    end_tokens: tuple[int, ...]
    n: int
    weights: str | None = None  # folder or hub id, for an engine that loads the model itself; None: there are none
    top_logprobs: int = 0  # of so many most probable tokens, for what is kept of each token's distribution

    @property
    def longest_prompt(self) -> int:
        return max(len(ids) for ids in self.prompts.values())

    @property
    def first_prompt(self) -> str:
        """The first problem's prompt, exactly as it will be sent."""
        return self.tokenizer.decode(self.prompts[self.problems[0].id], skip_special_tokens=False)


def plan_sampling(
    model: str,
    benchmark: str | None,
    *,
    problems_file: Path | None = None,
    tokenizer: str | None = None,
    n: int | None = None,
    budget_max: int | None = None,
    limit: int | None = None,
    sampling: dict[str, float | int] | None = None,
    top_logprobs: int = 0,
) -> SamplingPlan:
    """Resolve cards, load problems and build every prompt.

    ``model`` and ``benchmark`` are card names or paths; ``model`` may also be a plain hub id or a folder with a
    tokenizer, which gets a default card. ``problems_file`` replaces the benchmark. ``sampling`` overrides
    temperature, top_p, top_k. ``budget_max`` overrides the card's max_new_tokens; ``limit`` keeps the first problems.
    ``top_logprobs``: ask for the log-probabilities of so many most probable tokens at every position, and keep entropy,
    branching and covered mass of each (``scoring.distributions``).

    Raises UserError for anything in cards, problems or tokenizer that does not fit together.
    """
    from extrap_eval.cards.load import load_benchmark_card
    from extrap_eval.problems.files import problems_from_jsonl
    from extrap_eval.problems.load import load_problems
    from extrap_eval.prompts.chat import prompt_token_ids
    from extrap_eval.prompts.tokenizer import end_token_ids
    from extrap_eval.scoring.tokens import NotTabular, TokenTable

    if (benchmark is None) == (problems_file is None):
        raise UserError("give either --benchmark CARD or --problems FILE, one of the two")
    card, loaded_tokenizer = model_and_tokenizer(model, tokenizer)
    card = overridden(card, n=n, budget_max=budget_max, sampling=sampling or {})
    if problems_file is not None:
        benchmark_card, problems = problems_from_jsonl(problems_file)
    else:
        assert benchmark is not None
        benchmark_card = load_benchmark_card(benchmark)
        problems = load_problems(benchmark_card)
    if limit is not None:
        problems = problems[:limit]

    prompts = {p.id: prompt_token_ids(loaded_tokenizer, card, benchmark_card, p) for p in problems}
    try:
        table: TokenTable | None = TokenTable.from_tokenizer(loaded_tokenizer)
    except NotTabular:
        table = None
    return SamplingPlan(
        model=card,
        benchmark=benchmark_card,
        problems=problems,
        prompts=prompts,
        tokenizer=loaded_tokenizer,
        token_table=table,
        end_tokens=end_token_ids(loaded_tokenizer, card),
        n=card.n,
        weights=weights_of(model, card),
        top_logprobs=top_logprobs,
    )


def weights_of(model: str, card: ModelCard) -> str | None:
    """Where the weights of ``model``, as the user named it, lie: a folder or a hub id."""
    from extrap_eval.reference_models import located

    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():  # and not a run, say, that has the model's name
        return str(folder)
    return located(card.hf_id) if card.hf_id else None


def model_and_tokenizer(model: str, tokenizer: str | None) -> tuple[ModelCard, Any]:
    from extrap_eval.cards.load import load_model_card
    from extrap_eval.prompts.tokenizer import load_tokenizer
    from extrap_eval.prompts.unlisted import card_for_unlisted_model

    try:
        card = load_model_card(model)
    except UserError:
        if "/" not in model or model.endswith((".yaml", ".yml")):
            raise
        return card_for_unlisted_model(model, tokenizer)
    return card, load_tokenizer(card, tokenizer)


def overridden(
    card: ModelCard, *, n: int | None, budget_max: int | None, sampling: dict[str, float | int]
) -> ModelCard:
    from extrap_eval.cards.load import changed

    changes: dict[str, Any] = {}
    if n is not None:
        changes["n"] = n
    if budget_max is not None:
        changes["max_new_tokens"] = budget_max
    if sampling:
        changes["sampling"] = {**card.sampling.model_dump(), **sampling}
    return changed(card, changes)


def prepare_run(plan: SamplingPlan, out: Path) -> Run:
    """Create the run directory, or re-open it when it asks for the same thing (topping up when n grew)."""
    from extrap_eval.store import create_run

    return create_run(
        out,
        model_card=plan.model,
        benchmark_card=plan.benchmark,
        problems=plan.problems,
        prompts=plan.prompts,
        token_table=plan.token_table,
        settings={
            "temperature": plan.model.sampling.temperature,
            "top_p": plan.model.sampling.top_p,
            "top_k": plan.model.sampling.top_k,
            "max_tokens": plan.model.max_new_tokens,
            "stop_token_ids": plan.end_tokens,
            "logprobs": plan.top_logprobs,  # changes nothing of what is sampled, so it may differ between invocations
        },
        n=plan.n,
    )


def open_engine(
    kind: str,
    plan: SamplingPlan,
    *,
    endpoints: Sequence[str] = (),
    served_model: str | None = None,
    max_in_flight: int | None = None,
    patience_seconds: float | None = None,
    device: str = "auto",
) -> Engine:
    """The engine called ``kind``: "markov", "local" (transformers in this process, on ``device``), or "http" (vLLM,
    SGLang or any OpenAI-compatible completion server). ``max_in_flight``: requests at once (None: for servers as many
    as keep them full, see HttpEngine).
    """
    if kind == "markov":
        from extrap_eval.engines.markov import MarkovEngine, MarkovPolicy

        if plan.model.policy is None:
            raise UserError(f"{plan.model.name}: --engine markov needs a model card with a policy, such as markov")
        return MarkovEngine(MarkovPolicy(**plan.model.policy))  # type: ignore[arg-type]
    if kind == "local":
        from extrap_eval.engines.local import LocalEngine

        if plan.weights is None:
            raise UserError(
                f"{plan.model.name}: --engine local needs weights: set hf_id in the card, or name a hub id or a folder"
            )
        return LocalEngine(
            plan.weights,
            revision=plan.model.revision,
            device=device,
            dtype=plan.model.engine.dtype,
            batch_size=max_in_flight or IN_FLIGHT,
        )
    if kind != "http":
        raise UserError(f"--engine: {kind} is not one of vllm, sglang, ray:vllm, ray:sglang, http, local, markov")
    from extrap_eval.engines.http import HttpEngine

    if not endpoints:
        raise UserError("--engine http needs at least one --endpoint URL of a running server")
    return HttpEngine(
        endpoints,
        model=served_model,
        tokenizer=plan.tokenizer,
        max_in_flight=max_in_flight,
        patience_seconds=patience_seconds,
    )


async def sampling(
    plan: SamplingPlan,
    run: Run,
    engine: Engine,
    *,
    concurrency: int = IN_FLIGHT,
    seed: int | None = None,
    progress: Progress | None = None,
) -> SamplingReport:
    """Sample what the run still misses; every finished completion is on disk before it is counted.

    ``seed`` sends one derived seed per request (needs an engine that honours it); None sends none.
    Raises UserError when prompt + budget do not fit into the model's context, or the engine cannot be reached.
    ``sample`` is the same, run to its end.
    """
    from extrap_eval.sampling.rollouts import sample_rollouts

    async with engine as ready:
        _check_context(plan, ready.info.context_length)
        run.record_engine(ready.info)
        return await sample_rollouts(
            run,
            ready,
            concurrency=concurrency,
            seeded=seed,
            top_logprobs=plan.top_logprobs,
            progress=progress,
        )


sample = blocking(sampling)


def _check_context(plan: SamplingPlan, served: int | None) -> None:
    limits = [x for x in (plan.model.max_model_len, served) if x is not None]
    if limits and plan.longest_prompt + plan.model.max_new_tokens > min(limits):
        raise UserError(
            f"{plan.model.name}: the longest prompt has {plan.longest_prompt} tokens and max_new_tokens is "
            f"{plan.model.max_new_tokens}, but the context holds {min(limits)}: use --budget-max "
            f"{min(limits) - plan.longest_prompt} or a server with a longer context"
        )

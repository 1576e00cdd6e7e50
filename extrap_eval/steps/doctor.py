"""Everything that can be known before a long run: the card, the machine, the servers."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.preflight.check import Check, failed, ok, passed, refused, together, unchecked
from extrap_eval.steps.interrupts import run_to_the_end
from extrap_eval.steps.sample import SamplingPlan, model_and_tokenizer, overridden, weights_of
from extrap_eval.steps.servers import ServerOptions, server_spec

if TYPE_CHECKING:
    from extrap_eval.cards.schema import BenchmarkCard, ModelCard
    from extrap_eval.engines.http.probe import ServerKind
    from extrap_eval.engines.servers.launch import EngineKind, ServerSpec
    from extrap_eval.engines.servers.layout import Share
    from extrap_eval.preflight.subject import Subject
    from extrap_eval.problems.problem import Problem

CARD, BENCHMARK, ENGINE, START = "model card", "benchmark", "engine", "start of one server"
_QUESTION = "What is 12 + 30?"

Engine = Literal["http", "vllm", "sglang", "local", "markov"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What a run would be given: as the options of ``extrap-eval sample``. ``start``: for vllm and sglang without
    endpoints, start one server here, ask it, and end it again.
    """

    model: str
    benchmark: str | None = None
    engine: str | None = None
    endpoints: tuple[str, ...] = ()
    served_model: str | None = None
    tokenizer: str | None = None
    n: int | None = None
    budget_max: int | None = None
    concurrency: int | None = None
    servers: ServerOptions = field(default_factory=ServerOptions)
    out: Path = Path("runs")
    start: bool = True


def examine(question: Question, say: Say = lambda line: None) -> tuple[Check, ...]:
    """All checks, in the order in which a run would meet what they are about.

    ``say`` hears what takes long. Raises UserError only for options that contradict each other.
    """
    kind = _engine(question)
    checks: list[Check] = []
    subject = _subject(question, checks)
    if subject is None:
        return tuple(checks)
    from extrap_eval.preflight import here

    kind = kind or ("markov" if subject.card.policy is not None else None)
    if kind is None:
        checks.append(unchecked(ENGINE, "none is named: give --engine, or --endpoint URL of a running server"))
    elif kind == "local":
        checks += here.local(subject, question.concurrency)
    elif kind == "markov":
        checks.append(here.markov(subject.card))
    elif kind == "http" or question.endpoints:
        checks += run_to_the_end(_ask(question, subject, question.endpoints, "auto" if kind == "http" else kind))
    else:
        checks += _here(question, subject, kind, say)
    return tuple(checks)


def _engine(question: Question) -> Engine | None:
    kind = question.engine or ("http" if question.endpoints else None)
    if kind is not None and kind not in get_args(Engine):
        raise UserError(f"--engine: {kind} is not one of {', '.join(get_args(Engine))}")
    if kind == "http" and not question.endpoints:
        raise UserError("--engine http needs at least one --endpoint URL of a running server")
    if kind in ("local", "markov") and question.endpoints:
        raise UserError(f"--endpoint: the {kind} engine asks no server; leave it out, or --engine")
    return cast(Engine | None, kind)


def _subject(question: Question, checks: list[Check]) -> Subject | None:
    """Card, tokenizer, prompts and the model's files; adds their checks. None without a card and tokenizer."""
    from extrap_eval.preflight.card import check_end_tokens, check_length, check_tokenizer, render_prompts
    from extrap_eval.preflight.files import ModelFiles, model_files
    from extrap_eval.preflight.space import disk_space
    from extrap_eval.preflight.subject import Subject

    try:
        card, tokenizer = model_and_tokenizer(question.model, question.tokenizer)
        card = overridden(card, n=question.n, budget_max=question.budget_max, sampling={})
    except UserError as error:
        checks.append(refused(CARD, error))
        return None
    checks += [ok(CARD, f"{card.name}: n {card.n}, {card.max_new_tokens:,} tokens"), check_tokenizer(tokenizer)]
    weights = weights_of(question.model, card)
    files = model_files(weights, card.revision) if weights else ModelFiles("", problem="the card names no weights")
    benchmark, problems, loaded = _problems(question.benchmark)
    checks.append(loaded)
    prompts = render_prompts(tokenizer, card, benchmark, problems)
    checks += [prompts.check, check_end_tokens(tokenizer, card, files)]
    if question.benchmark is not None and loaded.status == "ok":
        with_text = checks[1].status != "ok"
        checks.append(disk_space(question.out, len(problems) * card.n, card.max_new_tokens, with_text=with_text))
    if prompts.ids is None:  # the servers can be asked all the same
        prompts = replace(prompts, ids=_plain_prompts(tokenizer, card, benchmark, problems))
    checks.append(check_length(card, files, prompts))
    return Subject(card, tokenizer, weights, files, benchmark, prompts, question.benchmark is not None)


def _problems(name: str | None) -> tuple[BenchmarkCard, Sequence[Problem], Check]:
    """The benchmark's problems, or one question to go on with."""
    from extrap_eval.cards.load import load_benchmark_card
    from extrap_eval.cards.schema import BenchmarkCard
    from extrap_eval.problems.load import load_problems
    from extrap_eval.problems.problem import Problem

    one = BenchmarkCard.model_validate({"name": "one question", "source": {"generator": "multiplication"}})
    question = [Problem("question", _QUESTION, "42", "integer")]
    if name is None:
        return (
            one,
            question,
            unchecked(BENCHMARK, "none is named: give --benchmark to check its prompts"),
        )
    try:
        card = load_benchmark_card(name)
        problems = load_problems(card)
    except UserError as error:
        return one, question, refused(BENCHMARK, error)
    return card, problems, ok(BENCHMARK, f"{card.name}: {len(problems):,} problems")


def _plain_prompts(
    tokenizer: Any, card: ModelCard, benchmark: BenchmarkCard, problems: Sequence[Problem]
) -> dict[str, np.ndarray]:
    """Prompts of a card whose think block is wrong: without it, and without a template where that fails too."""
    from extrap_eval.cards.load import changed
    from extrap_eval.preflight.card import render_prompts

    rendered = render_prompts(tokenizer, changed(card, {"think": None}), benchmark, problems)
    if rendered.ids is not None:
        return rendered.ids
    return {p.id: np.asarray(tokenizer.encode(p.text, add_special_tokens=False), dtype=np.int32) for p in problems}


def _here(question: Question, subject: Subject, kind: EngineKind, say: Say) -> list[Check]:
    """A server of this machine's own: installed, with room, and started once to be asked."""
    from extrap_eval.engines.servers.layout import replica_layout, this_machine
    from extrap_eval.preflight import here

    options, machine = question.servers, this_machine()
    version, python = here.installed(kind, options.engine_python)
    try:
        spec = server_spec(_plan(subject), kind, options, python=python or kind)
        shares = replica_layout(
            machine, gpus=options.gpus, tensor_parallel=spec.tensor_parallel, replicas=options.replicas
        )
    except UserError as error:
        return [version, refused(ENGINE, error)]
    wanted = subject.wanted(
        servers=len(shares),
        concurrency=question.concurrency,
        arguments=spec.extra_args,
        tensor_parallel=spec.tensor_parallel,
        gpu_fraction=spec.memory_fraction,
    )
    checks = [version, here.memory(machine, shares, spec, subject, wanted)]
    if python is None or not question.start or not passed(checks):
        why = "not wanted (--no-start)" if not question.start else "it would not come up"
        return [*checks, unchecked(START, why)]
    return checks + run_to_the_end(_start_and_ask(question, subject, spec, shares[0], say))


def _plan(subject: Subject) -> SamplingPlan:
    """What would be sampled, as far as servers are started for it."""
    return SamplingPlan(
        model=subject.card,
        benchmark=subject.benchmark,
        problems=[],
        prompts=subject.prompts.ids or {},
        tokenizer=subject.tokenizer,
        token_table=None,
        end_tokens=(),
        n=subject.card.n,
        weights=subject.weights,
    )


async def _start_and_ask(question: Question, subject: Subject, spec: ServerSpec, share: Share, say: Say) -> list[Check]:
    from extrap_eval.engines.servers.replica import ServerFailed
    from extrap_eval.preflight.here import one_server

    with tempfile.TemporaryDirectory(prefix="extrap-eval-doctor-") as folder:
        began = time.monotonic()
        try:
            async with one_server(spec, share, Path(folder) / "server.log", say) as (url, key):
                started = ok(START, f"{spec.kind} on {share} answered after {time.monotonic() - began:.0f} s")
                asked = replace(question, served_model=None)
                return [started, *await _ask(asked, subject, [url], spec.kind, key)]
        except ServerFailed as error:
            for line in error.tail:
                say(line)
            reason = error.reason.partition(" (log: ")[0]  # the log goes with its folder
            return [failed(START, reason, "mend what the end of its log says, shown above")]


async def _ask(
    question: Question, subject: Subject, endpoints: Sequence[str], kind: ServerKind, api_key: str | None = None
) -> list[Check]:
    """What the servers themselves say and do."""
    from extrap_eval.engines.http.connection import parse_address
    from extrap_eval.preflight.exchange import Asked
    from extrap_eval.preflight.server import Expected, check_servers
    from extrap_eval.prompts.tokenizer import end_token_ids

    key = api_key or os.environ.get("EXTRAP_EVAL_API_KEY")
    addresses = {address.base: address for address in (parse_address(text, key) for text in endpoints)}
    try:
        end_tokens = end_token_ids(subject.tokenizer, subject.card)
    except UserError:  # said already
        end_tokens = subject.files.end_tokens or ()
    assert subject.prompts.ids is not None
    expected = Expected(
        asked=Asked(subject.card, subject.tokenizer, end_tokens, next(iter(subject.prompts.ids.values()))),
        weights=subject.weights,
        longest_prompt=subject.longest_prompt,
        exact_prompts=subject.exact_prompts,
        max_new_tokens=subject.card.max_new_tokens,
        wanted=subject.wanted(servers=len(addresses), concurrency=question.concurrency),
    )
    checks = await check_servers(
        list(addresses.values()), expected, model=question.served_model, kind=kind, salt=random.getrandbits(63)
    )
    return together(checks)

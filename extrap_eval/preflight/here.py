"""An engine that would run on this machine: is it installed, does the model fit, does a server start?"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.engines.servers.installation import find_engine
from extrap_eval.engines.servers.launch import EngineKind, ServerSpec, server_command
from extrap_eval.engines.servers.layout import Machine, Share
from extrap_eval.errors import UserError
from extrap_eval.preflight.cache import NotKnown, cache_shape
from extrap_eval.preflight.check import Check, failed, ok, refused, unchecked
from extrap_eval.preflight.memory import CPU_NAME, Wanted, cpu_memory, gpu_memory
from extrap_eval.preflight.subject import Subject
from extrap_eval.preflight.versions import NAME as VERSION
from extrap_eval.preflight.versions import check_version

if TYPE_CHECKING:
    from extrap_eval.cards.schema import ModelCard

GIB = 1 << 30


def installed(kind: EngineKind, python: Path | None) -> tuple[Check, str | None]:
    """The engine's version in its environment, and the interpreter of that; None where there is none."""
    try:
        found = find_engine(kind, python)
    except UserError as error:
        return refused(VERSION, error), None
    return check_version(kind, found.version, f"in {found.python}"), found.python


def memory(machine: Machine, shares: tuple[Share, ...], spec: ServerSpec, subject: Subject, wanted: Wanted) -> Check:
    """Weights and cache of every replica against the GPUs, or the memory, of this machine."""
    if shares[0].gpus:
        return gpu_memory(machine, shares, subject.files, wanted)
    import psutil

    available = psutil.virtual_memory().available
    cache = _cpu_cache(spec, shares[0], subject, wanted)
    return cpu_memory(available, cache, len(shares), subject.files, wanted)


def _cpu_cache(spec: ServerSpec, share: Share, subject: Subject, wanted: Wanted) -> int:
    """Bytes of cache with which a replica is started on a CPU, read off its command."""
    plan = server_command(spec, share, port=0, seed=0)
    if spec.kind == "vllm":
        return int(plan.env["VLLM_CPU_KVCACHE_SPACE"]) * GIB * spec.tensor_parallel
    tokens = int(plan.argv[plan.argv.index("--max-total-tokens") + 1])
    try:
        return tokens * cache_shape(subject.files.config or {}, wanted.cache_dtype).per_token()
    except NotKnown:
        return 0


@asynccontextmanager
async def one_server(
    spec: ServerSpec, share: Share, log: Path, say: Callable[[str], None]
) -> AsyncIterator[tuple[str, str]]:
    """A server that answers, ended again whatever happens: its URL and its API key. ``say`` hears what it is doing
    whenever that is something else.

    Raises ServerFailed when it does not start.
    """
    from extrap_eval.engines.servers.replica import LocalReplica

    said = ""

    def say_what_is_new(words: str) -> None:
        nonlocal said
        if words and words != said:
            said = words
            say(words)

    key = secrets.token_urlsafe(24)
    replica = LocalReplica(spec, share, number=0, log=log, api_key=key)
    try:
        yield await replica.start(say_what_is_new), key
    finally:
        await replica.stop(at_once=True)


def local(subject: Subject, concurrency: int | None) -> list[Check]:
    """transformers in this process."""
    name = "engine version"
    if subject.weights is None:
        return [failed(name, "the card names no weights", "set hf_id in the card")]
    try:
        found = f"torch {version('torch')}, transformers {version('transformers')}"
    except PackageNotFoundError as error:
        return [failed(name, f"{error.name} is not installed", "pip install 'extrap-eval[local]'")]
    return [ok(name, found), _local_memory(subject, concurrency)]


def _local_memory(subject: Subject, concurrency: int | None) -> Check:
    import psutil
    import torch

    from extrap_eval.engines.local.room import SHARE

    if torch.cuda.is_available():
        free, where = torch.cuda.mem_get_info()[0], torch.cuda.get_device_name()
    else:
        free, where = psutil.virtual_memory().available, "this machine"
    wanted = subject.wanted(servers=1, concurrency=concurrency)
    weights = subject.files.served_bytes(wanted.dtype)
    if weights is None:
        return unchecked(CPU_NAME, subject.files.problem or "the size of the weights is not known")
    return cpu_memory(int(free), int(SHARE * max(0, free - weights)), 1, subject.files, wanted, where=where)


def markov(card: ModelCard) -> Check:
    """A policy needs nothing but itself."""
    if card.policy is None:
        return failed(
            "engine", f"card {card.name} has no policy", "use a card with one, such as markov, or another --engine"
        )
    return ok("engine", "markov: the card's policy is the model; nothing is loaded and no server is asked")

"""Whether several servers would sample the same completions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import combinations

from extrap_eval.engines.base import EngineError
from extrap_eval.engines.http.connection import Connection, Fault
from extrap_eval.engines.http.probe import Served
from extrap_eval.errors import UserError
from extrap_eval.preflight.check import Check, ok, unchecked, warning
from extrap_eval.preflight.exchange import Asked, complete

NAME = "seeds"
TOKENS = 160  # more than the words with which a model begins whatever the seed
MEND = "start each server with a seed of its own (vLLM: --seed; SGLang: --random-seed)"


async def check_seeds(servers: Sequence[tuple[Connection, Served, Mapping[str, str]]], asked: Asked) -> Check:
    """Two or more servers. By the seed where the server tells it (SGLang), else by the same question to each, at
    temperature 1: servers started with one seed answer alike as long as they have been asked alike.
    """
    where = [connection.base for connection, _, _ in servers]
    seeds = [facts.get("random_seed") for _, _, facts in servers]
    for one, other in combinations(range(len(servers)), 2):
        if seeds[one] is not None and seeds[one] == seeds[other]:
            return warning(NAME, f"{where[one]} and {where[other]} were started with the seed {seeds[one]}", MEND)
    if any(served.dialect.tokenizer is not None for _, served, _ in servers):
        return unchecked(NAME, "text-only servers")
    request = asked.request(asked.prompt, TOKENS, temperature=1.0, top_p=1.0, top_k=-1)
    try:
        first = await asyncio.gather(*(complete(c, served, request) for c, served, _ in servers))
        second = await asyncio.gather(*(complete(c, served, request) for c, served, _ in servers))
    except (Fault, UserError, EngineError, TimeoutError) as error:
        return unchecked(NAME, str(error) or "no answer")
    told = [tuple(got.token_ids.tobytes() for got, _ in pair) for pair in zip(first, second, strict=True)]
    if any(one == two for one, two in told):
        return unchecked(NAME, "the model is too certain: one server repeats itself at temperature 1")
    for one, other in combinations(range(len(servers)), 2):
        if told[one] == told[other]:
            return warning(
                NAME, f"{where[one]} and {where[other]} sample the same completions: their seeds are equal", MEND
            )
    return ok(NAME, f"{len(servers)} servers sample differently")

"""A running server against what a run would ask of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from extrap_eval.engines.http.connection import Address, Connection, Fault, new_session
from extrap_eval.engines.http.probe import Served, ServerKind, identify
from extrap_eval.errors import UserError
from extrap_eval.preflight import exchange
from extrap_eval.preflight.check import Check, failed, ok, refused, unchecked, warning
from extrap_eval.preflight.exchange import Asked
from extrap_eval.preflight.memory import Wanted, cache_of_server
from extrap_eval.preflight.seeds import check_seeds
from extrap_eval.preflight.tokens import NAME as TOKENIZER
from extrap_eval.preflight.tokens import same_tokenizer
from extrap_eval.preflight.versions import check_version

SERVER, MODEL, CONTEXT, ROOM = "server", "served model", "context", "server's cache"
_START = "start it, wait until it is ready, or correct the URL"
_FURTHER = (MODEL, CONTEXT, ROOM, TOKENIZER, exchange.IDS, exchange.END, exchange.CACHE)

_CACHE_CONFIG = re.compile(rb"^vllm:cache_config_info\{([^}]*)\}", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Expected:
    """What a run would ask. ``weights``: the folder or hub id that the card names, None where it names none;
    ``longest_prompt`` in tokens, ``exact_prompts`` when it is that of a benchmark rather than of one question.
    """

    asked: Asked
    weights: str | None
    longest_prompt: int
    exact_prompts: bool
    max_new_tokens: int
    wanted: Wanted


@dataclass(frozen=True)
class Met:
    """A server that answered. ``facts``: what it says of its own settings, under its own names."""

    connection: Connection
    served: Served
    facts: dict[str, str]


async def check_servers(
    addresses: Sequence[Address], expected: Expected, *, model: str | None, kind: ServerKind, salt: int
) -> list[Check]:
    """All checks of all servers. ``salt`` makes the prompts of the cache check new to them."""
    async with new_session() as session:
        connections = [Connection(session, address) for address in addresses]
        meetings = await asyncio.gather(*(_meet(c, expected.asked, model, kind) for c in connections))
        met = [meeting for meeting in meetings if isinstance(meeting, Met)]
        checks = [check for meeting in meetings if isinstance(meeting, list) for check in meeting]
        # First of all: servers with equal seeds answer alike only as long as they have been asked alike.
        of_all = await _of_all(met, expected.asked)
        for one in await asyncio.gather(*(_of_one(server, expected, salt) for server in met)):
            checks += one
    return checks + of_all


async def _meet(connection: Connection, asked: Asked, model: str | None, kind: ServerKind) -> Met | list[Check]:
    """The server, or why it cannot be asked."""
    try:
        served = await identify(connection, kind=kind, model=model, tokenizer=asked.tokenizer)
    except Fault as fault:
        checks = [failed(SERVER, exchange.words(fault, connection), _START)]
    except UserError as error:
        checks = [refused(SERVER, exchange.words(error, connection))]
    else:
        return Met(connection, served, await _facts(connection, served))
    return _placed(checks + [unchecked(name, "the server cannot be asked") for name in _FURTHER], connection)


async def _of_one(server: Met, expected: Expected, salt: int) -> list[Check]:
    connection, served, asked = server.connection, server.served, expected.asked
    kind, version = served.dialect.kind, served.version
    checks = [
        ok(SERVER, f"{kind} {version or '(version not said)'} serves {served.model}"),
        check_version(kind, version, "at the server"),
        _served_model(server, expected.weights),
        _context(served, expected),
        _cache_room(server, expected.wanted),
        await same_tokenizer(connection, served, asked.tokenizer, asked.card),
        await exchange.token_ids(connection, served, asked),
        await exchange.end_of_completion(connection, served, asked),
        await exchange.prefix_cache(connection, served, asked, salt),
    ]
    return _placed(checks, connection)


async def _of_all(met: Sequence[Met], asked: Asked) -> list[Check]:
    if len(met) < 2:
        return []
    kinds = {(server.served.dialect.kind, server.served.model) for server in met}
    if len(kinds) > 1:
        said = " and ".join(sorted(f"{model} ({kind})" for kind, model in kinds))
        return [failed(MODEL, f"the servers do not serve the same: {said}", "start all with one model on one engine")]
    return [await check_seeds([(s.connection, s.served, s.facts) for s in met], asked)]


def _served_model(server: Met, weights: str | None) -> Check:
    root = server.facts.get("model_path") or server.facts.get("root")
    if weights is None or root is None:
        why = "the card names no weights" if weights is None else "the server does not say what it loaded"
        return unchecked(MODEL, why)
    if same_place(root, weights):
        return ok(MODEL, f"it loaded {root}")
    return warning(
        MODEL,
        f"it loaded {root}, the card is of {weights}",
        "start the server with the card's model, or choose the card of what it serves (a renamed copy is fine)",
    )


def same_place(root: str, weights: str) -> bool:
    """Whether two folders or hub ids name the same model, a copy of a folder under its own name included."""
    if root.lower().rstrip("/") == weights.lower().rstrip("/"):
        return True
    ours, theirs = Path(weights).expanduser(), Path(root)
    if ours.is_dir() and theirs.is_dir() and ours.samefile(theirs):
        return True
    return ours.name.lower() == theirs.name.lower()


def _context(served: Served, expected: Expected) -> Check:
    needed = expected.longest_prompt + expected.max_new_tokens
    prompt = "the longest prompt" if expected.exact_prompts else "a short prompt"
    asked = f"{prompt} has {expected.longest_prompt:,} tokens, the budget is {expected.max_new_tokens:,}"
    if served.context_length is None:
        return unchecked(CONTEXT, f"the server does not say how long its context is; {asked}")
    if served.context_length < needed:
        shorter = served.context_length - expected.longest_prompt
        option = {"vllm": "--max-model-len", "sglang": "--context-length"}.get(served.dialect.kind, "a context of")
        return failed(
            CONTEXT,
            f"the server's context holds {served.context_length:,} tokens, but {asked}",
            f"start it with {option} {needed}" + (f", or use --budget-max {shorter}" if shorter > 0 else ""),
        )
    return ok(CONTEXT, f"the server's context holds {served.context_length:,} tokens; {asked}")


def _cache_room(server: Met, wanted: Wanted) -> Check:
    said = server.facts.get("kv_cache_size_tokens") or server.facts.get("max_total_num_tokens")
    if said is None or not said.isdecimal():
        return unchecked(ROOM, "the server does not say how many tokens its cache holds")
    return cache_of_server(ROOM, int(said), wanted)


async def _facts(connection: Connection, served: Served) -> dict[str, str]:
    """vLLM tells its cache settings among its metrics, SGLang everything on a page; others nothing."""
    try:
        facts: dict[str, str] = {}
        models = orjson.loads(await connection.get("/v1/models") or b"{}")
        for entry in models.get("data") or []:
            if entry.get("id") == served.model and entry.get("root"):
                facts["root"] = str(entry["root"])
        if served.dialect.kind == "vllm":
            page = _CACHE_CONFIG.search(await connection.get("/metrics") or b"")
            facts |= dict(_LABEL.findall(page[1].decode())) if page else {}
        if served.dialect.kind == "sglang":
            told: Any = orjson.loads(await connection.get("/server_info") or b"{}")
            facts |= {name: str(value) for name, value in told.items() if isinstance(value, str | int | bool)}
        return facts
    except (Fault, UserError, orjson.JSONDecodeError, AttributeError, TypeError):
        return {}


def _placed(checks: Sequence[Check], connection: Connection) -> list[Check]:
    return [replace(check, where=(connection.base,)) for check in checks]

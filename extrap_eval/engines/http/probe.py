"""What a URL serves: the kind of server, its model and version, its context length, and whether it shows
progress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from extrap_eval.engines.http.answers import PROGRESS_UNKNOWN, Dialect, Load, ServedKind, TextTokenizer
from extrap_eval.engines.http.connection import Connection, NotThere
from extrap_eval.engines.http.openai import OpenAI
from extrap_eval.engines.http.sglang import Sglang
from extrap_eval.engines.http.vllm import Vllm
from extrap_eval.errors import UserError

ServerKind = Literal["auto"] | ServedKind

_INFO_PAGES = ("/model_info", "/get_model_info")  # SGLang's, new and old name
_GATEWAY_PAGE = "/get_server_info"  # where sglang-router and smg describe themselves
_VERSION_PAGES: dict[ServedKind, tuple[str, ...]] = {
    "vllm": ("/version",),
    "sglang": ("/server_info", "/get_server_info"),
    "openai": (),
}


@dataclass(frozen=True)
class Served:
    """What one server said of itself. ``model`` is the name it wants in requests, ``names`` are all that it has
    for its models.
    """

    dialect: Dialect
    model: str
    version: str | None
    context_length: int | None
    shows_progress: bool
    names: frozenset[str] = frozenset()
    load: Load | None = None  # when it was met; None where it shows no progress


async def identify(
    connection: Connection, *, kind: ServerKind, model: str | None, tokenizer: TextTokenizer | None
) -> Served:
    """Ask the server who it is.

    Raises Fault when it does not answer or is not healthy, UserError when it serves something else than
    asked for.
    """
    entries = await _models(connection)
    found = kind if kind != "auto" else await _recognise(connection, entries)
    if found != "openai":
        await connection.get("/health")  # a dead engine behind a living front says so here
    entry = _choose_model(connection.base, entries, model)
    dialect = _dialect(connection.base, found, tokenizer)
    length = entry.get("max_model_len")
    load = await _load(connection, dialect)
    return Served(
        dialect=dialect,
        model=entry["id"],
        version=await _version(connection, found),
        context_length=int(length) if length else None,
        shows_progress=load is not None,
        names=frozenset(listed["id"] for listed in entries),
        load=load,
    )


async def _models(connection: Connection) -> list[dict[str, Any]]:
    said = await _json(connection, "/v1/models")
    entries = said.get("data") if isinstance(said, dict) else None
    return [e for e in entries or [] if isinstance(e, dict) and isinstance(e.get("id"), str)]


async def _recognise(connection: Connection, entries: list[dict[str, Any]]) -> ServedKind:
    """vLLM and SGLang sign their model list; a gateway before SGLang may not, but passes its information
    page.
    """
    owners = {entry.get("owned_by") for entry in entries}
    if "vllm" in owners:
        return "vllm"
    if "sglang" in owners:
        return "sglang"
    for page in _INFO_PAGES:
        said = await _json(connection, page)
        if isinstance(said, dict) and "model_path" in said:
            return "sglang"
    said = await _json(connection, _GATEWAY_PAGE)
    if isinstance(said, dict) and "router_manager" in said:
        return await _behind_gateway(connection)
    if not entries:
        raise UserError(
            f"{connection.base}: not recognised as an inference server (no model list at /v1/models); "
            "check the URL, or name the kind of server"
        )
    return "openai"


async def _behind_gateway(connection: Connection) -> ServedKind:
    """sglang-router and smg take prompts of token ids for SGLang's own route alone, which vLLM does not have."""
    try:
        await connection.post(Sglang.path, {"input_ids": [1], "sampling_params": {"max_new_tokens": 1}})
    except (NotThere, UserError):
        raise UserError(
            f"{connection.base} is a gateway (sglang-router or smg) that refuses prompts of token ids for the servers "
            "behind it: name these servers themselves, each with --endpoint, or use vllm-router"
        ) from None
    return "sglang"


def _choose_model(base: str, entries: list[dict[str, Any]], model: str | None) -> dict[str, Any]:
    names = ", ".join(sorted(entry["id"] for entry in entries)[:8]) or "nothing that it lists"
    if model is not None:
        for entry in entries:
            if model in (entry["id"], entry.get("root")):
                return entry
        if not entries:  # a gateway without a model list: the name goes into every request and is checked there
            return {"id": model}
        raise UserError(f"{base} serves {names}, not {model}: ask for a model it serves, or start a server with it")
    if entries and len({entry.get("root") or entry["id"] for entry in entries}) == 1:
        return entries[0]
    raise UserError(f"{base} serves {names}: say which one with --served-model")


def _dialect(base: str, kind: ServedKind, tokenizer: TextTokenizer | None) -> Dialect:
    if kind == "vllm":
        return Vllm()
    if kind == "sglang":
        return Sglang()
    if tokenizer is None:
        raise UserError(
            f"{base} is a text-only completion server: a tokenizer is needed to count its tokens; "
            "name one with --tokenizer, or use a vLLM or SGLang server"
        )
    return OpenAI(tokenizer)


async def _version(connection: Connection, kind: ServedKind) -> str | None:
    for page in _VERSION_PAGES[kind]:
        said = await _json(connection, page)
        if isinstance(said, dict) and "version" in said:
            return str(said["version"])
    return None


async def _load(connection: Connection, dialect: Dialect) -> Load | None:
    try:
        return await dialect.progress(connection)
    except PROGRESS_UNKNOWN:  # a proxy may guard the page: then there is nothing to watch
        return None


async def _json(connection: Connection, path: str) -> Any:
    page = await connection.get(path)
    try:
        return None if page is None else orjson.loads(page)
    except orjson.JSONDecodeError:
        return None

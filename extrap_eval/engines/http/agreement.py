"""What the servers of one engine have in common, and which requests that rules out."""

from __future__ import annotations

from collections.abc import Sequence

from extrap_eval.engines.base import EngineInfo, GenerationRequest
from extrap_eval.engines.http.routing import Endpoint
from extrap_eval.errors import UserError


def agree(so_far: EngineInfo | None, endpoints: Sequence[Endpoint], new: Endpoint) -> EngineInfo:
    """What is true of ``endpoints``, described by ``so_far`` (None: there were none yet), and of ``new``.

    Raises UserError unless it is one model on one kind of server.
    """
    served = new.served
    info = EngineInfo(
        kind=served.dialect.kind,
        version=served.version,
        model=served.model,
        context_length=served.context_length,
        exact_token_ids=served.dialect.tokenizer is None,
    )
    if so_far is None:
        return info
    for what, ours, theirs in (
        ("model", so_far.model, info.model),
        ("kind of server", so_far.kind, info.kind),
    ):
        if ours != theirs:
            others = ", ".join(e.base for e in endpoints) or "the servers before"
            raise UserError(
                f"{others} and {new.base} differ in the {what} ({ours}, {theirs}): all endpoints must serve the same"
            )
    all_served = [e.served for e in endpoints] + [served]
    versions = sorted({s.version for s in all_served if s.version is not None})
    lengths = [s.context_length for s in all_served if s.context_length is not None]
    return EngineInfo(
        kind=info.kind,
        version=", ".join(versions) or None,
        model=info.model,
        context_length=min(lengths, default=None),
        exact_token_ids=info.exact_token_ids,
    )


def refuse_impossible(request: GenerationRequest, info: EngineInfo) -> None:
    """UserError for what no server of these can do as asked."""
    if request.top_logprobs and not info.exact_token_ids:
        raise UserError(
            f"top_logprobs: {request.top_logprobs}: the server of {info.model} gives no token ids, without which "
            "log-probabilities belong to no token: use a vLLM or SGLang server, or the local engine"
        )
    # A completion that is given is a prompt for the server, which generates one token after it.
    prompt = len(request.prompt_token_ids) + (request.given_token_ids is not None)
    limit = info.context_length
    if limit is not None and prompt + request.max_tokens > limit:
        shorter = f"use --budget-max {limit - prompt} or " if limit > prompt else ""
        raise UserError(
            f"{prompt} prompt + {request.max_tokens} completion tokens do not fit the context of {limit} "
            f"tokens of {info.model}: {shorter}restart the server with a context of at least "
            f"{prompt + request.max_tokens}"
        )

"""When an answer may be believed.

Servers clamp, truncate and stop for reasons of their own; a completion that is shorter than what was asked
for looks exactly like a finished measurement. Everything a server says about its answer is therefore
compared with everything else it says.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from extrap_eval.engines.base import EngineError, Generation, GenerationRequest, TokenLogprobs
from extrap_eval.engines.http.connection import Connection, Disbelieved, Fault
from extrap_eval.errors import UserError

# What asking for progress may raise: no answer, or one that makes no sense. Neither is a sign of progress.
PROGRESS_UNKNOWN = (Fault, UserError, ValueError, LookupError, TypeError, AttributeError)

ServedKind = Literal["vllm", "sglang", "openai"]


@dataclass(frozen=True)
class Answer:
    """A server's answer in common terms; counts are None where it gives none.

    ``matched`` is the stop token id or stop string that the server names; ``token_ids`` is whatever JSON
    held there.
    """

    token_ids: Any
    text: str | None
    finish_reason: str | None
    matched: int | str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    model: str | None = None  # None too where a server may rightly answer under another name than was asked for


@dataclass(frozen=True)
class Load:
    """What a server says of its work now. ``moved``: numbers that move while it generates, and only then;
    ``running`` and ``waiting``: requests. Since its start it has ``generated`` so many tokens, ``looked_up`` so
    many prompt tokens in its cache and ``found`` some of them; ``cache_used``: the share of its cache that
    requests hold now. None where it does not say.
    """

    moved: tuple[float, ...]
    running: int | None = None
    waiting: int | None = None
    generated: float | None = None
    looked_up: float | None = None
    found: float | None = None
    cache_used: float | None = None


class TextTokenizer(Protocol):
    """The part of a transformers tokenizer that a text-only server needs."""

    @property
    def bos_token(self) -> str | None: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str: ...


class Dialect(Protocol):
    """How one kind of server is spoken to."""

    @property
    def kind(self) -> ServedKind: ...

    @property
    def path(self) -> str:
        """Where completions are asked for."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer | None:
        """Set where the server gives text only and ids are made from it."""
        ...

    def payload(self, request: GenerationRequest, model: str) -> dict[str, Any]: ...

    def read(self, body: Any) -> Answer:
        """May raise LookupError, TypeError, ValueError or AttributeError on a body of another shape."""
        ...

    def logprobs(self, body: Any, request: GenerationRequest, token_ids: np.ndarray) -> TokenLogprobs:
        """Those of the completion ``token_ids``, given or generated. May raise what ``read`` may."""
        ...

    async def progress(self, connection: Connection) -> Load | None:
        """None where the server does not show any. May raise anything in PROGRESS_UNKNOWN."""
        ...


def believe(
    dialect: Dialect, body: Any, request: GenerationRequest, server: str, names: Collection[str] = ()
) -> Generation:
    """The completion in a parsed answer body; ``seconds`` and ``attempts`` are left for the caller to fill.
    ``names``: what the server calls the model, empty where that is not known.

    Raises UserError where the server's settings make the answer wrong (clamped, no ids), EngineError where
    it ended for a reason that is not the model's or is longer than asked for (asking again would favour the
    completions to which that does not happen), Disbelieved where the answer contradicts itself, and Fault
    where the server gave the request up or has become another one.
    """
    try:
        answer = dialect.read(body)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise Disbelieved(f"{server}: the answer is not a {dialect.kind} completion: {str(body)[:200]}") from None
    if answer.finish_reason == "abort":
        raise Fault(f"{server}: the server aborted the request", suspect=False)
    if names and answer.model is not None and answer.model not in names:
        raise Fault(f"{server}: the answer is by {str(answer.model)[:100]}, not by {' or '.join(sorted(names)[:3])}")
    if request.given_token_ids is not None:
        return _given(dialect, body, answer, request, server)
    if answer.finish_reason not in ("stop", "length"):
        raise EngineError(
            f"{server}: finish reason {answer.finish_reason!r} is not 'stop' or 'length'; "
            "the completion was not ended by the model or the budget, so it is not kept"
        )
    prompt_size = len(request.prompt_token_ids)
    if dialect.tokenizer is None:
        token_ids = _exact_ids(answer.token_ids, server)
        count = len(token_ids)
        if answer.completion_tokens not in (None, count):
            raise Disbelieved(
                f"{server}: {count} token ids but usage says {answer.completion_tokens} completion tokens"
            )
        if answer.prompt_tokens not in (None, prompt_size):
            raise Disbelieved(
                f"{server}: {prompt_size} prompt tokens sent but usage says {answer.prompt_tokens}: "
                "the server changed the prompt"
            )
    else:
        if answer.text is None:
            raise Disbelieved(f"{server}: the answer has no text")
        token_ids = np.asarray(dialect.tokenizer.encode(answer.text, add_special_tokens=False), dtype=np.int32)
        # The server's own count, where it gives one: the number of re-made ids says nothing about a budget.
        count = request.max_tokens if answer.completion_tokens is None else answer.completion_tokens
    if count > request.max_tokens:
        raise EngineError(f"{server}: {count} completion tokens, more than the {request.max_tokens} asked for")
    if answer.finish_reason == "length" and count < request.max_tokens:
        raise UserError(
            f"{server}: the server clamps: it cut the completion at {count} of {request.max_tokens} tokens; "
            f"restart it with a context of at least {prompt_size + request.max_tokens} tokens "
            "and without a limit on new tokens, or lower --budget-max"
        )
    return Generation(
        token_ids=token_ids,
        finish_reason="stop" if answer.finish_reason == "stop" else "length",
        text=None if dialect.tokenizer is None else answer.text,
        token_source="engine" if dialect.tokenizer is None else "retokenized",
        stop_token_id=None if dialect.tokenizer else _stop_token(answer, token_ids, server),
        prompt_tokens=prompt_size if answer.prompt_tokens is None else answer.prompt_tokens,
        cached_tokens=answer.cached_tokens,
        server=server,
        logprobs=_logprobs(dialect, body, request, token_ids, server),
    )


def _given(dialect: Dialect, body: Any, answer: Answer, request: GenerationRequest, server: str) -> Generation:
    """The completion that was sent, with its log-probabilities; what the server generated after it is nothing."""
    given = np.asarray(request.given_token_ids, np.int32)
    sent = len(request.prompt_token_ids) + len(given)
    if answer.prompt_tokens not in (None, sent):
        raise Disbelieved(
            f"{server}: {sent} prompt tokens sent but usage says {answer.prompt_tokens}: the server changed the prompt"
        )
    return Generation(
        token_ids=given,
        finish_reason="length",
        prompt_tokens=len(request.prompt_token_ids),
        cached_tokens=answer.cached_tokens,
        server=server,
        logprobs=_logprobs(dialect, body, request, given, server),
    )


def _logprobs(
    dialect: Dialect, body: Any, request: GenerationRequest, token_ids: np.ndarray, server: str
) -> TokenLogprobs | None:
    """As arrays, at once: as JSON they are some hundred times as large."""
    if not request.top_logprobs:
        return None
    try:
        return dialect.logprobs(body, request, token_ids)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Disbelieved(f"{server}: its log-probabilities are not those of the completion ({error})") from None


def _exact_ids(given: Any, server: str) -> np.ndarray:
    """int32, shape (completion tokens,)."""
    if given is None:
        raise UserError(
            f"{server}: the answer has no token ids, so a budget would not be exact; update the server "
            "(or the gateway before it, which may drop them), or treat it as text-only (kind openai)"
        )
    try:  # array refuses floats, strings, lists and large numbers, faster than numpy converts
        ids = np.array(array("i", given), dtype=np.int32)
        valid = isinstance(given, list) and not (ids < 0).any()
    except (TypeError, OverflowError):
        valid = False
    if not valid:
        raise Disbelieved(f"{server}: token ids are not a list of ids: {str(given)[:100]}")
    return ids


def _stop_token(answer: Answer, token_ids: np.ndarray, server: str) -> int | None:
    """The id that ended the completion; None for a cut one and for a stop string."""
    if answer.finish_reason != "stop" or isinstance(answer.matched, str):
        return None
    if not len(token_ids):
        raise Disbelieved(f"{server}: stopped without a single token, not even the stop token")
    last = int(token_ids[-1])
    if answer.matched is not None and answer.matched != last:
        raise Disbelieved(f"{server}: stopped at token {answer.matched} but the last id is {last}")
    return last

"""What one real completion shows of a server: ids that are those of its text, an end where the card says, a cache
that is used and reported.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.engines.base import EngineError, Generation, GenerationRequest
from extrap_eval.engines.http.answers import believe
from extrap_eval.engines.http.connection import Connection, Fault
from extrap_eval.engines.http.probe import Served
from extrap_eval.errors import UserError
from extrap_eval.preflight.check import Check, failed, ok, refused, unchecked, warning

if TYPE_CHECKING:
    from extrap_eval.cards.schema import ModelCard

IDS, END, CACHE = "token ids", "end of a completion", "prefix cache"
SHORT = 64  # tokens
LAST_WORDS = 192  # tokens that a model may take to end once its thought is closed
TRIES = 4
SECONDS = 300.0  # for one short completion, on a server that may be busy
_CACHED_PROMPT = 512  # tokens: several blocks of any cache

_NO_ENGINE_ERRORS = (Fault, UserError, EngineError, TimeoutError, LookupError, TypeError)


@dataclass(frozen=True)
class Asked:
    """What the questions are made of: the card's tokenizer, its end tokens, and one prompt (int32 ids)."""

    card: ModelCard
    tokenizer: Any
    end_tokens: tuple[int, ...]
    prompt: np.ndarray

    def request(self, prompt: np.ndarray, tokens: int, **changes: Any) -> GenerationRequest:
        sampling = self.card.sampling
        given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        return GenerationRequest(prompt, tokens, **(given | changes))


async def complete(connection: Connection, served: Served, request: GenerationRequest) -> tuple[Generation, str | None]:
    """A completion that may be believed, and the text that the server gave with it.

    Raises UserError, EngineError, Fault or TimeoutError.
    """
    async with asyncio.timeout(SECONDS):
        body = await connection.post(served.dialect.path, served.dialect.payload(request, served.model))
    generation = believe(served.dialect, body, request, connection.base, served.names)
    return generation, served.dialect.read(body).text


async def token_ids(connection: Connection, served: Served, asked: Asked) -> Check:
    """One short completion: its ids decode to its text."""
    if served.dialect.tokenizer is not None:
        return warning(
            IDS,
            "this server gives text only, so its tokens are counted by making ids of that text again",
            "use a vLLM or SGLang server; if this is one behind a gateway, let the gateway pass token ids",
        )
    length = _fitting(served, asked.prompt, SHORT)
    if length < 1:
        return unchecked(IDS, "the prompt alone fills the server's context")
    request = asked.request(asked.prompt, length, stop_token_ids=asked.end_tokens)
    try:
        generation, text = await complete(connection, served, request)
    except _NO_ENGINE_ERRORS as error:
        return refused(IDS, words(error, connection))
    ids = generation.token_ids
    kept = ids[:-1] if generation.stop_token_id is not None else ids
    candidates = [_decoded(asked.tokenizer, part) for part in (kept, ids)]
    before = _decoded(asked.tokenizer, asked.prompt)
    for part in (kept, ids):  # some tokenizers drop a space where a text begins, and the completion does not begin one
        candidates.append(_decoded(asked.tokenizer, np.concatenate([asked.prompt, part]))[len(before) :])
    said = f"{len(ids)} ids in, {len(asked.prompt)} prompt ids counted"
    if any(_alike(text or "", candidate) for candidate in candidates):
        return ok(IDS, "a short completion's ids decode to exactly its text, and the prompt's count is right")
    if any(_squeezed(text or "") == _squeezed(candidate) for candidate in candidates):
        return ok(IDS, "a short completion's ids decode to its text up to spaces, and the prompt's count is right")
    return failed(
        IDS,
        f"the ids decode to {candidates[0][:60]!r}, the server's text is {str(text)[:60]!r} ({said})",
        "serve the model with its own tokenizer, or name the server's with --tokenizer",
    )


async def end_of_completion(connection: Connection, served: Served, asked: Asked) -> Check:
    """Let the model say its last words and end by itself: the token that ended it must be one of the card's, and
    none of those may stand before.
    """
    if served.dialect.tokenizer is not None:
        return unchecked(END, "a text-only server does not say which token ended a completion")
    prompt = np.concatenate([asked.prompt, _closing_words(asked)])
    length = _fitting(served, prompt, LAST_WORDS)
    if length < 1:
        return unchecked(END, "the prompt alone fills the server's context")
    try:
        got = await asyncio.gather(*(complete(connection, served, asked.request(prompt, length)) for _ in range(TRIES)))
    except _NO_ENGINE_ERRORS as error:
        return unchecked(END, words(error, connection))
    completions = [generation for generation, _ in got]
    for generation in completions:
        early = [int(i) for i in generation.token_ids[:-1] if int(i) in asked.end_tokens]
        if early:
            return failed(
                END,
                f"the model goes on after {_token(asked, early[0])}, which the card calls an end token",
                "take it out of end_tokens in the card",
            )
    ended = [g.stop_token_id for g in completions if g.stop_token_id is not None]
    foreign = [token for token in ended if token not in asked.end_tokens]
    if foreign:
        return failed(
            END,
            f"a completion ended at {_token(asked, foreign[0])}, which the card does not name",
            f'add "{asked.tokenizer.convert_ids_to_tokens(foreign[0])}" to end_tokens in the card',
        )
    if not ended:
        return unchecked(END, f"none of {TRIES} answers ended within {length} tokens")
    return ok(END, f"ended by {', '.join(_token(asked, token) for token in dict.fromkeys(ended))}, as the card says")


async def prefix_cache(connection: Connection, served: Served, asked: Asked, number: int) -> Check:
    """The same prompt twice: the second time the server must find it. ``number`` makes the prompt a new one."""
    room = (served.context_length or 4096) - 8
    known = np.array(sorted(asked.tokenizer.get_vocab().values()), dtype=np.int32)
    noise = np.random.default_rng(number).choice(known, size=16)
    prompt = np.concatenate([noise, np.resize(asked.prompt, max(1, min(_CACHED_PROMPT, room) - len(noise)))])
    request = asked.request(prompt.astype(np.int32), 1)
    try:
        await complete(connection, served, request)
        again, _ = await complete(connection, served, request)
    except _NO_ENGINE_ERRORS as error:
        return unchecked(CACHE, words(error, connection))
    report = {
        "vllm": "start vLLM with --enable-prompt-tokens-details",
        "sglang": "start SGLang with --enable-cache-report",
    }.get(served.dialect.kind, "have the server report cached tokens in its usage")
    if again.cached_tokens is None:
        return warning(CACHE, "the server does not say how much of a prompt it had in its cache", report)
    if again.cached_tokens == 0:
        return warning(
            CACHE,
            f"a prompt of {len(prompt)} tokens was not found again, so every probe would be computed from its start",
            "start the server with prefix caching (vLLM: --enable-prefix-caching; SGLang: without "
            "--disable-radix-cache), or ask it without a gateway that spreads one trace over servers",
        )
    return ok(CACHE, f"{again.cached_tokens} of {len(prompt)} prompt tokens were found again, and reported")


def _closing_words(asked: Asked) -> np.ndarray:
    """Ids that close the thought, where there is one, and begin a last sentence, which the model may still end."""
    think, words = asked.card.think, "\n\nThe answer is \\boxed{1}"
    if think is not None:
        opener = "" if think.opened_by_prompt else f"{think.open}\n"
        words = f"{opener}I know it.\n{think.close}{words}"
    return np.asarray(asked.tokenizer.encode(words, add_special_tokens=False), dtype=np.int32)


def _fitting(served: Served, prompt: np.ndarray, tokens: int) -> int:
    return tokens if served.context_length is None else min(tokens, served.context_length - len(prompt))


def _decoded(tokenizer: Any, ids: np.ndarray) -> str:
    return str(tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _alike(text: str, decoded: str) -> bool:
    """Equal but for a last character that is not complete, which servers hold back."""
    return text == decoded or text == decoded.rstrip("\N{REPLACEMENT CHARACTER}")


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _token(asked: Asked, token_id: int) -> str:
    return f"{asked.tokenizer.convert_ids_to_tokens(token_id)} ({token_id})"


def words(error: BaseException, connection: Connection) -> str:
    """What went wrong, without the address, which stands beside it already."""
    said = str(error) or (f"no answer within {SECONDS:g} s" if isinstance(error, TimeoutError) else "no answer")
    return said.replace(f"{connection.base}: ", "").replace(connection.base, "")

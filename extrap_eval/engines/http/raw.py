"""Whether a server's log-probabilities are the model's own.

vLLM's are, before temperature and top-p, unless it was started with another ``--logprobs-mode`` than raw_logprobs.
SGLang's are those after the temperature, unless SGLANG_RETURN_ORIGINAL_LOGPROB is set in its environment. Neither says
so of itself. So the same place is asked about twice, with other temperatures.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http.connection import Fault
from extrap_eval.engines.http.routing import Endpoint
from extrap_eval.errors import UserError

_ASKED = 5  # tokens
_SECONDS = 600.0  # for one token, on a server that may be full
# Raw ones differ by the noise of another batch, others by a factor of two.
_FACTOR, _NOISE = 1.5, 0.05


async def refuse_processed(endpoint: Endpoint, request: GenerationRequest) -> None:
    """Look once per server. Raises UserError where its log-probabilities are not the model's own, Fault as a request
    does.
    """
    if endpoint.raw_logprobs is None:
        endpoint.raw_logprobs = asyncio.create_task(_are_raw(endpoint, request.prompt_token_ids))
    looking = endpoint.raw_logprobs
    try:
        raw = await asyncio.shield(looking)
    except BaseException:
        if looking.done() and endpoint.raw_logprobs is looking:
            endpoint.raw_logprobs = None  # whoever comes next looks again
        raise
    if not raw:
        how = {
            "vllm": "start it without --logprobs-mode",
            "sglang": "start it with SGLANG_RETURN_ORIGINAL_LOGPROB=1 in its environment",
        }[endpoint.served.dialect.kind]
        raise UserError(
            f"{endpoint.base}: its log-probabilities are those after temperature or top-p, not the model's own: {how}, "
            "or sample without --logprobs and use extrap-eval logprobs afterwards"
        )


async def _are_raw(endpoint: Endpoint, prompt: np.ndarray) -> bool:
    plain = GenerationRequest(prompt, 1, temperature=1.0, top_p=1.0, top_logprobs=_ASKED)
    sharp = replace(plain, temperature=0.5, top_p=0.5)
    (one, other) = [await _gaps(endpoint, request) for request in (plain, sharp)]
    return bool((other <= _FACTOR * one + _NOISE).all())


async def _gaps(endpoint: Endpoint, request: GenerationRequest) -> np.ndarray:
    """How much less probable each of the others is than the most probable one, in nats."""
    from extrap_eval.engines.http.answers import believe

    served = endpoint.served
    try:
        async with asyncio.timeout(_SECONDS):
            body = await endpoint.connection.post(served.dialect.path, served.dialect.payload(request, served.model))
    except TimeoutError:
        raise Fault(f"{endpoint.base}: no answer for {_SECONDS:g} s", stuck=True) from None
    logprobs = believe(served.dialect, body, request, endpoint.base, served.names).logprobs
    assert logprobs is not None
    top: np.ndarray = logprobs.top[0]
    return np.minimum(top[0] - top, 1e4)

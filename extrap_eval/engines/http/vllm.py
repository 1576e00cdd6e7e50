"""vLLM's completion route, spoken to in token ids."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from extrap_eval.engines.base import GenerationRequest, TokenLogprobs
from extrap_eval.engines.http.answers import Answer, Load
from extrap_eval.engines.http.connection import Connection
from extrap_eval.engines.http.logprobs import of_given_vllm, of_sampled_vllm

_VALUE = rb"(?:\{[^}]*\})? ([0-9.eE+-]+)$"
_MOVING = re.compile(rb"^vllm:(?:generation|prompt)_tokens_total" + _VALUE, re.MULTILINE)
_RUNNING = re.compile(rb"^vllm:num_requests_running" + _VALUE, re.MULTILINE)
_WAITING = re.compile(rb"^vllm:num_requests_waiting" + _VALUE, re.MULTILINE)
_GENERATED = re.compile(rb"^vllm:generation_tokens_total" + _VALUE, re.MULTILINE)
_LOOKED_UP = re.compile(rb"^vllm:prefix_cache_queries_total" + _VALUE, re.MULTILINE)
_FOUND = re.compile(rb"^vllm:prefix_cache_hits_total" + _VALUE, re.MULTILINE)
_CACHE_USED = re.compile(rb"^vllm:kv_cache_usage_perc" + _VALUE, re.MULTILINE)  # from 0 to 1, whatever its name says


class Vllm:
    """``/v1/completions`` with ids in and, through ``return_token_ids``, ids out (the stop token among
    them).
    """

    kind: Final = "vllm"
    path = "/v1/completions"
    tokenizer = None

    def payload(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """Everything that changes the distribution is named: what is left out falls back to the defaults in
        the model's generation_config.json, which differ between models (and max_tokens to 16).
        """
        body: dict[str, Any] = {
            "model": model,
            "prompt": np.ascontiguousarray(request.prompt_token_ids),
            "max_tokens": request.max_tokens,
            "n": 1,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop_token_ids": list(request.stop_token_ids),
            "stop": list(request.stop_strings),
            "skip_special_tokens": False,  # else a stop string that is a special token never matches
            "return_token_ids": True,
        }
        if request.seed is not None:
            body["seed"] = request.seed
        if request.given_token_ids is not None:
            body["prompt"] = np.concatenate([request.prompt_token_ids, request.given_token_ids])
            body |= {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": request.top_logprobs, "stop": []}
        elif request.top_logprobs:
            # As ids, since tokens of equal text share one key otherwise.
            body |= {"logprobs": request.top_logprobs, "return_tokens_as_token_ids": True}
        return body

    def logprobs(self, body: Any, request: GenerationRequest, token_ids: np.ndarray) -> TokenLogprobs:
        (choice,) = body["choices"]
        if request.given_token_ids is not None:
            return of_given_vllm(choice["prompt_logprobs"], token_ids, request.top_logprobs)
        return of_sampled_vllm(choice["logprobs"], token_ids, request.top_logprobs)

    def read(self, body: Any) -> Answer:
        (choice,) = body["choices"]
        usage = body["usage"]
        return Answer(
            token_ids=choice.get("token_ids"),
            text=choice["text"],
            finish_reason=choice["finish_reason"],
            matched=choice.get("stop_reason"),
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
            model=body.get("model"),
        )

    async def progress(self, connection: Connection) -> Load | None:
        """Tokens prefilled and generated since the server started, one number per engine and kind."""
        page = await connection.get("/metrics") or b""
        moved = tuple(float(value) for value in _MOVING.findall(page))
        if not moved:
            return None
        used = [float(value) for value in _CACHE_USED.findall(page)]
        return Load(
            moved,
            running=_total(_RUNNING, page),
            waiting=_total(_WAITING, page),
            generated=_total(_GENERATED, page),
            looked_up=_total(_LOOKED_UP, page),
            found=_total(_FOUND, page),
            cache_used=sum(used) / len(used) if used else None,  # of the engines behind one URL
        )


def _total(pattern: re.Pattern[bytes], page: bytes) -> int | None:
    values = pattern.findall(page)
    return int(sum(float(value) for value in values)) if values else None

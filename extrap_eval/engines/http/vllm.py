"""vLLM's completion route, spoken to in token ids."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http.answers import Answer
from extrap_eval.engines.http.connection import Connection

_COUNTER = re.compile(rb"^vllm:(?:generation|prompt)_tokens_total(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


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
        return body

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
        )

    async def progress(self, connection: Connection) -> tuple[float, ...] | None:
        """Tokens prefilled and generated since the server started, one number per engine and kind."""
        page = await connection.get("/metrics") or b""
        return tuple(float(value) for value in _COUNTER.findall(page)) or None

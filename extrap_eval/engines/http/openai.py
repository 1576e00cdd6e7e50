"""Any server with an OpenAI-style completion route: text in, text out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from extrap_eval.engines.base import GenerationRequest, TokenLogprobs
from extrap_eval.engines.http.answers import Answer, Load, TextTokenizer
from extrap_eval.engines.http.connection import Connection


class OpenAI:
    """``/v1/completions`` with text on both sides; the text is the record and ids are made from it once."""

    kind: Final = "openai"
    path = "/v1/completions"

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer

    def payload(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """Only fields of the OpenAI interface, since strict servers refuse others; ``top_k`` only where it
        is used. Stop token ids become stop strings.
        """
        body: dict[str, Any] = {
            "model": model,
            "prompt": self._prompt(request),
            "max_tokens": request.max_tokens,
            "n": 1,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.top_k != -1:
            body["top_k"] = request.top_k
        stops = [self.tokenizer.decode([i], skip_special_tokens=False) for i in request.stop_token_ids]
        if stops or request.stop_strings:
            body["stop"] = [*request.stop_strings, *stops]
        if request.seed is not None:
            body["seed"] = request.seed
        return body

    def _prompt(self, request: GenerationRequest) -> str:
        """The prompt as text, without the begin-of-text token that the server's tokenizer will put there
        itself.
        """
        text = self.tokenizer.decode(request.prompt_token_ids.tolist(), skip_special_tokens=False)
        added = self.tokenizer.encode("", add_special_tokens=True)[:1]
        bos = self.tokenizer.bos_token
        if bos and added and self.tokenizer.decode(added, skip_special_tokens=False) == bos:
            return text.removeprefix(bos)
        return text

    def read(self, body: Any) -> Answer:
        (choice,) = body["choices"]
        usage = body.get("usage") or {}
        return Answer(
            token_ids=None,
            text=choice["text"],
            finish_reason=choice["finish_reason"],
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        )

    def logprobs(self, body: Any, request: GenerationRequest, token_ids: np.ndarray) -> TokenLogprobs:
        raise ValueError("log-probabilities of text belong to no token id")  # refused before it is asked for

    async def progress(self, connection: Connection) -> Load | None:
        return None

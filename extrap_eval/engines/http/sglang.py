"""SGLang's native route, spoken to in token ids."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import numpy as np
import orjson

from extrap_eval.engines.base import GenerationRequest, TokenLogprobs
from extrap_eval.engines.http.answers import Answer, Load
from extrap_eval.engines.http.connection import Connection, Fault
from extrap_eval.engines.http.logprobs import of_sglang
from extrap_eval.errors import UserError

# Where the scheduler's load is shown, newest first, and the numbers in it that move while tokens are made.
# Its timestamps, which move with every question, and its queue, which grows before a frozen scheduler, prove
# nothing.
_LOADS = ("/v1/loads?include=core", "/get_load")
_MOVING = ("num_used_tokens", "num_tokens", "total_prefill_uncached_tokens")
# Counters of ``--enable-metrics``. Every tensor-parallel rank may show them, and the first is enough.
_DECODED = re.compile(rb'^sglang:realtime_tokens_total\{[^}]*mode="decode"[^}]*tp_rank="0"[^}]*\} (\S+)$', re.MULTILINE)
_COMPUTED = re.compile(
    rb'^sglang:prefill_effective_tokens_total\{[^}]*mode="input"[^}]*tp_rank="0"[^}]*\} (\S+)$', re.MULTILINE
)
_FOUND = re.compile(
    rb'^sglang:prefill_effective_tokens_total\{[^}]*mode="\w+_hit"[^}]*tp_rank="0"[^}]*\} (\S+)$', re.MULTILINE
)


class Sglang:
    """``/generate`` with ``input_ids`` in and ``output_ids`` out (the stop token among them)."""

    kind: Final = "sglang"
    path = "/generate"
    tokenizer = None

    def payload(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        """Everything that changes the distribution is named, for the reason given in ``vllm``."""
        sampling: dict[str, Any] = {
            "max_new_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop_token_ids": list(request.stop_token_ids),
            "stop": list(request.stop_strings),
            "skip_special_tokens": False,
        }
        if request.seed is not None:
            sampling["sampling_seed"] = request.seed
        prompt = np.ascontiguousarray(request.prompt_token_ids)
        body: dict[str, Any] = {"input_ids": prompt, "sampling_params": sampling}
        if request.top_logprobs:
            # Flat arrays where the version knows them; others give lists of lists.
            flat = {f"return_flat_raw_{name}top_logprobs": True for name in ("", "output_")}
            body |= {"return_logprob": True, "top_logprobs_num": request.top_logprobs, **flat}
            body |= {"return_flat_raw_top_logprobs_b64": True}
        if request.given_token_ids is not None:
            body |= {
                "input_ids": np.concatenate([prompt, request.given_token_ids]),
                "logprob_start_len": len(prompt) - 1,
            }
            sampling |= {"max_new_tokens": 1, "temperature": 0.0, "stop": []}
        return body

    def logprobs(self, body: Any, request: GenerationRequest, token_ids: np.ndarray) -> TokenLogprobs:
        meta, n = body["meta_info"], request.top_logprobs
        return of_sglang(meta, "output" if request.given_token_ids is None else "input", token_ids, n)

    def read(self, body: Any) -> Answer:
        meta = body["meta_info"]
        finish = meta["finish_reason"]
        return Answer(
            token_ids=body.get("output_ids"),
            text=body["text"],
            finish_reason=finish["type"],
            matched=finish.get("matched"),
            prompt_tokens=meta["prompt_tokens"],
            completion_tokens=meta["completion_tokens"],
            cached_tokens=meta.get("cached_tokens"),
        )

    async def progress(self, connection: Connection) -> Load | None:
        """Tokens that occupy the cache now and tokens prefilled so far, per data-parallel rank. (The token
        counters of ``/metrics`` move only when a request ends, so they cannot tell a long completion from a
        frozen server.)
        """
        for path in _LOADS:
            page = await connection.get(path)
            if page is not None:
                said = orjson.loads(page)
                ranks = said["loads"] if isinstance(said, dict) else said
                moved = tuple(float(rank[key]) for rank in ranks for key in _MOVING if key in rank)
                if not moved:
                    return None
                used = [float(rank["token_usage"]) for rank in ranks if "token_usage" in rank]
                load = Load(
                    moved,
                    running=_total(ranks, "num_running_reqs"),
                    waiting=_total(ranks, "num_waiting_reqs"),
                    generated=_decoded(ranks),
                    cache_used=sum(used) / len(used) if used else None,
                )
                return await _with_counters(load, connection)
        return None


async def _with_counters(load: Load, connection: Connection) -> Load:
    """The load with exact counters where the server was started with ``--enable-metrics``."""
    try:
        page = await connection.get("/metrics") or b""
    except (Fault, UserError):
        return load
    generated, computed, found = (
        sum(map(float, pattern.findall(page))) if pattern.search(page) else None
        for pattern in (_DECODED, _COMPUTED, _FOUND)
    )
    if generated is not None:
        load = replace(load, generated=generated)
    if computed is not None and found is not None:
        load = replace(load, looked_up=computed + found, found=found)
    return load


def _decoded(ranks: list[dict[str, Any]]) -> float | None:
    """Tokens of all decoding steps that were timed, a little fewer than all; None in versions that do not tell."""
    moments = [rank["decode_moments"] for rank in ranks if rank.get("decode_moments")]
    return float(sum(values[-1] for values in moments)) if moments else None


def _total(ranks: list[dict[str, Any]], key: str) -> int | None:
    values = [rank[key] for rank in ranks if key in rank]
    return int(sum(values)) if values else None

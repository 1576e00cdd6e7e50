"""A small server that speaks vLLM's, SGLang's and OpenAI's dialect and fails in chosen ways.

It answers the pages and routes with the shapes that the real servers were seen to use. ``python -m
tests.engines.loopback KIND TOKENS`` runs one in a process of its own and prints its URL, for measurements.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import orjson
from aiohttp import web

EOS = 7
Kind = Literal["vllm", "sglang", "openai"]
# What happens to one generation request; "ok" answers it.
Fault = Literal[
    "ok", "reset", "reset mid body", "500", "503", "429", "429 later", "not json", "cut json", "html",
    "400", "401", "404", "other model", "clamp", "too many ids", "usage differs", "prompt changed", "no ids",
    "float ids", "no choices", "logprobs 400",
    "wrong stop id", "repetition", "abort", "hang", "swallow", "trickle",
]  # fmt: skip


@dataclass
class Loopback:
    """``faults`` are used up one per generation request, the last one stays; ``length`` is the natural length of its
    completions, stop token included. ``asked`` holds every generation request's body and headers."""

    kind: Kind = "vllm"
    model: str = "tiny"
    root: str | None = None
    context: int | None = 4096
    length: int = 12
    faults: list[Fault] = field(default_factory=lambda: ["ok"])
    page_faults: dict[str, int] = field(default_factory=dict)  # page -> HTTP status
    counting: bool = True  # the token counters move with every look at them
    shows_counters: bool = True
    shows_load: bool = False  # and how many requests run and wait; those swallowed never reached it
    places: int = 10**9  # requests that run at once, the others wait
    delay: float = 0.0
    retry_after: int = 1
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    aborted: int = 0
    running: int = 0
    peak: int = 0
    port: int = 0
    echo_header_in_errors: bool = False
    processed: bool = False  # its log-probabilities are those after the temperature
    flat: bool = True  # it knows SGLang's flat arrays
    shifted_logprobs: bool = False  # they belong to other tokens
    _tokens_made: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the same port as before after a ``stop``."""
        self._places = asyncio.Semaphore(self.places)
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{page:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        page = "/" + request.match_info["page"]
        if page in self.page_faults:
            return web.json_response({"error": {"message": "not now"}}, status=self.page_faults[page])
        if request.method == "POST" and page == {"sglang": "/generate"}.get(self.kind, "/v1/completions"):
            return await self._generate(request)
        said = self._pages().get(page)
        if said is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.Response(body=said() if callable(said) else orjson.dumps(said))

    def _pages(self) -> dict[str, Any]:
        card = {"id": self.model, "owned_by": self.kind, "root": self.root or self.model}
        if self.context is not None:
            card["max_model_len"] = self.context  # type: ignore[assignment]
        pages: dict[str, Any] = {"/v1/models": {"object": "list", "data": [card]}}
        if self.kind == "vllm":
            pages |= {"/version": {"version": "0.32.0"}, "/health": ""}
            if self.shows_counters:
                pages["/metrics"] = self._metrics
        if self.kind == "sglang":
            pages |= {"/model_info": {"model_path": "/m"}, "/server_info": {"version": "0.5.23"}, "/health": ""}
            if self.shows_counters:
                pages["/v1/loads"] = self._loads
        return pages

    def _count(self) -> int:
        self._tokens_made += self.counting
        return self._tokens_made

    def _metrics(self) -> bytes:
        here = self.running
        waiting = max(0, here - self.places)
        return (
            "# TYPE vllm:generation_tokens_total counter\n"
            f'vllm:generation_tokens_total{{engine="0",model_name="tiny"}} {self._count()}.0\n'
            + (
                f"vllm:num_requests_running {here - waiting}.0\nvllm:num_requests_waiting {waiting}.0\n"
                * self.shows_load
            )
            + 'vllm:generation_tokens_created{engine="0",model_name="tiny"} 1.795265902432522e+09\n'
        ).encode()

    def _loads(self) -> bytes:
        now = asyncio.get_running_loop().time()  # moves with every look, like the real one
        rank = {"timestamp": now, "dp_rank": 0, "num_waiting_reqs": 3, "num_used_tokens": self._count()}
        return orjson.dumps({"timestamp": now, "loads": [rank]})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        self.asked.append(asked)
        self.headers.append(dict(request.headers))
        fault = self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]
        if fault == "swallow":
            await asyncio.sleep(1e6)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            async with self._places:
                await asyncio.sleep(1e6 if fault == "hang" else self.delay)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.running -= 1
        return await self._failing(request, asked, fault)

    async def _failing(self, request: web.Request, asked: dict[str, Any], fault: Fault) -> web.StreamResponse:
        body = orjson.dumps(self._answer(asked, fault))
        match fault:
            case "reset":
                assert request.transport is not None
                request.transport.abort()
            case "reset mid body":
                response = web.StreamResponse(headers={"Content-Length": str(len(body))})
                await response.prepare(request)
                await response.write(body[: len(body) // 2])
                assert request.transport is not None
                request.transport.abort()
                return response
            case "trickle":
                response = web.StreamResponse(headers={"Content-Length": str(len(body))})
                await response.prepare(request)
                for start in range(0, len(body), 10):
                    await response.write(body[start : start + 10])
                    await asyncio.sleep(0.1)
                return response
            case "not json" | "cut json":
                body = b"upstream hiccup" if fault == "not json" else body[:-20]
            case "logprobs 400":
                said = "Requested sample logprobs of 5, which is greater than max allowed: 3"
                return web.json_response({"error": {"message": said, "code": 400}}, status=400)
            case "html":
                return web.Response(status=502, text="<html><body>Bad Gateway</body></html>")
            case "400" | "401" | "404" | "500" | "503" | "429" | "429 later":
                said = request.headers.get("Authorization", "") if self.echo_header_in_errors else "no"
                error = {"error": {"message": f"told you: {said}", "code": fault}}
                wait = {"Retry-After": str(self.retry_after)} if fault == "429 later" else {}
                return web.json_response(error, status=int(fault[:3]), headers=wait)
        return web.Response(body=body, content_type="application/json")

    def _answer(self, asked: dict[str, Any], fault: Fault) -> dict[str, Any]:
        wanted = asked["sampling_params"]["max_new_tokens"] if self.kind == "sglang" else asked["max_tokens"]
        prompt = asked["input_ids"] if self.kind == "sglang" else asked["prompt"]
        if fault == "clamp":
            count, finish = wanted // 2, "length"
        else:
            count, finish = min(wanted, self.length), "length" if wanted < self.length else "stop"
        ids: Any = [100 + i % 20 for i in range(count)]
        matched = None
        if finish == "stop":
            ids[-1] = EOS
            matched = EOS + 1 if fault == "wrong stop id" else EOS
        finish = fault if fault in ("repetition", "abort") else finish
        if fault == "too many ids":
            ids, finish = ids + ids + [5] * wanted, "length"
        prompt_count = len(prompt) - (fault == "prompt changed")
        count = len(ids) + (fault == "usage differs")
        if fault in ("no ids", "float ids"):
            ids = None if fault == "no ids" else [float(i) for i in ids]
        if fault == "no choices":
            return {"object": "error", "message": "?"}
        logprobs = self._logprobs(asked, [i + self.shifted_logprobs for i in ids or []])
        if self.kind == "sglang":
            meta: dict[str, Any] = {"prompt_tokens": prompt_count, "completion_tokens": count, "cached_tokens": 3}
            meta |= {"finish_reason": {"type": finish, "matched": matched}, **logprobs}
            return {"text": "x" * len(ids or []), "output_ids": ids, "meta_info": meta}
        usage = {"prompt_tokens": prompt_count, "completion_tokens": count}
        if self.kind == "openai":
            choice = {"index": 0, "text": "ab" * count, "finish_reason": finish}
            return {"choices": [choice], "usage": usage}
        choice = {"index": 0, "text": "x" * count, "finish_reason": finish, "token_ids": ids}
        choice |= logprobs
        choice["stop_reason"] = matched if fault == "wrong stop id" else None
        usage |= {"prompt_tokens_details": {"cached_tokens": 3}}
        return {"model": "other" if fault == "other model" else self.model, "choices": [choice], "usage": usage}

    def _logprobs(self, asked: dict[str, Any], ids: list[int]) -> dict[str, Any]:
        """In the shapes of the real servers: of ``known`` at every place, for generated ids or for the prompt's."""
        if self.kind == "openai":
            return {}
        if self.kind == "vllm":
            if n := asked.get("prompt_logprobs"):
                prompt = asked["prompt"]
                return {"prompt_logprobs": [None, *(self._row(i, n, self._lp(1.0)) for i in prompt[1:])]}
            if not (n := asked.get("logprobs")):
                return {}
            lp = self._lp(asked["temperature"])
            rows = [{f"token_id:{i}": v["logprob"] for i, v in self._row(id, n, lp).items()} for id in ids]
            tokens = [f"token_id:{id}" for id in ids]
            chosen = [row[token] for row, token in zip(rows, tokens, strict=True)]
            return {"logprobs": {"tokens": tokens, "token_logprobs": chosen, "top_logprobs": rows, "text_offset": []}}
        if not asked.get("return_logprob"):
            return {}
        n, said = asked["top_logprobs_num"], {}
        if (start := asked.get("logprob_start_len", -1)) >= 0:
            said |= self._side("input", asked["input_ids"][start:], n, self._lp(1.0), first=False)
        return said | self._side("output", ids, n, self._lp(asked["sampling_params"]["temperature"]), first=True)

    def _side(self, side: str, ids: list[int], n: int, lp: np.ndarray, *, first: bool) -> dict[str, Any]:
        """``first``: the first id has log-probabilities; a prompt's has none."""
        last = len(lp) - 1
        pairs = [[float(lp[id]), 0 if id == last and not first else id, None] for id in ids]  # as SGLang 0.5.23
        top = np.argsort(-lp)[:n]
        rows: list[Any] = [[[float(lp[i]), int(i), None] for i in top] for _ in ids]
        if not first and ids:
            pairs[0][0], rows[0] = None, None
        if not self.flat:
            return {f"{side}_token_logprobs": pairs, f"{side}_top_logprobs": rows}
        count = len(ids) - (not first)
        arrays = {"val": np.tile(lp[top], count).astype("<f4"), "idx": np.tile(top, count).astype("<i4")}
        coded = {
            f"{side}_top_logprobs_{name}_flat_b64": base64.b64encode(values.tobytes()).decode()
            for name, values in arrays.items()
        }
        shape = {f"{side}_top_logprobs_shape": [count, n], f"{side}_top_logprobs_null_prefix": int(not first)}
        return {f"{side}_token_logprobs": pairs, **coded, **shape}

    def _row(self, id: int, n: int, lp: np.ndarray) -> dict[str, dict[str, float]]:
        """The chosen token first, then the most probable ones."""
        return {str(i): {"logprob": float(lp[i])} for i in (id, *np.argsort(-lp)[:n].tolist())}

    def _lp(self, temperature: float) -> np.ndarray:
        logits = np.log(known()) / (temperature if self.processed and temperature else 1.0)
        return logits - np.log(np.exp(logits).sum())


def known() -> np.ndarray:
    """The distribution at every place, over 200 tokens: the tokens that completions are made of are likely ones."""
    weight = 0.5 ** np.abs(np.arange(200) - 103.2)
    return weight / weight.sum()


async def _serve(kind: Kind, tokens: int, announce: Callable[[str], object]) -> None:
    async with Loopback(kind=kind, length=tokens + 1, context=2**24) as server:
        announce(server.url)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the caller closes it


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), lambda url: print(url, flush=True)))  # type: ignore[arg-type]

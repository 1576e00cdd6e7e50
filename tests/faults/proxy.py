"""A reverse proxy that misbehaves on purpose, between the client and a real server.

Only requests for completions are mistreated, except by a cut network, which takes everything. With a mischief that
answers by itself the server never hears of the request; with one that spoils the answer the server has done the work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Literal, Self, get_args

import aiohttp
import orjson
from aiohttp import web

Mischief = Literal[
    "drop before the request", "drop before the answer", "drop inside the answer", "truncated body", "not JSON",
    "500", "502", "503", "503 with Retry-After", "429", "429 with Retry-After",
    "delay", "slow trickle", "never answers", "wrong usage", "missing ids", "wrong prompt count", "other model",
]  # fmt: skip
MISCHIEFS: tuple[Mischief, ...] = get_args(Mischief)
COMPLETION_PATHS = ("/v1/completions", "/generate")
HOP_BY_HOP = {"transfer-encoding", "content-length", "content-encoding", "connection", "keep-alive"}
DELAY = 2.0  # seconds
RETRY_AFTER = 1  # seconds
TRICKLE_PIECES = 20
TRICKLE_PAUSE = 0.15  # seconds


class FaultyProxy:
    """Listens on 127.0.0.1 and passes everything on to ``upstream``, which may be changed.

    ``hits``: completion requests that the present mischief has met. It does one at a time: whoever has ``turn``.
    """

    def __init__(self, upstream: str = "") -> None:
        self.upstream = upstream
        self.port = 0
        self.hits = 0
        self.turn = asyncio.Lock()
        self._mischief: Mischief | None = None
        self._left = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._transports: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=aiohttp.ClientTimeout(total=None)
        )
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flows.set()
        await self.refuse()
        assert self._session is not None
        await self._session.close()

    @contextlib.contextmanager
    def doing(self, mischief: Mischief, times: int = 10**9) -> Iterator[None]:
        """Mistreat the next ``times`` requests while inside."""
        self._mischief, self._left, self.hits = mischief, times, 0
        try:
            yield
        finally:
            self._mischief = None

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Nothing flows in either direction; connections stay open, and new ones are accepted by the system."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    async def refuse(self) -> None:
        """Break every connection and take no new one."""
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()
            for transport in list(self._transports):
                transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def listen(self) -> None:
        """On the port of before, if there was one."""
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{page:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        self._transports.add(transport)
        try:
            await self._flows.wait()
            mischief = self._next_mischief() if request.path in COMPLETION_PATHS else None
            answer = await self._instead(request, mischief)
            if answer is not None:
                return answer
            status, headers, body = await self._forward(request)
            await self._flows.wait()
            return await self._back(request, mischief, status, headers, body)
        finally:
            self._transports.discard(transport)

    def _next_mischief(self) -> Mischief | None:
        if self._mischief is None or self._left <= 0:
            return None
        self._left -= 1
        self.hits += 1
        return self._mischief

    async def _instead(self, request: web.Request, mischief: Mischief | None) -> web.StreamResponse | None:
        """What happens before the server hears of the request."""
        match mischief:
            case "drop before the request":
                _break(request)
            case "500" | "502" | "503" | "429" | "503 with Retry-After" | "429 with Retry-After":
                headers = {"Retry-After": str(RETRY_AFTER)} if "Retry-After" in mischief else {}
                error = {"error": {"message": "not now", "code": mischief}}
                return web.json_response(error, status=int(mischief[:3]), headers=headers)
            case "never answers":
                await asyncio.sleep(1e6)
            case "delay":
                await asyncio.sleep(DELAY)
        return None

    async def _forward(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP | {"host"}}
        url = self.upstream + request.path_qs
        try:
            async with self._session.request(
                request.method, url, data=await request.read(), headers=headers, allow_redirects=False
            ) as response:
                kept = {k: v for k, v in response.headers.items() if k.lower() not in HOP_BY_HOP}
                return response.status, kept, await response.read()
        except (aiohttp.ClientError, OSError):
            _break(request)  # what happened behind is seen in front
            raise ConnectionResetError from None

    async def _back(
        self, request: web.Request, mischief: Mischief | None, status: int, headers: dict[str, str], body: bytes
    ) -> web.StreamResponse:
        match mischief:
            case "drop before the answer":
                _break(request)
            case "drop inside the answer":
                return await self._pieces(request, headers, body, stop_after=len(body) // 2)
            case "slow trickle":
                return await self._pieces(request, headers, body, pause=TRICKLE_PAUSE)
            case "truncated body":
                body = body[: len(body) * 2 // 3]
            case "not JSON":
                body = b"<html><body>upstream hiccup</body></html>"
            case "wrong usage" | "missing ids" | "wrong prompt count" | "other model":
                body = orjson.dumps(_falsified(orjson.loads(body), mischief))
        return web.Response(status=status, headers=headers, body=body)

    async def _pieces(
        self, request: web.Request, headers: dict[str, str], body: bytes, *, pause: float = 0.0, stop_after: int = 2**62
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers | {"Content-Length": str(len(body))})
        await response.prepare(request)
        step = len(body) // TRICKLE_PIECES + 1
        for start in range(0, len(body), step):
            if start >= stop_after:
                _break(request)
            await self._flows.wait()
            await response.write(body[start : start + step])
            await asyncio.sleep(pause)
        return response


def _falsified(body: Any, mischief: Mischief) -> Any:
    """A vLLM or SGLang completion that says something untrue of itself."""
    native = "meta_info" in body
    usage = body["meta_info"] if native else body["usage"]
    match mischief:
        case "wrong usage":
            usage["completion_tokens"] += 1
        case "wrong prompt count":
            usage["prompt_tokens"] -= 1
        case "missing ids":
            holder, key = (body, "output_ids") if native else (body["choices"][0], "token_ids")
            holder[key] = holder[key][:-1]
        case "other model":
            body["model"] = "another-model"
    return body


def _break(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError

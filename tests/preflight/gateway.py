"""A gateway in front of a real server that changes what passes through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from aiohttp import web

Change = Callable[[str, Any], Any]  # of the path and a parsed JSON body, to a body or a response


@asynccontextmanager
async def gateway(
    upstream: str, asked: Change = lambda path, body: body, answered: Change = lambda path, body: body
) -> AsyncIterator[str]:
    """Its URL. ``asked`` changes every POST on its way there, ``answered`` every JSON answer on its way back."""

    async def handle(request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["path"]
        data = await request.read()
        if request.method == "POST":
            changed = asked(path, orjson.loads(data))
            if isinstance(changed, web.Response):
                return changed
            data = orjson.dumps(changed)
        headers = {"Content-Type": "application/json"} if data else {}
        async with session.request(
            request.method, upstream + path, params=request.query, data=data or None, headers=headers
        ) as response:
            body, kind = await response.read(), response.content_type
            if response.status == 200 and kind == "application/json":
                changed = answered(path, orjson.loads(body))
                if isinstance(changed, web.Response):
                    return changed
                body = orjson.dumps(changed)
            return web.Response(status=response.status, body=body, content_type=kind)

    app = web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

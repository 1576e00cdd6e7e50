"""An environment with a ``vllm`` in it that serves at once: for tests of who starts, watches and ends servers, where
it does not matter what they say. What real engines do is tested with real engines.

``make(folder)`` builds the environment. Its ``python -m vllm.entrypoints.cli.main serve`` runs ``serve`` below, which
understands ``--stand-in WHAT``: ``fails=FILE`` prints FILE and ends with 1; ``fails-once=FILE`` does so when
``FILE.failed`` is not there, and puts it there; ``mute`` lives, does nothing and never listens; ``slow`` answers a
request after half a second; ``tail=FILE`` answers the first request for each model after 20 s, the others at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

from aiohttp import web

from tests.engines.loopback import Loopback

TAIL_SECONDS = 20
REPO = Path(__file__).resolve().parents[3]
MAIN = """
import sys
sys.path[:0] = {paths!r}
from tests.engines.servers.stand_in import serve
serve(sys.argv[2:])
"""


def make(folder: Path) -> Path:
    """Returns the environment's Python."""
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    package = site / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    for part in (package, package.parent, package.parent.parent):
        (part / "__init__.py").touch()
    ours = sysconfig.get_path("purelib")
    (package / "main.py").write_text(MAIN.format(paths=[str(REPO), ours]))
    info = site / "vllm-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.0.1\n")
    return folder / "bin" / "python"


class Guarded(Loopback):
    """Asks for the key where vLLM does. ``tail``: who puts this file there is slow."""

    tail: str | None = None

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        if self.tail is not None:
            with contextlib.suppress(FileExistsError):
                Path(self.tail).touch(exist_ok=False)
                await asyncio.sleep(TAIL_SECONDS)
        return await super()._generate(request)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        wanted = f"Bearer {os.environ['VLLM_API_KEY']}"
        if request.path.startswith("/v1") and request.headers.get("Authorization") != wanted:
            return web.json_response({"error": "Unauthorized"}, status=401)
        return await super()._handle(request)


def serve(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--stand-in", default="")
    options, _ = parser.parse_known_args(argv)
    what, _, file = options.stand_in.partition("=")
    print(f"INFO 11-21 16:15:38 [default_loader.py:501] Loading weights took {os.getpid()} seconds", flush=True)
    if what == "fails" or (what == "fails-once" and not Path(f"{file}.failed").exists()):
        Path(f"{file}.failed").touch()
        print(Path(file).read_text(), flush=True)
        sys.exit(1)
    engine_core = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    try:
        if what == "mute":
            time.sleep(3600)
        tail = f"{file}.{options.served_model_name}" if what == "tail" else None
        asyncio.run(_serve(options, delay=0.5 if what == "slow" else 0.0, tail=tail))
    finally:
        engine_core.kill()


async def _serve(options: argparse.Namespace, delay: float, tail: str | None) -> None:
    server = Guarded(
        model=options.served_model_name, context=options.max_model_len, port=options.port, length=40, delay=delay
    )
    server.tail = tail
    async with server:
        await asyncio.sleep(3600)

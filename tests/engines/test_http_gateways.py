"""Real gateways between the client and several servers: which of them pass token ids, and what is said of the others.

``EXTRAP_EVAL_GATEWAYS`` names the environment that has them (default ``.venv-gateways``, which
``.ci/install_gateways.sh .venv-gateways`` makes).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.http import HttpEngine
from extrap_eval.errors import UserError
from extrap_eval.store import open_run
from tests.cli.conftest import Command, command  # noqa: F401  # a fixture
from tests.engine_servers import REPO, EngineServer
from tests.engines.cluster.ray_nodes import free_port
from tests.engines.loopback import Loopback

pytestmark = [pytest.mark.engine]
START_SECONDS = 120
REQUEST = GenerationRequest(np.array([1, 2, 3, 4], dtype=np.int32), max_tokens=12)
# vllm-router sends a request again from its beginning when it thinks that a server has failed, and gives it up after
# half an hour: both are left to the client.
PATIENT = ("--disable-retries", "--request-timeout-secs", "86400", "--health-check-interval-secs", "5")
COMMANDS = {
    "vllm-router": ("bin/vllm-router", *PATIENT),
    "sglang-router": ("bin/python", "-m", "sglang_router.launch_router"),
    "smg": ("bin/smg", "launch"),
}


@contextmanager
def gateway(name: str, servers: list[str], log: Path) -> Iterator[str]:
    """Its URL, once it is healthy."""
    environment = Path(os.environ.get("EXTRAP_EVAL_GATEWAYS", REPO / ".venv-gateways"))
    if not environment.is_dir():
        pytest.skip(f"no gateways ({environment}); .ci/install_gateways.sh .venv-gateways installs them")
    program, *options = COMMANDS[name]
    url = f"http://127.0.0.1:{free_port()}"
    place = ["--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--prometheus-port", str(free_port())]
    words = [environment / program, *options, "--worker-urls", *servers, *place, "--policy", "round_robin"]
    with log.open("wb") as file, subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready(url, len(servers)):
                assert process.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield url
        finally:
            process.kill()


def ready(url: str, servers: int) -> bool:
    """Healthy, and where it tells how many servers it knows (after a moment it does), it knows all."""
    if page(f"{url}/health") is None:
        return False
    told = page(f"{url}/get_server_info")
    return told is None or b"workers_count" not in told or json.loads(told)["workers_count"] == servers


def page(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            body: bytes = response.read()
            return body
    except (OSError, urllib.error.URLError):
        return None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("vllm-router", "vllm"), ("vllm-router", "sglang"), ("sglang-router", "sglang"), ("smg", "sglang")],
)
async def test_token_ids_pass(name: str, kind: Literal["vllm", "sglang"], tmp_path: Path) -> None:
    async with Loopback(kind=kind) as one, Loopback(kind=kind) as two:
        opened = gateway(name, [one.url, two.url], tmp_path / "log")
        url = await asyncio.to_thread(opened.__enter__)
        try:
            async with HttpEngine([url]) as engine:
                assert (engine.info.kind, engine.info.exact_token_ids) == (kind, True)
                made = await asyncio.gather(*(engine.generate(REQUEST) for _ in range(6)))
        finally:
            opened.__exit__(None, None, None)
        assert one.asked
        assert two.asked
    assert all(generation.token_source == "engine" and len(generation.token_ids) == 12 for generation in made)


@pytest.mark.parametrize("name", ["sglang-router", "smg"])
async def test_a_gateway_that_refuses_token_ids_is_named(name: str, tmp_path: Path) -> None:
    async with Loopback(kind="vllm") as server:
        opened = gateway(name, [server.url], tmp_path / "log")
        url = await asyncio.to_thread(opened.__enter__)
        try:
            with pytest.raises(UserError, match=r"gateway \(sglang-router or smg\) that refuses .* use vllm-router"):
                async with HttpEngine([url]):
                    pass
        finally:
            opened.__exit__(None, None, None)


def test_a_run_through_vllm_router(command: Command, vllm_server: EngineServer, tmp_path: Path) -> None:  # noqa: F811
    with gateway("vllm-router", [vllm_server.url], tmp_path / "log") as url:
        done = command(
            *("sample", "--model", vllm_server.model_path, "--benchmark", "residue_search_tiny", "--n", 4),
            *("--budget-max", 200, "--endpoint", url, "--out", "run"),
        )
    assert done.returncode == 0, done.stderr
    completions = list(open_run(tmp_path / "run").completions())
    assert len(completions) == 48
    assert {c.token_source for c in completions} == {"engine"}
    assert all(c.n_tokens == 200 or c.finish_reason == "stop" for c in completions)

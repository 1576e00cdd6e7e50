"""One server on this machine, from start to stop. It is a stand-in: real engines have a file of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import extrap_eval.engines.servers.health as health
from extrap_eval.engines.servers.launch import ServerSpec
from extrap_eval.engines.servers.layout import Share
from extrap_eval.engines.servers.replica import LocalReplica, ServerFailed, reserved_port
from tests.engines.servers.processes import alive, family

pytestmark = pytest.mark.slow  # every test runs several processes
KEY = "a-key-of-this-run"
CORE = Share(cores=(min(os.sched_getaffinity(0)),), memory=4 << 30)


def replica(python: Path, folder: Path, *arguments: str, **changes: Any) -> LocalReplica:
    spec = ServerSpec("vllm", str(python), "/model", "tiny", 4096, extra_args=arguments)
    return LocalReplica(spec, CORE, number=0, log=folder / "servers" / "vllm-0.log", api_key=KEY, **changes)


def status(url: str, key: str | None) -> int:
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def test_from_start_to_stop(stand_in_python: Path, tmp_path: Path) -> None:
    server = replica(stand_in_python, tmp_path)
    said: list[str] = []
    assert (server.name, server.command, server.pid) == (f"vllm 0 ({CORE})", "", None)
    url = await server.start(said.append)
    processes = family(server.pid)
    assert len(processes) == 2
    answers = [await asyncio.to_thread(status, url, key) for key in (KEY, None, "another")]
    assert answers == [200, 401, 401]
    assert said[-1:] == [f"Loading weights took {server.pid} seconds"]
    assert KEY not in server.command
    log = server.log.read_text()
    assert log.startswith("--- start at ")
    assert server.command in log
    assert KEY not in log
    assert stat.S_ISREG(server.log.stat().st_mode)
    await server.stop()
    assert not any(map(alive, processes))
    assert server.pid is None
    assert (await server.died()).startswith("was killed by SIGTERM; it said last: Loading weights took ")


async def test_a_second_start_has_the_same_address_and_another_seed(stand_in_python: Path, tmp_path: Path) -> None:
    server = replica(stand_in_python, tmp_path)
    urls, seeds = [], []
    for _ in range(2):
        urls.append(await server.start(lambda words: None))
        words = server.command.split()
        seeds.append(words[words.index("--seed") + 1])
        os.kill(server.pid or 0, signal.SIGKILL)
        assert "was killed by SIGKILL" in await server.died()
    assert urls[0] == urls[1]
    assert seeds[0] != seeds[1]
    assert server.log.read_text().count("--- start at") == 2


async def test_a_port_that_another_took_meanwhile_is_left_to_it(stand_in_python: Path, tmp_path: Path) -> None:
    server = replica(stand_in_python, tmp_path)
    first = await server.start(lambda words: None)
    await server.stop()
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2])), reuse_port=True):
        second = await server.start(lambda words: None)
        assert second != first
        assert await asyncio.to_thread(status, second, KEY) == 200
        await server.stop()


async def test_a_port_taken_inside_is_tried_again_elsewhere(stand_in_python: Path, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("OSError: [Errno 98] Address already in use")
    server = replica(stand_in_python, tmp_path, "--stand-in", f"fails-once={tmp_path / 'words'}")
    assert await asyncio.to_thread(status, await server.start(lambda words: None), KEY) == 200
    assert server.log.read_text().count("--- start at") == 2
    await server.stop()
    server = replica(stand_in_python, tmp_path, "--stand-in", f"fails={tmp_path / 'words'}")
    with pytest.raises(ServerFailed, match="a port that it needs is taken") as failure:
        await server.start(lambda words: None)
    assert failure.value.tail[-1] == "OSError: [Errno 98] Address already in use"
    assert server.log.read_text().count("--- start at") == 2 + 4


async def test_a_failed_start_says_why_where_and_what_was_said(stand_in_python: Path, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("one\ntwo\nRuntimeError: Engine core initialization failed. See above.\n")
    server = replica(stand_in_python, tmp_path, "--stand-in", f"fails={tmp_path / 'words'}")
    with pytest.raises(ServerFailed) as failure:
        await server.start(lambda words: None)
    assert failure.value.reason == (
        "ended with exit code 1; it said last: RuntimeError: Engine core initialization failed. See above. "
        f"(log: {server.log})"
    )
    assert failure.value.tail[-3:] == ("one", "two", "RuntimeError: Engine core initialization failed. See above.")
    assert server.pid is None


async def test_an_earlier_start_in_the_log_explains_nothing(stand_in_python: Path, tmp_path: Path) -> None:
    log = tmp_path / "servers" / "vllm-0.log"
    log.parent.mkdir()
    log.write_text("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n")
    (tmp_path / "words").write_text("ValueError: nobody knows this one\n")
    server = replica(stand_in_python, tmp_path, "--stand-in", f"fails={tmp_path / 'words'}")
    with pytest.raises(ServerFailed, match=r"^ended with exit code 1; it said last: ValueError: nobody knows"):
        await server.start(lambda words: None)


async def test_one_that_never_gets_anywhere(
    stand_in_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 4.0)
    server = replica(stand_in_python, tmp_path, "--stand-in", "mute")
    with pytest.raises(ServerFailed, match="does not answer, and has done nothing for 4 s"):
        await asyncio.wait_for(server.start(lambda words: None), 120)
    assert server.pid is None


async def test_a_start_that_is_called_off_leaves_nothing(stand_in_python: Path, tmp_path: Path) -> None:
    server = replica(stand_in_python, tmp_path, "--stand-in", "mute")
    starting = asyncio.create_task(server.start(lambda words: None))
    while server.pid is None:
        await asyncio.sleep(0.05)
    processes = family(server.pid)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await server.stop()
    assert not any(map(alive, processes))


def test_a_reserved_port_is_given_to_nobody_who_asks_for_any() -> None:
    with reserved_port() as port:
        for _ in range(500):
            with socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                assert other.getsockname()[1] != port
        with reserved_port() as another, reserved_port() as third:
            assert len({port, another, third}) == 3
        with socket.socket() as server:  # as a server does that was told the number
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
            socket.create_connection(("127.0.0.1", port)).close()
            with reserved_port(wanted=port) as other_port:
                assert other_port != port
    with reserved_port(wanted=port) as again:
        assert again == port

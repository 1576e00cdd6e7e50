"""Nothing of a server is left behind, whatever happens to whom."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from extrap_eval.engines.servers.guardian import KEY, KEY_FILE, Task
from extrap_eval.engines.servers.process import GuardedProcess
from tests.engines.servers.processes import alive, gone

pytestmark = pytest.mark.slow  # every test runs several processes
FAKE = Path(__file__).with_name("fake_server.py")
SECRET = "k" * 8 + "0123456789"
# How a command asks for a server and then waits, or worse.
ASKING = """
import asyncio, os, signal, sys
from extrap_eval.engines.servers.guardian import Task
from extrap_eval.engines.servers.process import GuardedProcess
async def main():
    process = await GuardedProcess.launch(Task(sys.argv[2:], {}, sys.argv[1], "", [], 0.5))
    while not os.path.exists(sys.argv[4]):
        await asyncio.sleep(0.02)
    %s
    await process.ended()
asyncio.run(main())
"""
THEN = {
    "kill -9": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "SIGHUP": "os.kill(os.getpid(), signal.SIGHUP)",
    "Ctrl-C": "os.kill(os.getpid(), signal.SIGINT)",
    "exception": "raise RuntimeError",
    "os._exit": "os._exit(3)",
    "forgets it": "return",
    "kill -9 while a fork of it lives on": "signal.alarm(30) if os.fork() == 0 else os.kill(os.getpid(), 9)",
}


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """Waits for the fake server to say who is there; kills whoever a failing test leaves."""
    path = tmp_path / "pids"

    def read() -> list[int]:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return [int(pid) for pid in path.read_text().split()]

    yield read
    for pid in path.read_text().split() if path.exists() else []:
        if alive(int(pid)):
            os.kill(int(pid), signal.SIGKILL)


def task(tmp_path: Path, *modes: str, **changes: Any) -> Task:
    values: dict[str, Any] = {
        "argv": [sys.executable, str(FAKE), str(tmp_path / "pids"), *modes],
        "env": {},
        "log": str(tmp_path / "log"),
        "key": "",
        "cores": [],
        "grace": 0.5,
    }
    return Task(**values | changes)


async def test_stop_ends_the_whole_family(tmp_path: Path, pids: Callable[[], list[int]]) -> None:
    process = await GuardedProcess.launch(task(tmp_path))
    family = await asyncio.to_thread(pids)
    assert family[0] == process.pid
    assert process.running
    assert all(map(alive, family))
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert await process.stop() == -signal.SIGTERM
    assert not any(map(alive, family))
    assert not process.running


async def test_one_that_ignores_sigterm_is_killed_after_the_grace(
    tmp_path: Path, pids: Callable[[], list[int]]
) -> None:
    process = await GuardedProcess.launch(task(tmp_path, "deaf"))
    family = await asyncio.to_thread(pids)
    assert await process.stop() == -signal.SIGKILL
    assert not any(map(alive, family))


async def test_a_stopped_one_can_be_killed(tmp_path: Path, pids: Callable[[], list[int]]) -> None:
    process = await GuardedProcess.launch(task(tmp_path, grace=600.0))
    family = await asyncio.to_thread(pids)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    assert await asyncio.wait_for(process.kill(), 30) == -signal.SIGKILL
    assert not any(map(alive, family))


async def test_kill_comes_through_while_stop_waits(tmp_path: Path, pids: Callable[[], list[int]]) -> None:
    process = await GuardedProcess.launch(task(tmp_path, "deaf", grace=600.0))
    family = await asyncio.to_thread(pids)
    stopping = asyncio.create_task(process.stop())
    await asyncio.sleep(0.5)
    assert not stopping.done()
    await asyncio.wait_for(process.kill(), 30)
    assert await stopping == -signal.SIGKILL
    assert not any(map(alive, family))


@pytest.mark.parametrize("how", ["killed", "by itself"])
async def test_a_server_that_ends_leaves_nobody(tmp_path: Path, pids: Callable[[], list[int]], how: str) -> None:
    process = await GuardedProcess.launch(task(tmp_path, *(["brief"] if how == "by itself" else [])))
    family = await asyncio.to_thread(pids)
    if how == "killed":
        os.kill(process.pid, signal.SIGKILL)
    assert await process.ended() == (0 if how == "by itself" else -signal.SIGKILL)
    assert not any(map(alive, family))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_dead_guardian_is_no_way_out(
    tmp_path: Path, pids: Callable[[], list[int]], number: signal.Signals
) -> None:
    process = await GuardedProcess.launch(task(tmp_path))
    family = await asyncio.to_thread(pids)
    os.kill(psutil.Process(process.pid).ppid(), number)
    await asyncio.wait_for(process.ended(), 30)
    # The orphan in a session of its own cannot be found any more when its guardian dies by force.
    assert not any(map(alive, family[:3] if number == signal.SIGKILL else family))


@pytest.mark.parametrize("then", THEN)
def test_whatever_happens_to_who_asked(tmp_path: Path, pids: Callable[[], list[int]], then: str) -> None:
    files = [str(tmp_path / "log"), sys.executable, str(FAKE), str(tmp_path / "pids")]
    asking = subprocess.Popen(
        [sys.executable, "-c", ASKING % THEN[then], *files],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    family = pids()
    assert asking.wait(timeout=60) != 0 or then == "forgets it"
    assert gone(family, seconds=10)


async def test_the_key_shows_nowhere(tmp_path: Path, pids: Callable[[], list[int]]) -> None:
    argv = [sys.executable, str(FAKE), str(tmp_path / "pids"), "--config", KEY_FILE, "--log", SECRET[:4]]
    process = await GuardedProcess.launch(task(tmp_path, argv=argv, env={"FAKE_KEY": KEY}, key=SECRET))
    family = await asyncio.to_thread(pids)
    guardian = psutil.Process(process.pid).parent()
    assert guardian is not None
    for pid in [*family, guardian.pid]:
        assert SECRET not in " ".join(psutil.Process(pid).cmdline())
    words = psutil.Process(process.pid).cmdline()
    file = Path(words[words.index("--config") + 1])
    assert file.suffix == ".yaml"
    assert file.read_text() == f'api-key: "{SECRET}"\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    await process.stop()
    assert not file.parent.exists()
    log = (tmp_path / "log").read_text()
    assert "key is ***, a progress bar: 50%" in log
    assert SECRET not in log


async def test_the_surroundings_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    monkeypatch.setenv("KEPT", "yes")
    core = min(os.sched_getaffinity(0))
    show = "import os; e = os.environ; print(e.get('RAY_ADDRESS'), e['KEPT'], e['PATH'], os.sched_getaffinity(0))"
    argv = [sys.executable, "-c", show]
    process = await GuardedProcess.launch(task(tmp_path, argv=argv, env={"PATH": "/first:$PATH"}, cores=[core]))
    assert await process.ended() == 0
    assert (tmp_path / "log").read_text() == f"None yes /first:{os.environ['PATH']} {{{core}}}\n"


async def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    process = await GuardedProcess.launch(task(tmp_path, argv=["/no/such/python"]))
    assert (process.pid, await process.ended()) == (0, 127)
    assert (tmp_path / "log").read_text() == "cannot run /no/such/python: No such file or directory\n"


async def test_a_talkative_server_is_copied_whole_and_can_still_be_stopped(tmp_path: Path) -> None:
    key = "0123456789abcdef"
    talk = f"for i in range(200000): print(i, '{key}'[:8] + '{key}'[8:])"
    process = await GuardedProcess.launch(task(tmp_path, argv=[sys.executable, "-c", talk], key=key))
    assert await process.ended() == 0
    assert (tmp_path / "log").read_text() == "".join(f"{i} ***\n" for i in range(200000))
    endless = "while True: print('x' * 1000)"
    process = await GuardedProcess.launch(task(tmp_path, argv=[sys.executable, "-c", endless], log=os.devnull))
    await asyncio.sleep(0.5)
    assert await asyncio.wait_for(process.stop(), 10) == -signal.SIGTERM

"""Runs one server and outlives whoever asked for it just long enough to end it.

This file is a program of its own: ``python guardian.py`` with a ``Task`` as one line of JSON on stdin. It
starts the command in a new session, copies its output into the log, and ends it, with every process that
descends from it, when

- its stdin closes: the asking process said so, or died, by whatever signal;
- the asking process is gone though stdin is still open (a fork of it may hold the other end);
- the command itself ends, which may leave processes behind.

On stdout it writes ``started PID``, and ``ended STATUS`` (as ``subprocess`` counts it) when nothing is left.
``stop`` and ``kill`` on stdin end the server gently or at once.

Nothing of extrap_eval is imported here, so it starts in a moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

KEY = "{api key}"  # in the environment: replaced by the key
KEY_FILE = "{api key file}"  # in the command: replaced by a private YAML file with the key in it
HIDDEN = "***"
MOMENT = 2.0  # for processes that may end by themselves
LAST_WAIT = 60.0  # for processes that do not go although killed (a driver may hold them)
_TICK = 0.2
_LINE_LIMIT = 1 << 16
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Task:
    """``env`` is added to this process's own (``$PATH`` in it is that of here). ``log`` is appended to; ``key``
    never shows there. ``cores``: those the server may run on, empty for all. ``grace``: seconds between
    SIGTERM and SIGKILL.
    """

    argv: list[str]
    env: dict[str, str]
    log: str
    key: str
    cores: list[int]
    grace: float


def main() -> None:
    parent = os.getppid()
    orders: list[str] = []
    # The terminal's signals are meant for the asking process, whose end is noticed. (Ignored signals would be
    # inherited by the server, handled ones are not.)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: orders.append("stop"))
    with open(0, "rb", buffering=0, closefd=False) as stdin:  # unbuffered: what follows is selected on
        line = stdin.readline()
    if not line.endswith(b"\n"):
        return
    task = Task(**json.loads(line))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    secrets = Path(tempfile.mkdtemp(prefix="extrap-eval-"))
    try:
        with Path(task.log).open("ab", buffering=0) as log:
            status = _run(task, secrets, LogCopy(log, task.key), parent, orders)
    finally:
        shutil.rmtree(secrets, ignore_errors=True)
    _say(f"ended {status}")


def _run(task: Task, secrets: Path, copy: LogCopy, parent: int, orders: list[str]) -> int:
    try:
        server = _start(task, secrets)
    except OSError as error:
        copy.write(f"cannot run {task.argv[0]}: {error.strerror}\n".encode())
        return 127
    _say(f"started {server.pid}")
    try:
        _watch(server, copy, parent, orders, task.grace)
    finally:
        _end_everything(server.pid, gently=server.poll() is not None)
        _drain(server, copy)
        copy.close()
    try:
        return server.wait(timeout=_TICK)
    except subprocess.TimeoutExpired:  # not even SIGKILL ended it
        return -signal.SIGKILL


def _start(task: Task, secrets: Path) -> subprocess.Popen[bytes]:
    argv = list(task.argv)
    if KEY_FILE in argv:
        file = secrets / "server.yaml"
        file.touch(mode=0o600)
        file.write_text(f"api-key: {json.dumps(task.key)}\n")
        argv[argv.index(KEY_FILE)] = str(file)
    # A server is no part of the Ray cluster that this process may belong to.
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    for name, value in task.env.items():
        env[name] = task.key if value == KEY else value.replace("$PATH", os.environ.get("PATH", ""))

    def in_child() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if task.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, task.cores)

    server = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
        preexec_fn=in_child,
    )
    assert server.stdout is not None
    os.set_blocking(server.stdout.fileno(), False)
    return server


def _watch(server: subprocess.Popen[bytes], copy: LogCopy, parent: int, orders: list[str], grace: float) -> None:
    """Return when the server's first process has ended, or must be ended by force."""
    assert server.stdout is not None
    ready = selectors.DefaultSelector()
    ready.register(sys.stdin.fileno(), selectors.EVENT_READ)
    ready.register(server.stdout.fileno(), selectors.EVENT_READ)
    deadline: float | None = None
    while server.poll() is None:
        for key, _ in ready.select(_TICK):
            if key.fd == server.stdout.fileno():
                if not _drain(server, copy):
                    ready.unregister(key.fd)
            elif order := os.read(key.fd, 4096):
                orders.extend(order.decode().split())
            else:
                ready.unregister(key.fd)
                orders.append("stop")
        if os.getppid() != parent:
            orders.append("stop")
        if "kill" in orders:
            return
        if orders and deadline is None:
            deadline = time.monotonic() + grace
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            return


def _end_everything(session: int, *, gently: bool) -> None:
    """Kill all that descends from here until nothing is left. Orphans of the server are children of this
    process where the system supports that (Linux); elsewhere those in the server's session are found.

    ``gently``: the server has ended by itself, so what it left gets a moment to do the same. Python's trackers
    of shared resources always do: they remove the shared memory of the processes that are gone. What they leave
    (they may have been killed as well, or be slow) is removed here.
    """
    deadline = time.monotonic() + LAST_WAIT
    spared = _is_tracker if not gently else _anything
    shared: set[Path] = set()
    while time.monotonic() < deadline:
        left = [p for p in psutil.Process().children(recursive=True) if _alive(p)] or in_session(session)
        if not left:
            break
        shared |= _shared_memory(p.pid for p in left)
        for process in left:
            with contextlib.suppress(psutil.Error):
                if not spared(process):
                    process.kill()
        soon = time.monotonic() + MOMENT
        while any(map(_alive, left)) and time.monotonic() < soon:
            time.sleep(_TICK / 4)
        spared = _nothing
    for segment in shared - _shared_memory(psutil.pids()):
        segment.unlink(missing_ok=True)


def _shared_memory(pids: Iterable[int]) -> set[Path]:
    """The shared memory that these processes have open by name (Linux; elsewhere none is found)."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
            found |= {Path(line[line.index("/dev/shm/") :]) for line in lines if "/dev/shm/" in line}
    return {path for path in found if not path.name.endswith(" (deleted)")}


def in_session(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and _alive(process):
                found.append(process)
    return found


def _is_tracker(process: psutil.Process) -> bool:
    return "multiprocessing.resource_tracker" in " ".join(process.cmdline())


def _anything(process: psutil.Process) -> bool:
    return True


def _nothing(process: psutil.Process) -> bool:
    return False


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


class LogCopy:
    """Copies output into the log line by line, so that the key is found wherever it stands."""

    def __init__(self, log: IO[bytes], key: str) -> None:
        self._log = log
        self._key = key.encode()
        self._held = b""

    def write(self, data: bytes) -> None:
        self._held += data
        end = max(self._held.rfind(b"\n"), self._held.rfind(b"\r")) + 1
        if len(self._held) - end > _LINE_LIMIT:
            end = len(self._held) - len(self._key)
        self._put(self._held[:end])
        self._held = self._held[end:]

    def close(self) -> None:
        self._put(self._held)
        self._held = b""

    def _put(self, data: bytes) -> None:
        if self._key:
            data = data.replace(self._key, HIDDEN.encode())
        with contextlib.suppress(OSError):  # a full disk must not end the server
            self._log.write(data)


def _drain(server: subprocess.Popen[bytes], copy: LogCopy) -> bool:
    """Copy what there is; False at the end of the output."""
    assert server.stdout is not None
    try:
        for _ in range(64):  # a server that never stops talking must not be all there is to do
            if not (data := os.read(server.stdout.fileno(), 1 << 16)):
                return False
            copy.write(data)
    except BlockingIOError:
        pass
    return True


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(option, value, 0, 0, 0)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be listening any more
        print(line, flush=True)


if __name__ == "__main__":
    main()

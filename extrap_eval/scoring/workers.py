"""Processes that answer one question at a time and can be killed.

sympy may hang or eat all memory on what a model wrote, and only the end of a process stops it. Each worker is
a pair: a supervisor (a fresh interpreter, which does the imports once and never computes) and its fork, which
computes. When a question takes too long or too much memory, the supervisor kills the fork with SIGKILL and
forks again, which takes milliseconds because nothing is imported again. When the owner of the pool dies, its
supervisors read the end of their pipe, kill their forks and go.

Not ``concurrent.futures`` or ``multiprocessing.Pool``: they cannot kill a worker by deadline. Not the start
methods of ``multiprocessing``: they import the caller's main module again in every worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, Pipe, wait
from types import ModuleType
from typing import Any, cast

Job = tuple[str, tuple[Any, ...]]  # name of a function in the pool's module, its arguments

KILLED = "killed"  # the reply to a job that took too long or too much memory, or whose process died
_WATCH_SECONDS = 0.05  # how often memory is looked at; jobs shorter than this are never looked at
_GRACE_SECONDS = 10  # after which a fork whose supervisor is gone ends itself


class Workers:
    """A pool of ``count`` workers for the functions of one module. Processes start with the first job.

    ``module``: name of an importable module; its ``prepare()`` is called once in every supervisor.
    ``timeout``: seconds of wall clock per job. ``memory_mb``: resident memory of a worker, in MiB, at which
    it is killed; the kernel refuses it more than twice that much address space, so that one huge allocation
    fails at once.
    """

    def __init__(self, module: str, count: int, *, timeout: float, memory_mb: int):
        self._count = count
        self._settings = (module, timeout, memory_mb)
        self._workers: list[tuple[subprocess.Popen[bytes], Connection]] = []

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        while self._workers:
            _end(*self._workers.pop())

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """The replies in order of the jobs: what the function returned, or ``KILLED``.

        A job that raises counts as killed. Raises RuntimeError when a worker cannot start, for example
        because the module cannot be imported.
        """
        replies: list[Any] = [None] * len(jobs)
        queue = iter(enumerate(jobs))
        busy: dict[Connection, int] = {}
        try:
            self._start(min(self._count, len(jobs)) - len(self._workers))
            for _, connection in self._workers:
                _hand_out(queue, connection, busy)
            while busy:
                for ready in wait(list(busy)):
                    connection = cast("Connection[Any, Any]", ready)
                    index = busy.pop(connection)
                    try:
                        replies[index] = connection.recv()
                    except (EOFError, OSError):  # the supervisor itself was killed, by the system or a person
                        replies[index] = KILLED
                        connection = self._replace(connection)
                    _hand_out(queue, connection, busy)
        except BaseException:
            self.close()  # replies under way belong to nobody
            raise
        return replies

    def _start(self, count: int) -> None:
        """Start more workers, all at once, and wait until they are ready."""
        new = [_start(*self._settings) for _ in range(count)]
        self._workers += new
        for _, connection in new:
            try:
                ready = connection.recv()
            except (EOFError, OSError):
                ready = "its process ended at once"
            if ready is not True:
                raise RuntimeError(f"a judging process cannot start: {ready}")

    def _replace(self, connection: Connection) -> Connection:
        index = next(i for i, (_, known) in enumerate(self._workers) if known is connection)
        _end(*self._workers.pop(index))
        self._start(1)
        return self._workers[-1][1]


def _hand_out(queue: Iterator[tuple[int, Job]], connection: Connection, busy: dict[Connection, int]) -> None:
    task = next(queue, None)
    if task is not None:
        busy[connection] = task[0]
        with suppress(OSError):  # the other end is gone, which the next recv finds out
            connection.send(task[1])


def _start(module: str, timeout: float, memory_mb: int) -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), module, str(timeout), str(memory_mb)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # parser complaints about what a model wrote
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    return process, ours


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    """The supervisor kills its fork when the connection closes."""
    connection.close()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ---- in the supervisor ----


def _supervise(connection: Connection, module: str, timeout: float, memory_mb: int) -> None:
    # Ctrl-C in a terminal reaches every process of the command; the owner decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        functions = import_module(module)
        functions.prepare()
        fork = _Fork(connection, functions, timeout, memory_mb)
    except Exception as error:
        connection.send(repr(error))
        return
    try:
        connection.send(True)
        while True:
            job = connection.recv()
            if fork.connection.poll():  # no job is under way: this is the end of the pipe, it died meanwhile
                fork = fork.again()
            reply = fork.ask(job)
            if reply is KILLED:
                fork = fork.again()
            connection.send(reply)
    except (EOFError, OSError):
        pass  # the pool was closed, or its process is gone
    finally:
        fork.kill()


class _Fork:
    """The process that computes, seen from its supervisor."""

    def __init__(self, owner: Connection, functions: ModuleType, timeout: float, memory_mb: int):
        self._made_with = (owner, functions, timeout, memory_mb)
        self.connection, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            owner.close()
            self.connection.close()
            _compute(theirs, functions, timeout, memory_mb)
        theirs.close()

    def ask(self, job: Job) -> Any:
        """The reply, or ``KILLED`` when it must be killed or died. EOFError when the owner is gone."""
        owner, _, timeout, memory_mb = self._made_with
        deadline = time.monotonic() + timeout
        try:
            self.connection.send(job)
            while not self.connection.poll(max(0.0, min(_WATCH_SECONDS, deadline - time.monotonic()))):
                if owner.poll():  # one job at a time, so this is the end of the pipe
                    raise EOFError
                if time.monotonic() >= deadline or _resident_bytes(self._pid) > memory_mb << 20:
                    return KILLED
            return self.connection.recv()
        except (EOFError, OSError):
            if owner.poll():
                raise
            return KILLED

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self.connection.close()

    def again(self) -> _Fork:
        self.kill()
        return _Fork(*self._made_with)


def _resident_bytes(pid: int) -> int:
    import psutil

    try:
        size: int = psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0
    return size


# ---- in the fork ----


def _compute(connection: Connection, functions: ModuleType, timeout: float, memory_mb: int) -> None:
    """Answer jobs until the connection closes or one of them raises; never returns."""
    import resource

    try:
        if sys.platform == "linux":  # elsewhere the kernel has no such limit, and the supervisor's watch must do
            resource.setrlimit(resource.RLIMIT_AS, (2 * memory_mb << 20,) * 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        while True:
            name, arguments = connection.recv()
            # Should the supervisor be killed, nobody else would end a computation that hangs: the alarm does.
            signal.alarm(int(timeout) + _GRACE_SECONDS)
            reply = getattr(functions, name)(*arguments)
            signal.alarm(0)
            connection.send(reply)
    finally:
        os._exit(1)


if __name__ == "__main__":
    _supervise(Connection(int(sys.argv[1])), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))

"""Worker processes: replies in order, limits that hold, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from extrap_eval.scoring.workers import KILLED, Job, Workers

JOBS = "tests.scoring.jobs"


@contextmanager
def pool(count: int = 1, *, timeout: float = 30.0, memory_mb: int = 600) -> Iterator[Workers]:
    workers = Workers(JOBS, count, timeout=timeout, memory_mb=memory_mb)
    try:
        yield workers
    finally:
        workers.close()


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_replies_stand_in_the_order_of_the_jobs() -> None:
    jobs: list[Job] = [("sleep", (0.2,)), *(("double", (i,)) for i in range(50))]
    with pool(2) as workers:
        assert workers.run([]) == []
        assert workers.run(jobs) == ["slept", *(2 * i for i in range(50))]
        assert workers.run(jobs[1:3]) == [0, 2]


def test_a_job_over_time_is_killed_whatever_it_ignores_and_the_next_one_runs() -> None:
    jobs: list[Job] = [("ignore_signals_and_spin", ()), ("double", (4,)), ("sleep", (60,)), ("double", (5,))]
    with pool(timeout=0.3) as workers:
        workers.run([("double", (1,))])
        start = time.monotonic()
        assert workers.run(jobs) == [KILLED, 8, KILLED, 10]
        assert time.monotonic() - start < 10  # far below the minute that one of them wanted


def test_a_job_over_memory_is_killed_long_before_its_time() -> None:
    with pool(timeout=60) as workers:
        start = time.monotonic()
        assert workers.run([("hold_memory", (900, 50)), ("hold_memory", (300, 0.2))]) == [KILLED, 30]
        assert time.monotonic() - start < 25


def test_one_huge_allocation_fails_at_once() -> None:
    with pool(timeout=60) as workers:
        assert workers.run([("eat_memory_at_once", (4096,)), ("eat_memory_at_once", (64,))]) == [KILLED, 64 << 20]


@pytest.mark.parametrize("death", ["crash", "leave", "fail"])
def test_a_worker_that_dies_is_replaced(death: str) -> None:
    with pool() as workers:
        assert workers.run([(death, ()), ("double", (4,)), (death, ()), ("double", (5,))]) == [KILLED, 8, KILLED, 10]


def test_a_worker_killed_between_two_jobs_costs_no_job() -> None:
    with pool() as workers:
        (pid,) = workers.run([("own_pid", ())])
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: gone(pid))
        assert workers.run([("double", (4,))]) == [8]


def test_a_killed_supervisor_is_replaced_and_leaves_nothing() -> None:
    with pool() as workers:
        (supervisor,) = workers.run([("parent_pid", ())])
        (pid,) = workers.run([("own_pid", ())])
        os.kill(supervisor, signal.SIGKILL)
        assert workers.run([("double", (3,)), ("double", (4,))]) == [KILLED, 8]
        assert eventually(lambda: gone(pid))


def test_close_ends_every_process() -> None:
    with pool(2) as workers:
        pids = workers.run([*[("parent_pid", ())] * 20, *[("own_pid", ())] * 20])
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in set(pids))


def test_an_interrupted_run_closes_the_pool() -> None:
    with pool() as workers:
        (pid,) = workers.run([("own_pid", ())])
        interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            workers.run([("sleep", (60,))])
        interrupt.join()
        assert eventually(lambda: gone(pid))
        assert workers.run([("double", (4,))]) == [8]


OWNER = f"""
from extrap_eval.scoring.workers import Workers
workers = Workers({JOBS!r}, 1, timeout=60, memory_mb=600)
print(*workers.run([("parent_pid", ()), ("own_pid", ())]), flush=True)
workers.run([("ignore_signals_and_spin", ())])
"""


def test_nothing_survives_an_owner_that_was_killed() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, env=env, text=True) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.3)
        assert not any(gone(pid) for pid in pids)
        owner.kill()
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in pids)


def test_a_module_that_cannot_be_imported_is_an_error_not_a_verdict() -> None:
    workers = Workers("tests.scoring.no_such_module", 1, timeout=5, memory_mb=600)
    with pytest.raises(RuntimeError, match="no_such_module"):
        workers.run([("double", (4,))])


def test_no_process_starts_without_a_job() -> None:
    children = len(psutil.Process().children(recursive=True))
    with pool() as workers:
        workers.run([])
        assert len(psutil.Process().children(recursive=True)) == children

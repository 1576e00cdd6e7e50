"""Runs over real servers under faults: each must end complete, with each sample once and nothing left behind.

``python -m tests.faults.campaign --faults 200`` is the same at length.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engine_servers import REPO, executable_of

pytestmark = [pytest.mark.perf, pytest.mark.engine, pytest.mark.timeout(5400)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("vllm", ("--faults", "29", "--per-run", "3")),  # every kind once
        ("sglang", ("--faults", "11", "--samples", "120", "--budget", "64", "--only", "kill,SIGSTOP,network")),
    ],
)
def test_nothing_is_lost_or_doubled(kind: str, options: tuple[str, ...]) -> None:
    executable_of(kind)  # type: ignore[arg-type]
    command = [sys.executable, "-m", "tests.faults.campaign", "--engine", kind, *options]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    print("\n" + done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]

"""A server as far as processes go: a family of them, which does not care to end with its first member.

``python fake_server.py PIDS [MODE...]`` starts a child, a grandchild and an orphan in a session of its own, writes the
four process ids into the file PIDS, prints its API key and waits. Modes: ``deaf`` ignores SIGTERM, ``brief`` ends at
once and leaves its family, ``quiet`` prints nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
GRANDCHILD = (
    f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print(p.pid, flush=True)"
)


def main(pids: Path, modes: list[str]) -> None:
    if "deaf" in modes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(
        [sys.executable, "-c", GRANDCHILD + f"\n{SLEEP}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    orphan = orphaned()
    family = [os.getpid(), child.pid, grandchild, orphan]
    pids.with_suffix(".tmp").write_text(" ".join(map(str, family)))
    pids.with_suffix(".tmp").rename(pids)
    if "quiet" not in modes:
        print(f"key is {os.environ.get('FAKE_KEY')}, a progress bar: 50%", end="\r", flush=True)
        print(f"argv {sys.argv[1:]}", flush=True)
    if "brief" not in modes:
        time.sleep(600)


def orphaned() -> int:
    """A process whose parent is gone, in a session of its own."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        process = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True, stdout=subprocess.DEVNULL)
        os.write(writing, str(process.pid).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reading, 100))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

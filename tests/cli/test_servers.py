"""``sample`` with servers that it starts itself: a stand-in engine, so that it is quick (real ones are in
``tests/engines/servers``)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from extrap_eval.store import open_run
from tests.cli.conftest import Command
from tests.engines.servers import stand_in
from tests.engines.servers.processes import alive, family, gone

pytestmark = pytest.mark.slow  # every test runs commands and servers
ENV = os.environ | {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def engine_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.make(tmp_path_factory.mktemp("engine") / "env")


def arguments(python: Path, *more: str) -> list[str]:
    return [
        *("sample", "--model", "residue-explorer", "--benchmark", "residue_search_tiny", "--n", "8"),
        *("--budget-max", "64", "--engine", "vllm", "--engine-python", str(python), "--gpus", "0", "--out", "run"),
        *more,
    ]


def test_two_servers_from_start_to_end(command: Command, engine_python: Path, tmp_path: Path) -> None:
    done = command(*arguments(engine_python, "--replicas", "2"), env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run: 96 sampled now, 0 missing" in done.stdout
    run = open_run(tmp_path / "run")
    (invocation,) = run.manifest.invocations
    assert (invocation["engine"]["kind"], invocation["engine"]["version"]) == ("vllm", "0.32.0")
    commands = invocation["engine"]["commands"]
    assert [re.findall(r"VLLM_CPU_OMP_THREADS_BIND=(\S+)", line) for line in commands] == [["0"], ["1"]]
    assert len({re.findall(r"--seed (\d+)", line)[0] for line in commands}) == 2
    assert "VLLM_API_KEY=*** " in commands[0]
    assert "--max-model-len 148 " in commands[0]  # 76 + 64 + 8
    logs = sorted((tmp_path / "run" / "servers").iterdir())
    assert [log.name for log in logs] == ["vllm-0.log", "vllm-1.log"]
    for line, log in zip(commands, logs, strict=True):
        assert line in log.read_text()
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(engine_python) in (p.info["cmdline"] or [])]


def start(python: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A run that is at work, with many requests still to come."""
    slow = arguments(python, "--replicas", "2", "--concurrency", "4", "--server-arg", "--stand-in slow")
    process = subprocess.Popen(
        [sys.executable, "-c", "from extrap_eval.cli import main; main()", *slow],
        cwd=folder,
        env=ENV,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    journal = folder / "run" / "completions" / "rollout" / "journal.jsonl"
    deadline = time.monotonic() + 300
    while not (journal.exists() and journal.stat().st_size):
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.fixture
def working(engine_python: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    process = start(engine_python, tmp_path)
    members = family(process.pid)
    yield process, members
    for pid in members:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, -1), (signal.SIGKILL, -9)]
)
def test_nothing_is_left_and_the_run_goes_on(
    command: Command,
    engine_python: Path,
    tmp_path: Path,
    working: tuple[subprocess.Popen[bytes], list[int]],
    number: signal.Signals,
    code: int,
) -> None:
    process, members = working
    assert len(members) == 1 + 2 * 3  # a guardian, a server and its engine for each replica
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    if code == 130:
        assert not any(map(alive, members))  # not even for a moment
        assert said.decode().splitlines()[-1].startswith("interrupted: what was finished is kept")
    assert gone(members, seconds=20)
    kept = len(open_run(tmp_path / "run").keys())
    assert 0 < kept < 96
    done = command(*arguments(engine_python, "--json"), env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["finished"] == 96 - kept
    assert done.stderr == ""


def test_two_ctrl_cs(working: tuple[subprocess.Popen[bytes], list[int]]) -> None:
    process, members = working
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert gone(members, seconds=20)


def test_servers_that_do_not_start(command: Command, engine_python: Path, tmp_path: Path) -> None:
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    (tmp_path / "words").write_text(words)
    argument = f"--stand-in fails={tmp_path / 'words'}"
    done = command(*arguments(engine_python, "--replicas", "2", "--server-arg", argument), env=ENV)
    assert done.returncode == 1
    last, *before = reversed(done.stderr.splitlines())
    mend = "out of GPU memory: give a replica more GPUs"
    assert re.fullmatch(rf"error: vllm \d \(CPU \d\): {mend} .* \(log: run/servers/vllm-\d.log\)", last)
    assert f"  | {words}" in before
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--replicas", "999"), r"error: 999 x 1 CPUs wanted .* lower --replicas or --tp"),
        (("--gpus", "9"), r"error: --gpus 9: this machine shows \d .*; ask for fewer"),
        (("--server-arg", "--port=1"), r"error: --server-arg --port: this one is set by extrap-eval; leave it out"),
        (("--engine", "sglang"), r"error: --engine-python \S+: there is no sglang in that environment; .*"),
        (("--engine-python", "/no/such"), r"error: --engine-python /no/such: there is no such interpreter; .*"),
        (("--model", "markov", "--benchmark", "hidden_number"), r"error: markov: --engine vllm needs weights.*"),
    ],
    ids=["replicas", "gpus", "argument", "engine", "python", "weights"],
)  # fmt: skip
def test_what_cannot_be_is_one_line(command: Command, engine_python: Path, more: tuple[str, ...], said: str) -> None:
    done = command(*arguments(engine_python, *more), env=ENV)
    assert done.returncode == 1
    assert re.fullmatch(said, done.stderr.strip())


def test_a_dry_run_shows_what_a_machine_with_gpus_would_start(command: Command, engine_python: Path) -> None:
    done = command(*arguments(engine_python, "--gpus", "8", "--tp", "2", "--dry-run"), env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("# GPU")] == ["# GPU 0,1", "# GPU 2,3", "# GPU 4,5", "# GPU 6,7"]
    shown = [line for line in lines if " -m vllm.entrypoints.cli.main serve " in line]
    assert len(shown) == 4
    assert all("--tensor-parallel-size 2" in line and "VLLM_API_KEY=***" in line for line in shown)
    assert len({re.findall(r"--port (\d+)", line)[0] for line in shown}) == 4
    assert "assumed: 8 GPUs; this machine shows 0" in lines
    done = command(*arguments(engine_python, "--gpus", "8", "--dry-run", "--json"), env=ENV)
    assert len(json.loads(done.stdout)["servers"]) == 8


def test_the_next_models_servers_start_in_the_tail_of_the_last_one(
    command: Command, engine_python: Path, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(
        "name: two\nbenchmark: residue_search_tiny\nout: runs\n"
        "models: [{model: residue-explorer}, {model: residue-stopper}]\n"
        "stages: {sample: {n: 8, budget_max: 64}}\n"
    )
    slow = ("--server-arg", f"--stand-in tail={tmp_path / 'tail'}")
    engine = ("--engine", "vllm", "--engine-python", engine_python, "--gpus", "0", "--replicas", "2")
    done = command("run", "study.yaml", *engine, *slow, env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("96 completions in .* s, 0 missing", done.stdout)) == 2
    for i in range(2):
        log = tmp_path / "runs" / "residue-stopper" / "servers" / f"vllm-{i}.log"
        assert log.read_text().count("--- start at") == 1
    # One server of the first model has the long completion, the other makes room.
    ready = done.stderr.index("residue-stopper: 1 of 2 servers ready")
    assert ready < done.stderr.rindex("residue-explorer on Residue search (tiny): 96/96")

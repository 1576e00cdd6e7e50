"""The command against a real vLLM server: it finishes, survives kill -9, and keeps exactly the promised samples."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from extrap_eval.store import open_run
from tests.cli.conftest import Command
from tests.engine_servers import EngineServer

KILLS = 10


def arguments(server: EngineServer, n: int) -> list[str]:
    return [
        *("sample", "--model", str(server.model_path), "--benchmark", "residue_search_tiny", "--n", str(n)),
        *("--budget-max", "512", "--endpoint", server.url, "--concurrency", "32", "--out", "run", "--json"),
    ]


def test_sample_score_and_table(command: Command, vllm_server: EngineServer, tmp_path: Path) -> None:
    done = command(*arguments(vllm_server, n=4))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished"] == 48
    run = open_run(tmp_path / "run")
    completions = list(run.completions())
    assert {c.token_source for c in completions} == {"engine"}
    assert all(0 < c.n_tokens <= 512 for c in completions)
    assert all(c.n_tokens == 512 or c.finish_reason == "stop" for c in completions)
    table = run.token_table()
    assert table is not None
    assert all("mod" in table.decode(c.token_ids) for c in completions)  # it really works on the problem
    (engine,) = [entry["engine"] for entry in run.manifest.invocations]
    assert (engine["kind"], engine["exact_token_ids"]) == ("vllm", True)
    assert "pass@1" in command("table", "run").stdout


def test_ten_kills_lose_and_double_nothing(command: Command, vllm_server: EngineServer, tmp_path: Path) -> None:
    moments = random.Random(7)
    kept = 0
    killed_at_work = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", "from extrap_eval.cli import main; main()", *arguments(vllm_server, n=24)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        journal = tmp_path / "run" / "completions" / "rollout" / "journal.jsonl"
        deadline = time.monotonic() + 120
        size = journal.stat().st_size if journal.exists() else 0
        while time.monotonic() < deadline and process.poll() is None:  # until it is at work
            if journal.exists() and journal.stat().st_size != size:
                break
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 1.5))
        killed_at_work += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = len(open_run(tmp_path / "run").keys())
        assert now >= kept  # nothing that was on disk is gone
        kept = now
    assert killed_at_work >= KILLS // 2
    done = command(*arguments(vllm_server, n=24))
    assert done.returncode == 0, done.stderr

    run = open_run(tmp_path / "run")
    promised = {(problem.id, index) for problem in run.problems() for index in range(24)}
    stored = [(c.problem_id, c.sample_index) for c in run.completions(columns=[])]
    assert len(stored) == len(promised)
    assert set(stored) == promised
    assert kept + json.loads(done.stdout)["finished"] == len(promised)
    print(f"\n{killed_at_work} of {KILLS} kills while at work; {kept} samples kept over them of {len(promised)}")

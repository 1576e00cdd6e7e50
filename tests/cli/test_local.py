"""``sample --engine local``: a model in the process of the command, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extrap_eval.store import open_run
from tests.cli.conftest import Command

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

KILLS = 3


def arguments(model: Path, n: int) -> list[str]:
    return [
        *("sample", "--engine", "local", "--model", str(model), "--benchmark", "residue_search_tiny"),
        *("--n", str(n), "--budget-max", "300", "--concurrency", "8", "--device", "cpu", "--out", "run"),
    ]


def test_killed_and_resumed(command: Command, small_model: Path, tmp_path: Path) -> None:
    journal = tmp_path / "run" / "completions" / "rollout" / "journal.jsonl"
    kept = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", "from extrap_eval.cli import main; main()", *arguments(small_model, 6)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        size = journal.stat().st_size if journal.exists() else 0
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:  # until it has kept something more
            if journal.exists() and journal.stat().st_size > size:
                break
            time.sleep(0.01)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = len(open_run(tmp_path / "run").keys())
        assert now > kept  # nothing that was on disk is gone
        kept = now
    assert kept < 72
    done = command(*arguments(small_model, 6))
    assert done.returncode == 0, done.stderr
    assert f"{72 - kept} sampled now, 0 missing" in done.stdout
    assert "72/72" in done.stderr  # the progress line
    assert "tokens/s" in done.stderr

    run = open_run(tmp_path / "run")
    completions = list(run.completions())
    assert {c.key for c in completions} == {(p.id, i) for p in run.problems() for i in range(6)}
    assert len(completions) == 72
    assert {c.token_source for c in completions} == {"engine"}
    assert all(
        c.n_tokens == 300 or (c.finish_reason, c.stop_token_id) == ("stop", c.token_ids[-1]) for c in completions
    )
    table = run.token_table()
    assert table is not None
    assert all("mod" in table.decode(c.token_ids) for c in completions)  # it really works on the problem
    for entry in run.manifest.invocations:
        assert (entry["engine"]["kind"], entry["engine"]["context_length"]) == ("local", 5120)
        assert str(small_model) not in json.dumps(entry["engine"])
    assert "pass@1" in command("table", "run").stdout


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--budget-max", "6000"], "5120"),
        (["--device", "toaster"], "device toaster"),
        (["--model", "markov"], "--engine local needs weights"),
        (["--engine", "lokal"], "local"),
    ],
    ids=["too long", "no such device", "no weights", "no such engine"],
)
def test_what_cannot_be_done_is_one_line(command: Command, small_model: Path, changed: list[str], said: str) -> None:
    done = command(*arguments(small_model, 1), "--quiet", *changed)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line

"""Whatever goes wrong ends in one clear line and exit code 1, and what was sampled is intact."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from extrap_eval.store import open_run
from tests.cli.conftest import Command

pytestmark = pytest.mark.slow  # each test runs several commands, each a process of its own

SAMPLE = ("sample", "--model", "markov", "--n", 4, "--budget-max", 2048, "--quiet")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PATH": "/usr/bin:/bin"}


def one_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("name: X\nsource: {hf: no-such/dataset, split: test}\n", "no-such/dataset"),
        ("name: X\nsource: {file: gone.jsonl}\n", "gone.jsonl"),
        ("name: X\nsource: {file: p.jsonl}\nbudget: [1]\n", "budget: unknown field; did you mean budgets?"),
        ("name: X\nsource: {file: p.jsonl}\nsize: 7\n", "7"),
        ("name: [\n", "not valid YAML"),
    ],
    ids=["missing dataset", "missing file", "unknown field", "other size", "broken YAML"],
)
def test_a_bad_benchmark(command: Command, tmp_path: Path, card: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(card)
    (tmp_path / "p.jsonl").write_text('{"problem": "1 + 1?", "answer": "2"}\n')
    done = command(*SAMPLE, "--benchmark", "bad.yaml", env=OFFLINE)
    assert done.returncode == 1
    assert said in one_line(done.stderr)


def test_an_unknown_card_names_its_neighbours(command: Command) -> None:
    done = command("sample", "--model", "e3-1.7", "--benchmark", "aime_2025")
    assert done.returncode == 1
    assert "e3-1.7B" in one_line(done.stderr)


def test_an_unreachable_server(command: Command, small_benchmark: Path) -> None:
    done = command(
        *SAMPLE, "-b", small_benchmark, "--engine", "http", "--endpoint", "http://127.0.0.1:9", "--out", "run"
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in one_line(done.stderr)


def test_gold_that_does_not_parse(command: Command, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"id": "good", "problem": "Hidden number 1: an attempt succeeds with probability 0.350. Find the number.", '
        '"answer": "2"}\n'
        '{"id": "bad", "problem": "Hidden number 2: an attempt succeeds with probability 0.350. Find the number.", '
        '"answer": "\\\\frac{1}{"}\n'
    )
    done = command(*SAMPLE, "--problems", "p.jsonl", "--out", "run")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: problem bad: ")
    done = command("score", "run")
    assert done.returncode == 1
    assert "bad" in one_line(done.stderr)
    assert len(open_run(tmp_path / "run").keys()) == 8


def test_a_corrupted_part(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    assert command(*SAMPLE, "-b", small_benchmark, "--out", "run").returncode == 0
    (part,) = (tmp_path / "run").rglob("part-*.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0xFF
    part.write_bytes(content)
    done = command("score", "run")
    assert done.returncode == 1
    assert part.name in one_line(done.stderr)


def test_a_full_disk(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    """The kernel refuses every file beyond 64 KiB; afterwards the same command completes the run."""

    def no_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    arguments = [*SAMPLE, "-b", small_benchmark, "--out", "run", "--n", 100]
    done = command(*arguments, preexec_fn=no_space)
    assert done.returncode == 1
    assert "journal.jsonl" in one_line(done.stderr)
    kept = open_run(tmp_path / "run").keys()
    assert 0 < len(kept) < 800
    assert command(*arguments).returncode == 0
    assert kept < open_run(tmp_path / "run").keys()
    assert open_run(tmp_path / "run").missing() == []


def test_missing_samples_are_never_scored_as_zeros(command: Command, small_benchmark: Path, tmp_path: Path) -> None:
    arguments = [*SAMPLE, "-b", small_benchmark, "--out", "run"]
    assert command(*arguments).returncode == 0
    (part,) = (tmp_path / "run").rglob("part-*.parquet")
    part.rename(tmp_path / "aside.parquet")
    done = command("table", "run")
    assert done.returncode == 1
    assert "32" in one_line(done.stderr)

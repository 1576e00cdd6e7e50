"""The command as a user runs it: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run ``extrap-eval ARGS...`` in an empty folder and return the finished process."""

    def run(*arguments: object, **keywords: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from extrap_eval.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=keywords.pop("cwd", tmp_path),
            timeout=keywords.pop("timeout", 300),
            **keywords,
        )

    return run


@pytest.fixture
def small_benchmark(tmp_path: Path) -> Path:
    """A benchmark card of 8 problems for the markov model, small enough to sample in a moment."""
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: Small\n"
        "source: {generator: hidden_number, args: {problems: 8, probabilities: [0.05, 0.2]}}\n"
        "answer: {kind: integer}\n"
        "budgets: [256, 512, 1024, 2048]\n"
    )
    return path

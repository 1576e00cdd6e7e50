"""How long a person waits for --help."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.perf


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def test_help_against_a_bare_interpreter() -> None:
    """--help may cost a few interpreter starts, not the import of a numeric library."""
    commands = {
        "python -c pass": ["-c", "pass"],
        "extrap-eval --help": ["-c", "import sys; sys.argv[1:] = ['--help']; from extrap_eval.cli import main; main()"],
        "import pandas": ["-c", "import pandas"],
    }
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(7):
        for name, arguments in commands.items():
            samples[name].append(seconds(arguments))
    print("\ncommand              median s")
    for name, values in samples.items():
        print(f"{name:20} {statistics.median(values):.3f}")
    ratio = statistics.median(
        a / b for a, b in zip(samples["extrap-eval --help"], samples["import pandas"], strict=True)
    )
    print(f"--help costs {ratio:.2f} of importing pandas")
    assert ratio < 1

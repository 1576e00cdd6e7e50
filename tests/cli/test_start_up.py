"""``--help`` is instant because nothing heavy is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "numpy",
    "pandas",
    "pyarrow",
    "transformers",
    "datasets",
    "matplotlib",
    "math_verify",
    "sympy",
    "torch",
    "pydantic",
    "aiohttp",
    "rich.table",
)


def test_the_command_tree_imports_nothing_heavy() -> None:
    code = f"import sys, extrap_eval.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["sample", "score", "table", "plot", "import", "calibrate", "demo", "cards", "compare", "plan", "summary"]
)
def test_every_command_explains_itself(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from extrap_eval.cli import main; main()", name, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage" in done.stdout
    assert len(done.stdout) > 200

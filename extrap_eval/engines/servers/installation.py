"""Which Python has the engine, and which version of it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from extrap_eval.engines.servers.launch import EngineKind
from extrap_eval.errors import UserError

# Asked of another interpreter, without importing the engine, which takes seconds.
_QUESTION = """
import importlib.util, json, sys
from importlib import metadata
found = importlib.util.find_spec(sys.argv[1]) is not None
try:
    version = metadata.version(sys.argv[1])
except metadata.PackageNotFoundError:
    version = None
print(json.dumps([found, version]))
"""
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Installation:
    """An interpreter that can import the engine. ``version`` is None where the package does not say."""

    python: str
    version: str | None


def find_engine(kind: EngineKind, python: str | Path | None = None) -> Installation:
    """The given interpreter (or environment folder), else the one that runs here. Raises UserError when the
    engine is not in it.
    """
    where = sys.executable if python is None else _interpreter(Path(python))
    found, version = _ask(where, kind)
    if found:
        return Installation(where, version)
    if python is None:
        raise UserError(
            f"{kind} is not installed beside extrap-eval; name the Python of the environment that has it with "
            f"--engine-python PATH, or install it here (pip install 'extrap-eval[{kind}]')"
        )
    raise UserError(f"--engine-python {python}: there is no {kind} in that environment; install it there")


def _interpreter(given: Path) -> str:
    """Not resolved any further: the link itself is what tells Python its environment."""
    path = given.expanduser().absolute()
    if path.is_dir():
        path = path / "bin" / "python"
    if not path.is_file():
        raise UserError(f"--engine-python {given}: there is no such interpreter; give one, as in .venv/bin/python")
    return str(path)


@functools.cache
def _ask(python: str, kind: EngineKind) -> tuple[bool, str | None]:
    try:
        said = subprocess.run(
            [python, "-I", "-c", _QUESTION, kind], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True
        )
        found, version = json.loads(said.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        raise UserError(f"--engine-python {python}: this is no working Python interpreter") from None
    return found, version

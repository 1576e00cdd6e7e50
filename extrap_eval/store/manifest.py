"""What a run directory says about itself: the promise, the distribution sampled from, who wrote it and with
what.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from extrap_eval.errors import UserError
from extrap_eval.store.atomic import write_bytes
from extrap_eval.store.redact import redact, redact_arguments

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_LIBRARIES = (
    "numpy", "pyarrow", "transformers", "tokenizers", "datasets", "math-verify", "sympy",
    "torch", "vllm", "sglang", "ray",
)  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``.

    ``n`` samples per problem are promised. ``distribution`` holds the fields that fix what is sampled from
    (listed in ``extrap_eval.store``). ``tokenizer`` is the name of the tokenizer that decodes the ids.
    ``invocations`` has one entry per command that wrote here, in order of time: command, time, host, python,
    package, libraries, git, gpus, settings, n, engine (None until one has answered).
    """

    n: int
    distribution: dict[str, Any]
    tokenizer: str | None
    created: str
    invocations: tuple[dict[str, Any], ...] = ()
    format_version: int = FORMAT_VERSION


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Durable and atomic. Raises UserError when the disk refuses."""
    text = json.dumps({"format_version": manifest.format_version, **asdict(manifest)}, indent=1)
    write_bytes(directory / MANIFEST, text.encode() + b"\n")


def read_manifest(directory: Path) -> Manifest:
    """Raises UserError when there is none, when it is damaged, or when a newer version wrote it."""
    path = directory / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw["format_version"]
        if version > FORMAT_VERSION:
            raise UserError(
                f"{path}: format_version: {version} is newer than this version of extrap-eval reads "
                f"({FORMAT_VERSION}): upgrade extrap-eval"
            )
        return Manifest(**{**raw, "invocations": tuple(raw["invocations"])})
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{directory}: not a run directory (it has no {MANIFEST})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}): restore it from a copy of the run") from error


def invocation(*, n: int, settings: dict[str, Any]) -> dict[str, Any]:
    """The entry for this process: what runs, where, with which versions. Secrets in the command line are
    hidden.
    """
    return {
        "command": [Path(sys.argv[0]).name, *redact_arguments(sys.argv[1:])],
        "time": now(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "package": _version("extrap-eval"),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
        "git": _git_state(),
        "gpus": _gpu_names(),
        "n": n,
        "settings": redact_values(settings),
        "engine": None,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def redact_values(value: Any) -> Any:
    """A JSON value with the secrets in its strings hidden."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        # Redacted together with its name, which is what tells that a value is a secret.
        return {
            name: redact(f"{name}={item}").removeprefix(f"{name}=") if isinstance(item, str) else redact_values(item)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return redact_arguments(value) if all(isinstance(x, str) for x in value) else [*map(redact_values, value)]
    return value


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout that the package runs from, None when it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    status = _output(["git", "-C", str(root), "status", "--porcelain"])
    return {"commit": commit, "clean": None if status is None else status == ""}


def _gpu_names() -> list[str]:
    names = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return names.splitlines() if names else []


def _output(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None

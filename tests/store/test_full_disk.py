from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

SIZE = "1500k"


def own_mounts() -> list[str] | None:
    """A command prefix that may mount without touching this system, None where the kernel does not allow it."""
    for prefix in (["unshare", "-m"], ["unshare", "-rm"]):
        probe = [*prefix, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
        try:
            if subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode == 0:
                return prefix
        except OSError:
            return None
    return None


def test_a_full_disk_loses_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    prefix = own_mounts()
    if prefix is None:
        pytest.skip("no right to mount a small file system here (test_journal.py has the refused append)")
    script = f'mount -t tmpfs -o size={SIZE} tmpfs "$1" && exec "$2" -m tests.store.full_disk "$1"'
    result = subprocess.run(
        [*prefix, "sh", "-c", script, "sh", str(tmp_path), sys.executable],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPO,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    for name in ("append", "seal", "score", "top_up"):
        assert "No space left on device" in found[name], (name, found[name])
        assert "free some space" in found[name]
        assert found[name].startswith(str(tmp_path))
    same_keys, whole, acknowledged = found["after_append"]
    assert (same_keys, whole) == (True, True)
    assert acknowledged > 20
    assert found["after_seal"] == [True, True]
    assert found["leftovers"] == []
    assert found["layer"] == ["before"]
    assert found["layer_files"] == 2
    assert found["after_mend"] == [True, True]

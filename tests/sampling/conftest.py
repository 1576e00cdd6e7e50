from __future__ import annotations

from pathlib import Path

import pytest

from tests.sampling.families import Families


@pytest.fixture(scope="session")
def families(fixtures_dir: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(fixtures_dir / "tokenizers" / "qwen2.5", tmp_path_factory.mktemp("families"), small_model)

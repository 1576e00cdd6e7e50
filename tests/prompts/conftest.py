from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extrap_eval.cards.schema import ModelCard
from extrap_eval.prompts.tokenizer import load_tokenizer
from tests.prompts.tokenizers import make_r1_folder


@pytest.fixture(scope="session")
def qwen_folder(fixtures_dir: Path) -> Path:
    return fixtures_dir / "tokenizers" / "qwen2.5"


@pytest.fixture(scope="session")
def r1_folder(qwen_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_r1_folder(qwen_folder, tmp_path_factory.mktemp("tokenizers") / "r1")


@pytest.fixture(scope="session")
def qwen(qwen_folder: Path) -> Any:
    return load_tokenizer(ModelCard(name="qwen", tokenizer=str(qwen_folder)))


@pytest.fixture(scope="session")
def r1(r1_folder: Path) -> Any:
    return load_tokenizer(ModelCard(name="r1", tokenizer=str(r1_folder)))

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extrap_eval.engines.base import GenerationRequest
from tests.engines.local.models import END, VOCABULARY, make

torch = pytest.importorskip("torch")
# Models this small only wait for each other's threads, on a busy machine for most of the time.
torch.set_num_threads(1)

Folder = Callable[[str], Path]
Reference = Callable[..., Any]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a small model by its kind; each is made once."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = make(kind, tmp_path_factory.mktemp("model"))
        return made[kind]

    return get


@pytest.fixture(scope="session")
def llama(folder: Folder) -> Path:
    return folder("llama")


@pytest.fixture(scope="session")
def reference() -> Reference:
    """transformers' own model of a folder, in float32."""
    loaded: dict[Path, Any] = {}

    def get(path: Path) -> Any:
        from transformers import AutoModelForCausalLM

        if path not in loaded:
            loaded[path] = AutoModelForCausalLM.from_pretrained(path, dtype="float32").eval()
        return loaded[path]

    return get


def prompts(count: int, *, longest: int = 30, seed: int = 0) -> list[np.ndarray]:
    """Prompts of mixed lengths without the end token."""
    rng = np.random.default_rng(seed)
    return [rng.integers(END + 1, VOCABULARY, rng.integers(1, longest + 1)).astype(np.int32) for _ in range(count)]


def request(prompt: np.ndarray, max_tokens: int = 20, **fields: Any) -> GenerationRequest:
    return GenerationRequest(prompt, max_tokens, **{"temperature": 1.0, "top_p": 1.0} | fields)

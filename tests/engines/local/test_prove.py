"""Which models are batched continuously: found out by asking them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from extrap_eval.engines.local import LocalEngine
from extrap_eval.engines.local.prove import NotByRowsError, take_apart
from tests.engines.local.conftest import Folder
from tests.engines.local.models import BY_ROWS, IN_PLAIN_BATCHES


def load(folder: Folder, kind: str, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder(kind), dtype=dtype).eval()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", BY_ROWS)
def test_by_rows(folder: Folder, kind: str, dtype: str) -> None:
    with torch.inference_mode():
        windows = take_apart(load(folder, kind, dtype))
    expected: dict[str, list[int | None]] = {"mistral, window 8": [8, 8, 8], "gemma3, some windows": [8, None, 8]}
    assert windows == expected.get(kind, [None] * 3)


@pytest.mark.parametrize(
    ("kind", "reason"),
    list(zip(IN_PLAIN_BATCHES, ["replaced", "replaced", "softcap", "s_aux", "position embedding"], strict=True)),
)
def test_not_by_rows(folder: Folder, kind: str, reason: str) -> None:
    model = load(folder, kind, "float32")
    ids = torch.tensor([[5, 9, 3]])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        with pytest.raises(NotByRowsError, match=reason):
            take_apart(model)
        assert torch.equal(model(input_ids=ids).logits, before)  # it is as it was


def test_wrong_logits_are_noticed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says it looks back 8 tokens and looks back over all of them, and the other way round."""
    from extrap_eval.engines.local import prove

    model = load(folder, "mistral, window 8", "float32")
    monkeypatch.setattr(prove, "_windows", lambda model: [None, None, None])
    with torch.inference_mode(), pytest.raises(NotByRowsError, match="differ by"):
        take_apart(model)
    model = load(folder, "llama", "float32")
    monkeypatch.setattr(prove, "_windows", lambda model: [4, 4, 4])
    with torch.inference_mode(), pytest.raises(NotByRowsError, match="differ by"):
        take_apart(model)


async def test_plain_batches_are_announced(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with LocalEngine(folder("llama")):
            pass
        assert not caplog.records
        async with LocalEngine(folder("mamba")):
            pass
    (record,) = caplog.records
    assert "plain batches" in record.getMessage()

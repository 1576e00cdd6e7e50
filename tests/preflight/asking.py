"""What the doctor's checks of running servers start from, with a card that may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extrap_eval.cards.schema import ModelCard
from extrap_eval.engines.http.connection import parse_address
from extrap_eval.engines.http.probe import ServerKind
from extrap_eval.preflight.check import Check
from extrap_eval.preflight.exchange import Asked
from extrap_eval.preflight.memory import Wanted
from extrap_eval.preflight.server import Expected, check_servers
from extrap_eval.prompts.tokenizer import end_token_ids
from tests.engines.conftest import QUESTION

NAMES = [
    "server", "engine version", "served model", "context", "server's cache", "same tokenizer", "token ids",
    "end of a completion", "prefix cache",
]  # fmt: skip


def card(**changes: Any) -> ModelCard:
    given = {
        "name": "small", "think": {"open": "<think>", "close": "</think>", "opened_by_prompt": True},
        "end_tokens": ["<|im_end|>"], "max_new_tokens": 3000,
    }  # fmt: skip
    return ModelCard.model_validate(given | changes)


async def ask(
    urls: Sequence[str],
    tokenizer: Any,
    *,
    weights: Path | str | None = None,
    budget: int = 3000,
    kind: ServerKind = "auto",
    concurrency: int = 64,
    **changes: Any,
) -> dict[str, Check]:
    """The checks of one or more servers by name; where several have one name, the worst of them."""
    given = card(**changes)
    prompt = np.array(tokenizer.encode(QUESTION, add_special_tokens=False), dtype=np.int32)
    expected = Expected(
        asked=Asked(given, tokenizer, end_token_ids(tokenizer, given), prompt),
        weights=None if weights is None else str(weights),
        longest_prompt=len(prompt),
        exact_prompts=True,
        max_new_tokens=budget,
        wanted=Wanted(len(prompt) + budget, concurrency),
    )
    salt = int(np.random.default_rng().integers(2**60))
    checks = await check_servers([parse_address(url, None) for url in urls], expected, model=None, kind=kind, salt=salt)
    order = ["ok", "not checked", "warning", "failed"]
    return {check.name: check for check in sorted(checks, key=lambda check: order.index(check.status))}


def statuses(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.status for name, check in checks.items()}


def swapped(folder: Path, out: Path, one: str, other: str) -> Path:
    """A copy of a tokenizer in which two tokens have exchanged their ids."""
    import json

    out.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        if name == "tokenizer.json":
            vocabulary = content["model"]["vocab"]
            vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
        (out / name).write_text(json.dumps(content))
    return out

"""The fields that fix what a run samples from; completions of another distribution never join it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.problems.problem import Problem

if TYPE_CHECKING:
    from extrap_eval.cards.schema import ModelCard


@dataclass(frozen=True)
class SamplingSettings:
    """The parameters of every request of a run. ``top_k`` -1: not limited; ``max_tokens`` counts completion
    tokens.
    """

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop_token_ids: tuple[int, ...]


def distribution_of(
    card: ModelCard,
    problems: Sequence[Problem],
    prompts: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    from extrap_eval.problems.load import fingerprint

    values = {field.name: settings[field.name] for field in fields(SamplingSettings)}
    hashed = hashlib.sha256()
    for problem in problems:
        ids = np.ascontiguousarray(prompts.get(problem.id, ()), dtype="<i4")
        hashed.update(f"{problem.id}\0{len(ids)}\0".encode())
        hashed.update(ids.tobytes())
    distribution = {
        "model": card.hf_id or card.name,
        "revision": card.revision,
        "policy": card.policy,
        "problems": len(problems),
        "benchmark_sha256": fingerprint(problems),
        "prompts_sha256": hashed.hexdigest(),
        **values,
    }
    return cast(dict[str, Any], json.loads(json.dumps(distribution, default=_plain)))


def _plain(value: Any) -> Any:
    """numpy scalars and arrays as what JSON knows."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in the settings of a run")


def refuse_difference(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    if shown := differences(old, new):
        raise UserError(
            f"{path}: holds completions of another distribution ({shown}): choose another --out, or "
            "repeat the old settings to top it up"
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first fields in which two mappings differ, old value → new value; "" when they are equal."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    shown = [f"{name}: {_short(old.get(name))} → {_short(new.get(name))}" for name in names[:4]]
    if len(names) > len(shown):
        shown.append(f"and {len(names) - len(shown)} more")
    return "; ".join(shown)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return text[:12]
    text = text.replace("\n", "\\n")
    return text if len(text) <= 60 else text[:57] + "..."

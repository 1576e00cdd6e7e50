"""Log-probabilities from servers' JSON to arrays, each checked to belong to the completion's tokens.

An answer with the 20 most probable tokens of 32k positions is tens of megabytes of JSON; as arrays it is five, and what
is kept in the end a quarter of one. Readers raise LookupError, TypeError or ValueError for anything of another shape.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np

from extrap_eval.engines.base import TokenLogprobs

_PREFIX = "token_id:"


def of_sampled_vllm(said: Any, ids: np.ndarray, n: int) -> TokenLogprobs:
    """From ``choices[].logprobs``, with tokens as ``token_id:7``."""
    if said["tokens"] != [f"{_PREFIX}{i}" for i in ids.tolist()]:
        raise ValueError("they are of other tokens")
    start = len(_PREFIX)
    rows = [[(int(name[start:]), value) for name, value in row.items()] for row in said["top_logprobs"]]
    return _of_rows(ids, said["token_logprobs"], rows, n)


def of_given_vllm(said: Any, ids: np.ndarray, n: int) -> TokenLogprobs:
    """From ``choices[].prompt_logprobs``, of which the last belong to the completion ``ids``."""
    rows = said[len(said) - len(ids) :]
    chosen = [row[str(i)]["logprob"] for i, row in zip(ids.tolist(), rows, strict=True)]
    pairs = [[(int(name), value["logprob"]) for name, value in row.items()] for row in rows]
    return _of_rows(ids, chosen, pairs, n)


def _of_rows(
    ids: np.ndarray, chosen: Sequence[float], rows: Sequence[list[tuple[int, float]]], n: int
) -> TokenLogprobs:
    """``rows``: the n most probable tokens in any order, and the chosen one beside them where it is not among them."""
    if not len(ids) == len(chosen) == len(rows):
        raise ValueError(f"{len(rows)} positions for {len(ids)} tokens")
    kept = [
        row if len(row) == n else [pair for pair in row if pair[0] != i]
        for i, row in zip(ids.tolist(), rows, strict=True)
    ]
    if any(len(row) != n for row in kept):
        raise ValueError(f"not the {n} most probable tokens everywhere")
    flat = list(chain.from_iterable(kept))
    top_ids = np.fromiter((pair[0] for pair in flat), np.int32, len(flat)).reshape(-1, n)
    top = np.fromiter((pair[1] for pair in flat), np.float32, len(flat)).reshape(-1, n)
    return _sorted(_floats(chosen), top_ids, top)


def of_sglang(meta: Any, side: Literal["input", "output"], ids: np.ndarray, n: int) -> TokenLogprobs:
    """From ``meta_info``: of the generated tokens (``output``), or of the last of the prompt's (``input``)."""
    pairs = meta[f"{side}_token_logprobs"]
    pairs = pairs[len(pairs) - len(ids) :] if side == "input" else pairs
    if [pair[1] for pair in pairs] != ids.tolist():
        raise ValueError("they are of other tokens")
    if f"{side}_top_logprobs_shape" in meta:
        shape = tuple(meta[f"{side}_top_logprobs_shape"])
        top_ids, top = (_flat(meta, f"{side}_top_logprobs_{name}_flat", kind) for name, kind in _FLAT)
        top_ids, top = (values.reshape(shape)[shape[0] - len(ids) :] for values in (top_ids, top))
    else:
        rows = meta[f"{side}_top_logprobs"]
        rows = rows[len(rows) - len(ids) :]
        top = np.array([[pair[0] for pair in row] for row in rows], np.float32).reshape(len(rows), -1)
        top_ids = np.array([[pair[1] for pair in row] for row in rows], np.int32).reshape(len(rows), -1)
    if top.shape != (len(ids), n):
        raise ValueError(f"not the {n} most probable tokens everywhere")
    return _sorted(_floats(pair[0] for pair in pairs), top_ids, top)


_FLAT = (("idx", "<i4"), ("val", "<f4"))


def _flat(meta: Any, name: str, kind: str) -> np.ndarray:
    """Numbers as base64 of their bytes, or as a list."""
    if f"{name}_b64" in meta:
        return np.frombuffer(base64.b64decode(meta[f"{name}_b64"], validate=True), kind)
    return np.array(meta[name], kind)


def _floats(values: Iterable[float]) -> np.ndarray:
    return np.array(list(values), np.float32)


def _sorted(chosen: np.ndarray, top_ids: np.ndarray, top: np.ndarray) -> TokenLogprobs:
    """The most probable first."""
    order = np.argsort(-top, axis=-1, kind="stable")
    return TokenLogprobs(chosen, np.take_along_axis(top_ids, order, -1), np.take_along_axis(top, order, -1))

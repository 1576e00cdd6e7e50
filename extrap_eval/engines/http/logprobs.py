"""Log-probabilities from servers' JSON to arrays, each checked to belong to the completion's tokens.

An answer with the 20 most probable tokens of 32k positions is tens of megabytes of JSON; as arrays it is five, and what
is kept in the end a quarter of one. Readers raise LookupError, TypeError or ValueError for anything of another shape.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from extrap_eval.engines.base import TokenLogprobs

_PREFIX = "token_id:"


def of_sampled_vllm(said: Any, ids: np.ndarray, n: int) -> TokenLogprobs:
    """From ``choices[].logprobs``, with tokens as ``token_id:7``."""
    if said["tokens"] != [f"{_PREFIX}{i}" for i in ids.tolist()]:
        raise ValueError("they are of other tokens")
    start = len(_PREFIX)
    rows = (([int(name[start:]) for name in row], row.values()) for row in said["top_logprobs"])
    return _of_rows(ids, rows, n)


def of_given_vllm(said: Any, ids: np.ndarray, n: int) -> TokenLogprobs:
    """From ``choices[].prompt_logprobs``, of which the last belong to the completion ``ids``."""
    rows = ((list(map(int, row)), [each["logprob"] for each in row.values()]) for row in said[len(said) - len(ids) :])
    return _of_rows(ids, rows, n)


def _of_rows(ids: np.ndarray, rows: Iterable[tuple[list[int], Iterable[float]]], n: int) -> TokenLogprobs:
    """``rows``: ids and values of the chosen token, first, and of the n most probable, among which it may be."""
    chosen, top, top_ids = array("f"), array("f"), array("i")
    for row, values in rows:
        top_ids.extend(row)
        top.extend(values)
        first = len(top) - len(row)
        chosen.append(top[first])
        if row[0] != ids[len(chosen) - 1]:
            raise ValueError("they are of other tokens")
        if len(row) == n + 1:
            del top[first], top_ids[first]
        elif len(row) != n:
            raise ValueError(f"not the {n} most probable tokens everywhere")
    if len(chosen) != len(ids):
        raise ValueError(f"{len(chosen)} positions for {len(ids)} tokens")
    ids_of_top = np.array(top_ids, np.int32).reshape(len(ids), n)
    return _sorted(np.array(chosen, np.float32), ids_of_top, np.array(top, np.float32).reshape(len(ids), n))


def of_sglang(meta: Any, side: Literal["input", "output"], ids: np.ndarray, n: int) -> TokenLogprobs:
    """From ``meta_info``: of the generated tokens (``output``), or of the last of the prompt's (``input``)."""
    pairs = meta[f"{side}_token_logprobs"]
    pairs = pairs[len(pairs) - len(ids) :] if side == "input" else pairs
    said = np.array([pair[1] for pair in pairs], np.int32)
    if len(said) != len(ids) or not _same(said, ids, last_is_zero=side == "input"):
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


def _same(said: np.ndarray, ids: np.ndarray, *, last_is_zero: bool) -> bool:
    """``last_is_zero``: SGLang 0.5.23 shows the last token of the vocabulary as 0 in a prompt, with the right value."""
    wrong = said != ids
    return not wrong.any() or (last_is_zero and not said[wrong].any() and len(np.unique(ids[wrong])) == 1)


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

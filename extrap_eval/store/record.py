"""One stored completion, and the line it becomes in a journal."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, cast

import numpy as np

from extrap_eval.engines.base import FinishReason, TokenSource
from extrap_eval.scoring.distributions import TokenDistributions, stored

Key = tuple[str, int]  # problem id, sample index
Place = tuple[str, int, int, int]  # problem id, sample index, step, replicate

DISTRIBUTIONS = "distributions"
HEAVY = frozenset({"token_ids", "text", DISTRIBUTIONS})  # what a reader may leave on disk
PLACE = ("step", "replicate", "prefix_tokens")  # the columns of what follows from a trace; rollouts have none
# The columns of what is kept of the distributions that tokens were drawn from, and the types of the first four.
COLUMNS = ("entropy", "branching", "covered", "chosen_logprob", "top_logprobs")
_TYPES = tuple(map(np.dtype, ("<f2", "<u2", "<f2", "<f2")))

_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","record":(\{.*\})\}\n', re.DOTALL)
_IDS = np.dtype("<i4")


def _no_ids() -> np.ndarray:
    return np.empty(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Completion:
    """One completion of one problem.

    ``token_ids`` int32, shape (n_tokens,), as generated. A reader that was told to leave ids, text or distributions
    on disk gives an empty array and None there; ``n_tokens`` is right all the same. ``distributions``: what is kept
    of those that the tokens were drawn from, None where log-probabilities were not asked for. ``text`` is None unless
    the ids were made from it (``token_source == "retokenized"``). ``seconds`` is the time of the request that
    succeeded.

    A completion that follows from a trace (a probe, an extension) has three more: ``step`` says after how much of it
    (a group of episodes, a budget, a number of extensions), ``replicate`` counts the samples of one step from 0, and
    ``prefix_tokens`` is the number of tokens of the trace that its prompt goes on from. All three are None in a
    rollout.
    """

    problem_id: str
    sample_index: int
    stage: str = "rollout"
    _: KW_ONLY
    token_ids: np.ndarray = field(default_factory=_no_ids)
    finish_reason: FinishReason
    stop_token_id: int | None = None
    text: str | None = None
    token_source: TokenSource = "engine"
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    seconds: float = 0.0
    attempts: int = 1
    server: str = ""
    n_tokens: int = -1  # filled from token_ids when not given
    step: int | None = None
    replicate: int | None = None
    prefix_tokens: int | None = None
    distributions: TokenDistributions | None = None

    def __post_init__(self) -> None:
        if self.n_tokens < 0:
            object.__setattr__(self, "n_tokens", len(self.token_ids))

    @property
    def key(self) -> Key:
        return self.problem_id, self.sample_index

    @property
    def place(self) -> Place:
        return self.problem_id, self.sample_index, self.step or 0, self.replicate or 0


class DamagedRecordError(ValueError):
    """A journal line that is not what a writer wrote."""


def row_of(completion: Completion) -> dict[str, Any]:
    """The stored columns of a completion, ids as a contiguous little-endian int32 array.

    The stage is not among them: it is the directory that the row lies in.
    """
    ids = np.ascontiguousarray(completion.token_ids, dtype=_IDS)
    text = completion.text
    if text is not None:  # a lone surrogate cannot be stored as UTF-8
        text = text.encode("utf-8", errors="replace").decode("utf-8")
    row = {
        "problem_id": completion.problem_id,
        "sample_index": int(completion.sample_index),
        "n_tokens": len(ids),
        "crc32": zlib.crc32(ids.data),
        "token_ids": ids,
        "finish_reason": completion.finish_reason,
        "stop_token_id": None if completion.stop_token_id is None else int(completion.stop_token_id),
        "text": text,
        "token_source": completion.token_source,
        "prompt_tokens": int(completion.prompt_tokens),
        "cached_tokens": None if completion.cached_tokens is None else int(completion.cached_tokens),
        "seconds": float(completion.seconds),
        "attempts": int(completion.attempts),
        "server": completion.server,
    }
    if completion.step is not None:
        row |= {name: int(getattr(completion, name) or 0) for name in PLACE}
    if completion.distributions is not None:
        row |= columns_of(completion.distributions)
    return row


def columns_of(kept: TokenDistributions) -> dict[str, Any]:
    """The stored columns, exactly: float16, uint16, float16 and float16 (T,), and the number that was asked for."""
    arrays = (kept.entropy, kept.branching, kept.covered, kept.chosen)
    columns: dict[str, Any] = {
        name: np.ascontiguousarray(values, dtype) for name, values, dtype in zip(COLUMNS, arrays, _TYPES, strict=False)
    }
    return columns | {COLUMNS[-1]: int(kept.top)}


def distributions_of(row: dict[str, Any]) -> TokenDistributions | None:
    """The inverse of ``columns_of``; None where the row has none, or they were left on disk."""
    if row.get(COLUMNS[0]) is None:
        return None
    entropy, branching, covered, chosen = (row[name] for name in COLUMNS[:-1])
    return stored(entropy=entropy, branching=branching, covered=covered, chosen=chosen, top=row[COLUMNS[-1]])


def place_of(row: dict[str, Any]) -> Place:
    """What makes a stored row unique within its stage."""
    return row["problem_id"], row["sample_index"], row.get("step", 0), row.get("replicate", 0)


def completion_of(row: dict[str, Any], stage: str) -> Completion:
    """The inverse of ``row_of``; ids and text may be missing from the row."""
    return Completion(
        row["problem_id"],
        row["sample_index"],
        stage,
        token_ids=row["token_ids"] if "token_ids" in row else _no_ids(),
        finish_reason=cast(FinishReason, row["finish_reason"]),
        stop_token_id=row["stop_token_id"],
        text=row.get("text"),
        token_source=cast(TokenSource, row["token_source"]),
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        seconds=row["seconds"],
        attempts=row["attempts"],
        server=row["server"],
        n_tokens=row["n_tokens"],
        **{name: row.get(name) for name in PLACE},
        distributions=distributions_of(row),
    )


def encode_lines(completions: Sequence[Completion]) -> list[bytes]:
    """Journal lines, newline included."""
    import orjson
    import pyarrow as pa

    codec = pa.Codec("zstd")
    lines = []
    for completion in completions:
        row = row_of(completion)
        packed = codec.compress(row["token_ids"], asbytes=True)
        row["token_ids"] = base64.b64encode(packed).decode("ascii")
        if COLUMNS[0] in row:
            columns = [row.pop(name) for name in COLUMNS[:-1]]
            raw = b"".join(column.tobytes() for column in columns)
            packed = codec.compress(raw, asbytes=True)
            row[DISTRIBUTIONS] = [len(columns[0]), base64.b64encode(packed).decode("ascii")]
        body = orjson.dumps(row)
        lines.append(b'{"crc":"%08x","record":%b}\n' % (zlib.crc32(body), body))
    return lines


def decode_line(line: bytes, *, heavy: frozenset[str] = HEAVY) -> dict[str, Any]:
    """The row in a journal line, without the heavy columns that are not asked for.

    Raises DamagedRecordError when the line is not exactly as written.
    """
    import orjson

    match = _LINE.fullmatch(line)
    if match is None:
        raise DamagedRecordError("not a journal record")
    body = match[2]
    if zlib.crc32(body) != int(match[1], 16):
        raise DamagedRecordError("its CRC32 does not match")
    try:
        row = cast(dict[str, Any], orjson.loads(body))
        for name in HEAVY - heavy:
            if name in row or name != DISTRIBUTIONS:
                del row[name]
        if "token_ids" in heavy:
            row["token_ids"] = np.frombuffer(_unpack(row["token_ids"], 4 * row["n_tokens"]), _IDS).astype(np.int32)
        if DISTRIBUTIONS in row:
            row |= _columns(*row.pop(DISTRIBUTIONS))
    except (KeyError, TypeError, ValueError, OSError, binascii.Error) as error:
        raise DamagedRecordError(f"unreadable record ({error})") from error
    return row


def _unpack(packed: str, size: int) -> bytes:
    """``size``: bytes when unpacked."""
    import pyarrow as pa

    if size == 0:
        return b""
    raw: bytes = pa.Codec("zstd").decompress(
        base64.b64decode(packed, validate=True), decompressed_size=size, asbytes=True
    )
    return raw


def _columns(tokens: int, packed: str) -> dict[str, np.ndarray]:
    """The four arrays of distributions in a journal line, which lie one after the other."""
    raw = _unpack(packed, tokens * sum(dtype.itemsize for dtype in _TYPES))
    columns, start = {}, 0
    for name, dtype in zip(COLUMNS, _TYPES, strict=False):
        columns[name] = np.frombuffer(raw, dtype, tokens, start)
        start += tokens * dtype.itemsize
    return columns

"""Token ids to bytes by table.

For nearly every reasoning model the text of a completion is the concatenation of one byte string per token.
Then the byte offset of every token is one cumulative sum, and no prefix is ever decoded. ``slow_offsets``
serves the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_VERIFIED_AT_ONCE = 64


class NotTabular(Exception):
    """The text of a sequence of tokens is not made of one byte string per token."""


@dataclass(frozen=True, eq=False)
class TokenTable:
    """The bytes of every token id, special and added tokens as their content.

    ``pieces[i]`` is what token i adds to the text. Ids that the tokenizer does not know (padding rows of a
    model's vocabulary, holes) add nothing, whatever their value.

    ``first_pieces`` is None, or what token i adds when it is the first known one of the text: decoders of the
    SentencePiece family drop the leading space there. ``raw`` is None, or marks (bool, shape (ids,)) the
    byte-fallback tokens: when a run of them is not UTF-8, ``decode`` shows one U+FFFD for each token of the
    run, as the tokenizers library does. ``text_bytes`` keeps the bytes, so that the bytes of a prefix are a
    prefix of the bytes.
    """

    pieces: tuple[bytes, ...]
    first_pieces: tuple[bytes, ...] | None = None
    raw: np.ndarray | None = None

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> Self:
        """Build the table of a fast (``tokenizers``-backed) Hugging Face tokenizer.

        Byte-level BPE, and SentencePiece-style decoders (metaspace or its replacement, with or without byte
        fallback). The table is compared with the tokenizer's own decoding over every id it knows. Raises
        NotTabular for any other decoder, and for one that does not behave as its description says.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or backend.decoder is None:
            raise NotTabular(f"{type(tokenizer).__name__} has no decoder of the tokenizers library")
        vocabulary = backend.get_vocab(with_added_tokens=True)
        contents = [backend.id_to_token(i) for i in range(max(vocabulary.values(), default=-1) + 1)]
        table = cls(*_pieces_by_decoder(json.loads(backend.decoder.__getstate__()), contents))
        table._verify(tokenizer, [i for i, content in enumerate(contents) if content is not None])
        return table

    def to_arrays(self) -> dict[str, np.ndarray | bytes]:
        """The table as plain arrays, for ``from_arrays``."""
        arrays: dict[str, np.ndarray | bytes] = {
            "pieces": b"".join(self.pieces),
            "lengths": np.array([len(piece) for piece in self.pieces], dtype=np.int32),
        }
        if self.first_pieces is not None:
            arrays["first_pieces"] = b"".join(self.first_pieces)
            arrays["first_lengths"] = np.array([len(piece) for piece in self.first_pieces], dtype=np.int32)
        if self.raw is not None:
            arrays["raw"] = self.raw
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray | bytes]) -> Self:
        """The inverse of ``to_arrays``. Raises ValueError when the arrays do not fit together."""
        first = "first_pieces" in arrays
        return cls(
            pieces=_split(arrays["pieces"], arrays["lengths"]),
            first_pieces=_split(arrays["first_pieces"], arrays["first_lengths"]) if first else None,
            raw=np.asarray(arrays["raw"]) if "raw" in arrays else None,
        )

    def text_bytes(self, ids: np.ndarray | Sequence[int]) -> bytes:
        """The bytes of the text. ``ids``: integers, shape (n,)."""
        known = self.known(ids)
        pieces = self._pieces_and_nothing[known].tolist()
        opening = self._opening(known)
        if opening is not None:
            pieces[opening[0]] = opening[1]
        return b"".join(pieces)

    def ends(self, ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """Byte offset in ``text_bytes(ids)`` just after each token: int64, shape (n,)."""
        known = self.known(ids)
        lengths = self._lengths[known]
        opening = self._opening(known)
        if opening is not None:
            lengths[opening[0]] = len(opening[1])
        return np.cumsum(lengths)

    def decode(self, ids: np.ndarray | Sequence[int]) -> str:
        """What the tokenizer itself decodes to, special tokens kept and spaces not cleaned up."""
        if self.raw is None:
            return self.text_bytes(ids).decode("utf-8", errors="replace")
        known = self.known(ids)
        known = known[known < len(self.pieces)]
        data, ends = self.text_bytes(known), self.ends(known)
        raw = self.raw[known]
        borders = [0, *(np.flatnonzero(raw[1:] != raw[:-1]) + 1).tolist(), len(known)]
        text = []
        for start, end in pairwise(borders):
            if start == end:
                continue
            part = data[ends[start - 1] if start else 0 : ends[end - 1]]
            try:
                text.append(part.decode("utf-8"))
            except UnicodeDecodeError:
                text.append(_REPLACEMENT * (end - start))
        return "".join(text)

    def known(self, ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """Ids as an int64 array, shape (n,), those outside the table replaced by the one past its end."""
        given = np.asarray(ids, dtype=np.int64)
        outside = (given < 0) | (given >= len(self.pieces))
        return np.where(outside, len(self.pieces), given) if outside.any() else given

    @cached_property
    def _pieces_and_nothing(self) -> np.ndarray:
        # Gathering from an array of objects takes a third of the time of a loop over the tokens.
        return np.array([*self.pieces, b""], dtype=object)

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.array([len(piece) for piece in self._pieces_and_nothing], dtype=np.int64)

    def _opening(self, known: np.ndarray) -> tuple[int, bytes] | None:
        """Position and bytes of the token that opens the text, None when it is no different there."""
        if self.first_pieces is None:
            return None
        # A hole has no bytes anywhere; skipping it and tokens that are truly empty is the same.
        texts = np.flatnonzero(self._lengths[known] > 0)
        return None if texts.size == 0 else (int(texts[0]), self.first_pieces[known[texts[0]]])

    def _verify(self, tokenizer: Any, known: Sequence[int]) -> None:
        for at in range(0, len(known), _VERIFIED_AT_ONCE):
            ids = list(known[at : at + _VERIFIED_AT_ONCE])
            if _decoded(tokenizer, ids) != self.decode(ids):
                raise NotTabular(f"decoding ids {ids[0]} to {ids[-1]} is not the concatenation of their bytes")


def _split(data: np.ndarray | bytes, lengths: np.ndarray | bytes) -> tuple[bytes, ...]:
    ends = np.cumsum(np.asarray(lengths, dtype=np.int64)).tolist()
    raw = bytes(data)
    if (ends[-1] if ends else 0) != len(raw):
        raise ValueError(f"token table: {len(raw)} bytes, but the lengths add up to {ends[-1] if ends else 0}")
    return tuple(raw[start:end] for start, end in pairwise([0, *ends]))


def _pieces_by_decoder(
    decoder: dict[str, Any], contents: Sequence[str | None]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...] | None, np.ndarray | None]:
    """Pieces, first pieces and raw mask for a decoder as the tokenizers library describes it in JSON.

    ``contents``: token strings as they stand in the vocabulary, None for ids that are not in use.
    """
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    steps = [step for step in steps if step["type"] != "Fuse"]  # concatenation, which is what a table does
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        alphabet = _byte_level_alphabet()
        return tuple(_byte_level(content or "", alphabet) for content in contents), None, None
    if kinds == ["Metaspace"]:
        mark = steps[0]["replacement"]
        pieces = tuple((content or "").replace(mark, " ").encode() for content in contents)
        if steps[0]["prepend_scheme"] == "never":
            return pieces, None, None
        return pieces, tuple((content or "").replace(mark, "").encode() for content in contents), None
    replaced, strip, raw = [], False, None
    for step in steps:
        kind = step["type"]
        if kind == "Replace" and "String" in step["pattern"] and raw is None and not strip:
            replaced.append((step["pattern"]["String"], step["content"]))
        elif kind == "ByteFallback" and raw is None and not strip:
            raw = np.array([_fallback_byte(content) is not None for content in contents])
        elif kind == "Strip" and not strip and (step["content"], step["start"], step["stop"]) == (" ", 1, 0):
            strip = True
        else:
            raise NotTabular(f"decoder {' + '.join(kinds)}")
    if not replaced and raw is None:
        raise NotTabular(f"decoder {' + '.join(kinds)}")
    result = []
    for content in contents:
        text = content or ""
        byte = _fallback_byte(text) if raw is not None else None
        for old, new in replaced:
            text = text.replace(old, new)
        result.append(text.encode() if byte is None else byte)
    first = tuple(piece.removeprefix(b" ") for piece in result) if strip else None
    return tuple(result), first, raw


def _byte_level_alphabet() -> dict[str, int]:
    """The visible characters that stand for the 256 bytes in byte-level BPE vocabularies (GPT-2).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100, U+0101, …
    """
    printable = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _byte_level(content: str, alphabet: Mapping[str, int]) -> bytes:
    """Bytes of one token: by the alphabet, or as plain text when a character is not in it (added tokens)."""
    try:
        return bytes([alphabet[character] for character in content])
    except KeyError:
        return content.encode()


def _fallback_byte(content: str | None) -> bytes | None:
    """The byte that a token like ``<0x0A>`` stands for."""
    if content is None or len(content) != 6 or not (content.startswith("<0x") and content.endswith(">")):
        return None
    try:
        return bytes([int(content[3:5], 16)])
    except ValueError:
        return None


def slow_offsets(tokenizer: Any, ids: np.ndarray | Sequence[int]) -> tuple[bytes, np.ndarray]:
    """Text and byte offsets for a tokenizer of any kind, by decoding.

    ``ids``: integers, shape (n,). Returns the UTF-8 bytes of the whole text and the offset after each token
    (int64, shape (n,)): how much of the text stands after so many tokens and stays. First each token is
    decoded in a small window of its neighbours; where the pieces do not add up to the whole text, every prefix
    is decoded instead, which takes quadratic time.
    """
    tokens = np.asarray(ids, dtype=np.int64).tolist()
    whole = _decoded(tokenizer, tokens)
    offsets = _offsets_by_window(tokenizer, tokens, whole)
    if offsets is None:
        offsets = _offsets_by_prefix(tokenizer, tokens, whole)
    return whole.encode("utf-8", errors="replace"), np.array(offsets, dtype=np.int64)


def _offsets_by_window(tokenizer: Any, tokens: list[int], whole: str) -> list[int] | None:
    """None when a piece is not what stands in the text at its place."""
    # tokens[context:fresh] were read already; they are decoded again to see what a new one adds to them.
    context, fresh = 0, 0
    read, size = 0, 0  # characters and bytes of ``whole`` read so far
    offsets: list[int] = []
    for end in range(1, len(tokens) + 1):
        known = _decoded(tokenizer, tokens[context:fresh])
        text = _decoded(tokenizer, tokens[context:end])
        added = text[len(known) :]
        if not text.startswith(known):
            return None
        if added and (end == len(tokens) or not added.endswith(_REPLACEMENT)):
            if not whole.startswith(added, read):
                return None
            read += len(added)
            size += len(added.encode("utf-8", errors="replace"))
            context, fresh = fresh, end
        offsets.append(size)
    return offsets if read == len(whole) else None


def _offsets_by_prefix(tokenizer: Any, tokens: list[int], whole: str) -> list[int]:
    offsets = []
    for end in range(1, len(tokens) + 1):
        prefix = _decoded(tokenizer, tokens[:end])
        pairs = enumerate(zip(prefix, whole, strict=False))
        stands = next((i for i, (ours, final) in pairs if ours != final), min(len(prefix), len(whole)))
        offsets.append(len(whole[:stands].encode("utf-8", errors="replace")))
    # What a later token takes back did not stay.
    stays: list[int] = np.minimum.accumulate(offsets[::-1])[::-1].tolist()
    return stays


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text

"""The text of a completion as a browser counts it."""

from __future__ import annotations

import numpy as np

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def shown(data: bytes, offsets: np.ndarray) -> tuple[str, np.ndarray]:
    """Decode a completion, and count as browsers do: in UTF-16 code units.

    ``data`` need not be UTF-8: every byte that belongs to no character is shown as U+FFFD. ``offsets``: numbers of
    bytes, int64 (m,), anywhere in 0..len(data). Returns the text and, int64 (m,), the units of the characters that are
    complete within so many bytes: a token that ends inside a character has not shown it yet.
    """
    if data.isascii():
        return data.decode("ascii"), np.asarray(offsets, dtype=np.int64)
    # Each such byte becomes one of the code points DC80 to DCFF, which no valid UTF-8 holds.
    escaped = data.decode("utf-8", errors="surrogateescape")
    points = np.frombuffer(escaped.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    broken = (points >= 0xDC80) & (points <= 0xDCFF)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    ends = np.cumsum(np.where(broken, 1, sizes))
    units = np.concatenate([[0], np.cumsum(1 + (points >= 0x10000))])
    text = escaped
    if broken.any():
        mended = np.where(broken, ord(_REPLACEMENT), points).astype("<u4")
        text = mended.tobytes().decode("utf-32-le")
    return text, units[np.searchsorted(ends, offsets, side="right")].astype(np.int64)

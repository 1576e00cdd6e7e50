"""Where in a completion something worth reading may begin, told from its token ids alone.

Most tokens of a long thought hold no box and no marker. Building their text costs more than everything else that is
done with a completion, so the text is built only from the first landmark on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extrap_eval.scoring.tokens import TokenTable

_LONGEST = 8  # bytes of a pattern that are looked for; fewer than all of them find no less
_INSIDE = 1 << 31


class Landmarks:
    """Finds the first token in whose bytes one of some patterns may begin.

    A pattern begins in a token when it lies in the token's bytes, or when the bytes end in a part of it and the next
    token goes on with it. The second is checked for one token only, so a landmark may be a false one (never missed).
    """

    def __init__(self, table: TokenTable, patterns: Sequence[bytes]):
        if len(patterns) > 4 or not all(patterns):
            raise ValueError(f"{len(patterns)} patterns: need at most 4, none empty")
        patterns = [pattern[:_LONGEST] for pattern in patterns]
        parts = [(pattern[:i], pattern[i:]) for pattern in patterns for i in range(1, len(pattern))]
        heads, tails = tuple(head for head, _ in parts), tuple(tail for _, tail in parts)
        tail_bytes = {tail[:1] for tail in tails} | {b""}
        # Bit i: the token ends in head i, or goes on with tail i. An id beyond the table has no bytes.
        self._ends = np.zeros(len(table.pieces) + 1, dtype=np.uint32)
        self._goes_on = np.full(len(table.pieces) + 1, _INSIDE, dtype=np.uint32)
        for id, piece in enumerate((*table.pieces, b"")):
            if any(pattern in piece for pattern in patterns):
                self._ends[id] = _INSIDE
            elif piece.endswith(heads):
                self._ends[id] = sum(1 << i for i, head in enumerate(heads) if piece.endswith(head))
            if piece[:1] in tail_bytes:
                going = (i for i, tail in enumerate(tails) if piece.startswith(tail) or tail.startswith(piece))
                self._goes_on[id] |= sum(1 << i for i in going)

    def first(self, known: np.ndarray) -> int:
        """Index of the first landmark, the number of tokens without one.

        ``known``: ``TokenTable.known(ids)``, shape (n,).
        """
        if len(known) == 0:
            return 0
        ends = self._ends[known]
        hits = ends[:-1] & self._goes_on[known[1:]]
        first = int(np.argmax(hits != 0)) if len(hits) else 0
        if len(hits) and hits[first]:
            return first
        return len(known) - 1 if ends[-1] & _INSIDE else len(known)

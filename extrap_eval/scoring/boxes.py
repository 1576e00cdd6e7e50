"""Boxed answers in the bytes of a completion.

The rule is prefix-consistent: cutting the bytes anywhere and looking again finds exactly the boxes that end
at or before the cut. So a completion is searched once, and the answer at every budget is read from that one
search.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BOX_COMMANDS = (b"\\boxed", b"\\fbox")

_OPENER = re.compile(rb"\\(?:boxed|fbox)\s*\{")
# An opener, or an escaped character (never counted; a second backslash is one too), or a brace. The backslash of an
# opener escapes nothing and is not escaped: ``\\boxed{5}`` is a box wherever it stands.
_INSIDE = re.compile(rb"(\\(?:boxed|fbox)\s*\{)|\\(?!\\(?:boxed|fbox)\s*\{).|[{}]", re.DOTALL)


@dataclass(frozen=True)
class Box:
    r"""One complete ``\boxed{…}`` or ``\fbox{…}``.

    ``start`` is the byte offset of its backslash, ``end`` the offset just after its closing brace. ``answer``
    is what lies between the braces, stripped; "" for an empty box.
    """

    start: int
    end: int
    answer: str


def find_boxes(data: bytes) -> list[Box]:
    r"""The innermost complete boxes of ``data`` (UTF-8, possibly cut in a character), in order of their end.

    Braces are balanced; ``\{`` and ``\}`` are text. Whitespace between command and brace is allowed. A box
    that never closes is no box, and does not hide complete ones after or inside it. Of two nested boxes only
    the inner one counts: it closes first, and the outer one, when it closes at last, never displaces it. Hence
    boxes are disjoint, and the order of their ends is that of their starts.
    """
    boxes: list[Box] = []
    position = 0
    while (opener := _OPENER.search(data, position)) is not None:
        position = _read_nest(data, opener, boxes)
    return boxes


def _read_nest(data: bytes, opener: re.Match[bytes], boxes: list[Box]) -> int:
    """Append the innermost boxes of the nest that starts with ``opener``; returns where the nest ends."""
    depth = 1
    open_boxes = [(opener.start(), opener.end(), 0, len(boxes))]  # start, content, depth outside, boxes found before
    for match in _INSIDE.finditer(data, opener.end()):
        symbol = match[0]
        if symbol == b"{":
            depth += 1
        elif symbol == b"}":
            depth -= 1
            start, content, outside, before = open_boxes[-1]
            if depth == outside:
                open_boxes.pop()
                if len(boxes) == before:
                    answer = data[content : match.start()].decode("utf-8", errors="replace").strip()
                    boxes.append(Box(start, match.end(), answer))
                if not open_boxes:
                    return match.end()
        elif match.lastindex:  # an opener
            open_boxes.append((match.start(), match.end(), depth, len(boxes)))
            depth += 1
    return len(data)

"""Slow, obvious answers to what the scoring room computes quickly."""

from __future__ import annotations

import re

import numpy as np

OPENER = re.compile(r"\\(?:boxed|fbox)\s*\{")


def closing_brace(text: str, content: int) -> int:
    """Index of the brace that closes the group whose content starts at ``content``, -1 without one."""
    depth = 1
    at = content
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
        at += 1
    return -1


def last_box(text: str) -> str | None:
    """The content of the complete box with the latest start; None without one, "" when it is empty."""
    for opener in reversed(list(OPENER.finditer(text))):
        end = closing_brace(text, opener.end())
        if end >= 0:
            return text[opener.end() : end].strip()
    return None


def boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every complete box that has no complete box inside, by end."""
    every = []
    for opener in OPENER.finditer(text):
        end = closing_brace(text, opener.end())
        if end >= 0:
            every.append((opener.start(), end + 1, text[opener.end() : end].strip()))
    inner = [box for box in every if not any(box[0] < o[0] and o[1] <= box[1] for o in every)]
    return sorted(inner, key=lambda box: box[1])


def final_loop(ids: list[int], repetitions: int, tokens: int) -> tuple[int, int] | None:
    """Onset and period by trying every period on every token."""
    n = len(ids)
    for period in range(1, n // repetitions + 1):
        onset = n - period
        while onset > 0 and ids[onset - 1] == ids[onset - 1 + period]:
            onset -= 1
        if n - onset >= max(repetitions * period, tokens):
            return onset, period
    return None


def as_ids(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)

r"""What a completion is made of at each budget: loops, redundancy, boxes, language (RLVR-exploration, sections 2-4).

A completion is read once for all budgets: what happens at a token is found once and counted up to each budget. Only the
search for a loop looks at the end of every prefix, in numpy, in time linear in the prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count

import numpy as np

from extrap_eval.scoring.loops import final_loop
from extrap_eval.scoring.tokens import TokenTable

QUALITY_VERSION = 1  # raise it when the same tokens may give another reading

REDUNDANT = 0.31  # the paper's threshold for 3-gram redundancy

_OPENER = b"\\boxed{"
# U+4E00-U+9FFF in UTF-8; the first byte of each begins no other character.
_CJK_FROM, _CJK_TO = 0xE4, 0xE9
_CJK = re.compile(rb"\xe4[\xb8-\xbf][\x80-\xbf]|[\xe5-\xe9][\x80-\xbf]{2}")
_SPACES = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c"))  # where ``bytes.split`` splits
_BITS = 63  # of an int64 that is not negative
_LARGE = 1 << 20  # beyond it a table of all ids costs more than sorting them


@dataclass(frozen=True, eq=False)
class Quality:
    r"""One completion at B budgets; a budget beyond its length holds all of it.

    ``loop_onset`` and ``loop_period`` int32 (B,): the loop that the first so many tokens end in
    (``loops.final_loop``): the index of the first token that repeats, and the tokens of the block; -1 for none.
    ``words``, ``repeated_words``, ``repeated_tokens`` int32 (B,): whole words within the budget, and how many of the
    3-grams of words, or of tokens, are of a kind that is seen more than once within it. ``box_ends`` int32 (K,),
    ascending: the smallest budget that holds each ``\boxed{``. ``mixed_at``: the smallest budget that holds a character
    of U+4E00-U+9FFF, -1 where none does.
    """

    loop_onset: np.ndarray
    loop_period: np.ndarray
    words: np.ndarray
    repeated_words: np.ndarray
    repeated_tokens: np.ndarray
    box_ends: np.ndarray
    mixed_at: int


def read_quality(ids: np.ndarray, table: TokenTable, budgets: np.ndarray) -> Quality:
    """Read a completion. ``ids``: token ids, shape (n,). ``budgets``: int64, shape (B,), in completion tokens."""
    return quality_of_bytes(ids, table.text_bytes(ids), table.ends(ids), budgets)


def quality_of_bytes(ids: np.ndarray, data: bytes, offsets: np.ndarray, budgets: np.ndarray) -> Quality:
    """As ``read_quality``, from the bytes of the text and the byte offset after each token (int64, shape (n,)).

    A word is what stands between spaces (``bytes.split``), and lies within a budget when its last byte does.
    """
    lengths = np.minimum(np.asarray(budgets, np.int64), len(ids))
    loops = {length: final_loop(ids[:length]) for length in set(lengths.tolist())}
    onset = [-1 if (loop := loops[length]) is None else loop.onset for length in lengths.tolist()]
    period = [-1 if (loop := loops[length]) is None else loop.period for length in lengths.tolist()]
    spoken, word_ends = _words(data)
    words = np.searchsorted(_tokens_up_to(offsets, word_ends), lengths, side="right")
    return Quality(
        loop_onset=np.array(onset, np.int32),
        loop_period=np.array(period, np.int32),
        words=words.astype(np.int32),
        repeated_words=repeated_trigrams(spoken, words).astype(np.int32),
        repeated_tokens=repeated_trigrams(ids, lengths).astype(np.int32),
        box_ends=_tokens_up_to(offsets, _ends_of(data, _OPENER)).astype(np.int32),
        mixed_at=_mixed_at(data, offsets),
    )


def repeated_trigrams(items: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """How many of the 3-grams of each prefix are of a kind that occurs more than once in that prefix, int64 (B,).

    ``items``: integers, shape (n,); ``lengths``: int64, shape (B,), of the prefixes. 3-gram redundancy is that number
    over the number of 3-grams (section 2 of the RLVR-exploration study: the counts of the 3-grams that are seen more
    than once, summed). A kind counts from its second occurrence on, for both, so the first two of every kind tell all.
    """
    within = np.clip(np.asarray(lengths, np.int64), 0, len(items)) - 2  # 3-grams of the prefix
    if len(items) < 3:
        return np.zeros(len(within), np.int64)
    ordered, order = _by_kind(items)
    opens = np.append(True, ordered[1:] != ordered[:-1])  # the first of each kind, by place
    again = np.append(False, opens[:-1]) & ~opens
    firsts, seconds = np.sort(order[opens]), np.sort(order[again])
    alone = np.searchsorted(firsts, within, side="left") - np.searchsorted(seconds, within, side="left")
    return np.asarray(np.maximum(within, 0) - alone)


def _by_kind(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One number for each 3-gram, equal for equal ones, sorted; and where each stands, ascending among equal ones."""
    numbers = _dense(np.asarray(items, np.int64))
    bits = int(numbers.max()).bit_length()
    if 3 * bits > _BITS:
        raise ValueError(f"more than {1 << _BITS // 3} different tokens in one completion")
    keys = (numbers[:-2] << 2 * bits) | (numbers[1:-1] << bits) | numbers[2:]
    place = len(keys).bit_length()
    if 3 * bits + place > _BITS:
        order = np.argsort(keys, kind="stable")
        return keys[order], order
    # Sorting numbers is several times as fast as sorting places by them, so each takes its place along.
    both = np.sort((keys << place) | np.arange(len(keys)))
    return both >> place, both & ((1 << place) - 1)


def _dense(numbers: np.ndarray) -> np.ndarray:
    """The same items as small numbers from 0 on, int64 (n,)."""
    if numbers.min() < 0 or numbers.max() >= _LARGE:
        return np.asarray(np.unique(numbers, return_inverse=True)[1])
    seen = np.zeros(int(numbers.max()) + 1, bool)
    seen[numbers] = True
    return np.asarray((np.cumsum(seen) - 1)[numbers])


def _words(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The words of a text, equal numbers for equal ones, and the byte offset after each: int64, shape (words,)."""
    words = data.split()
    numbers = dict(zip(dict.fromkeys(words), count(), strict=False))
    spoken = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
    spaces = np.append(_SPACES[np.frombuffer(data, np.uint8)], True)
    return spoken, np.flatnonzero(spaces[1:] & ~spaces[:-1]) + 1


def _ends_of(data: bytes, pattern: bytes) -> np.ndarray:
    """Byte offset after each occurrence, int64."""
    found, at = [], data.find(pattern)
    while at >= 0:
        found.append(at + len(pattern))
        at = data.find(pattern, at + len(pattern))
    return np.array(found, np.int64)


def _mixed_at(data: bytes, offsets: np.ndarray) -> int:
    text = np.frombuffer(data, np.uint8)
    if not ((text >= _CJK_FROM) & (text <= _CJK_TO)).any():
        return -1
    found = _CJK.search(data)
    return -1 if found is None else int(_tokens_up_to(offsets, np.array([found.end()]))[0])


def _tokens_up_to(offsets: np.ndarray, byte: np.ndarray) -> np.ndarray:
    """The smallest numbers of tokens that hold so many bytes (all at least 1)."""
    return np.searchsorted(offsets, byte, side="left") + 1

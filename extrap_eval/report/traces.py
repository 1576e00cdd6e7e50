"""One completion as the page shows it: its text, what each token completes, its boxes and its episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.report.text import shown
from extrap_eval.scoring.boxes import find_boxes
from extrap_eval.steps.episodes import Reading, reader

if TYPE_CHECKING:
    from extrap_eval.report.index import RunIndex
    from extrap_eval.store import Run


def trace_records(
    run: Run, index: RunIndex, followed: Mapping[tuple[str, int], Mapping[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every completion of the index, streaming as stored: its place in the index's flat lists, and its record.

    ``followed``: what was asked of a trace, added to its record.
    """
    read = reader(run)
    for completion in run.completions(columns=["token_ids", "text"]):
        at = index.at(completion.key)
        if at is not None:
            record = trace_record(read(completion), index.numbers[completion.problem_id].get)
            record["id"] = [completion.problem_id, completion.sample_index]
            record["finish"] = completion.finish_reason
            yield at, record | dict(followed.get(completion.key, {}))


def trace_record(reading: Reading, number: Callable[[str, int], int]) -> dict[str, Any]:
    """The record of a completion of n tokens; positions are UTF-16 code units of ``text``.

    ``text``; ``units``: what each token completes, int32 (n,), so that their running sum is what a budget shows;
    ``boxes``: [start, end, tokens at the end, ``number(answer, -1)``] each; ``sections``: [name, start, end, tokens at
    the start, tokens at the end], in order, covering the text: what stands before the thought, its episodes, the rest.
    """
    offsets = reading.offsets
    boxes = find_boxes(reading.data)
    sections = _sections(reading)
    wanted = [*offsets, *(edge for box in boxes for edge in (box.start, box.end)), *(start for _, start, _ in sections)]
    text, units = shown(reading.data, np.array(wanted, dtype=np.int64))
    of_tokens, rest = units[: len(offsets)], units[len(offsets) :].tolist()
    tokens = np.searchsorted(offsets, [box.end for box in boxes], side="left").tolist()
    starts = [*rest[2 * len(boxes) :], int(of_tokens[-1])]
    borders = [*(first for _, _, first in sections), len(offsets) - 1]
    return {
        "text": text,
        "units": np.diff(of_tokens).astype(np.int32),
        "boxes": [[rest[2 * i], rest[2 * i + 1], tokens[i], number(box.answer, -1)] for i, box in enumerate(boxes)],
        "sections": [
            [name, starts[i], starts[i + 1], borders[i], borders[i + 1]] for i, (name, _, _) in enumerate(sections)
        ],
    }


def _sections(reading: Reading) -> list[tuple[str, int, int]]:
    """Name, first byte and first token of every part of the text; parts without text are left out."""
    thought, offsets, data = reading.thought, reading.offsets, reading.data
    found = [("before the thought", 0, 0)] if thought.start else []
    for e, start in enumerate(reading.episodes.starts.tolist()):
        # The blank line between two episodes is shown with the first.
        byte = int(offsets[start])
        while e and data[byte : byte + 1] == b"\n":
            byte += 1
        found.append((f"episode {e + 1}", byte, start))
    if thought.end < len(offsets) - 1 or not found:
        name = "answer" if thought.closed or thought.end == 0 else "end"
        found.append((name, int(offsets[thought.end]), thought.end))
    return [part for part, after in zip(found, [*found[1:], ("", len(data) + 1, 0)], strict=True) if part[1] < after[1]]

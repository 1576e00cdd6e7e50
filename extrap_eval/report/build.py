"""Make the report of runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError
from extrap_eval.report.chunks import INLINE, ChunkWriter
from extrap_eval.report.followed import followed
from extrap_eval.report.index import VERDICTS, RunIndex, run_index
from extrap_eval.report.overview import Options, benchmark_sections, comparison_section, run_section, settings_of
from extrap_eval.report.page import render
from extrap_eval.report.quality import quality_section
from extrap_eval.report.traces import trace_records
from extrap_eval.scoring.outcomes import OUTCOMES

if TYPE_CHECKING:
    from extrap_eval.store import Run

# Traces done, and how many there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """``page``, ``folder`` (of the chunks beside it, None where they lie in the page), ``traces`` (how many), ``bytes``
    (of page and chunks), ``seconds``; ``notes``: what the runs have and the report cannot show.
    """

    page: Path
    folder: Path | None
    traces: int
    bytes: int
    seconds: float
    notes: tuple[str, ...]


def write_report(
    runs: Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    compare: bool = False,
    options: Options = Options(),
    title: str | None = None,
    command: str | None = None,
    inline: int = INLINE,
    progress: Progress | None = None,
) -> Written:
    """Write the report of scored runs (those that are not are scored first) as a page, with a folder beside it if their
    traces take more than ``inline`` bytes.

    ``compare``: two runs side by side, problem by problem. ``command``: what made the report, shown in it. An older
    report at ``out`` is replaced when the new one is whole. Raises UserError for anything the runs cannot show, and
    when the disk refuses.
    """
    from extrap_eval.steps.compare import refuse_unlike
    from extrap_eval.steps.curves import run_names
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.score import ensure_scored
    from extrap_eval.store.atomic import write_bytes

    began = time.monotonic()
    page = Path(out)
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{page}: a report is a page: give it a name that ends in .html")
    if not runs:
        raise UserError("no run was given: name at least one run directory")
    if compare and len(runs) != 2:
        raise UserError(f"--compare takes two runs, not {len(runs)}")
    for path in runs:
        ensure_scored(path)
    opened = [as_run(path) for path in runs]
    if compare:
        refuse_unlike(opened[0], opened[1], "default")
    names = _names(opened, run_names(opened))
    indices = [
        run_index(run, name, budgets=options.budgets, n=options.n, rule=options.rule)
        for run, name in zip(opened, names, strict=True)
    ]
    sections = [comparison_section(opened[0], opened[1], names, options)] if compare else []
    sections += benchmark_sections(opened, names, options)
    sections += [run_section(run, name, options) for run, name in zip(opened, names, strict=True)]
    sections += [quality_section(run, name, options) for run, name in zip(opened, names, strict=True)]
    with ChunkWriter(page, inline=inline) as chunks:
        traces, notes = _add_traces(opened, indices, chunks, progress)
        folder, packed = chunks.finish()
        heading = title or (" against " if compare else ", ").join(names)
        said = (*notes, *_left_out(names, indices))
        context = {
            "title": heading,
            "compare": compare,
            "sections": sections,
            "settings": [settings_of(run, name) for run, name in zip(opened, names, strict=True)],
            "notes": said,
            "command": command,
            "runs": [{"name": index.record["name"], "benchmark": index.record["benchmark"]} for index in indices],
        }
        data = {
            "title": heading,
            "compare": compare,
            "verdicts": VERDICTS,
            "outcomes": OUTCOMES,
            "folder": folder,
            "runs": [index.record for index in indices],
        }
        html = render(context, data, packed).encode("utf-8", errors="replace")
        write_bytes(page, html)
        chunks.commit()
    beside = None if packed or not traces else chunks.folder
    size = len(html) + (chunks.bytes if beside else 0)
    return Written(page, beside, traces, size, time.monotonic() - began, said)


def _names(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Numbers behind names that do not tell runs of one benchmark apart (folders of one name)."""
    keys = [(name, run.benchmark_card.name) for run, name in zip(runs, names, strict=True)]
    return [key[0] if keys.count(key) == 1 else f"{key[0]} [{place}]" for place, key in enumerate(keys, start=1)]


def _left_out(names: Sequence[str], indices: Sequence[RunIndex]) -> list[str]:
    return [
        f"{name}: problem {id} is left out: {reason}"
        for name, index in zip(names, indices, strict=True)
        for id, reason in index.left_out.items()
    ]


def _add_traces(
    runs: Sequence[Run], indices: Sequence[RunIndex], chunks: ChunkWriter, progress: Progress | None
) -> tuple[int, list[str]]:
    """Every trace into its chunk, its place into the index; how many there are, and notes."""
    total = sum(len(index.record["tokens"]) for index in indices)
    done, notes = 0, []
    for run, index in zip(runs, indices, strict=True):
        more, said = followed(run)
        notes += said
        places: list[Any] = index.record["places"]
        for at, record in trace_records(run, index, more):
            places[at] = chunks.add(record)
            done += 1
            if progress is not None:
                progress(done, total)
    return done, notes

"""``extrap-eval report``: a page with curves, outcomes and every trace."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from extrap_eval.cli.table import BUDGETS_HELP, Pick, PickOption, Region, RegionOption, parse_ints


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page; the folder beside it takes its name.")] = Path(
        "report.html"
    ),
    compare: Annotated[
        bool, typer.Option("--compare", help="Two runs side by side; the problems that only one solves come first.")
    ] = False,
    budgets: Annotated[str | None, typer.Option(help=BUDGETS_HELP)] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Use only the first n samples of every problem.")] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of bands and intervals.")] = 0.95,
    region: RegionOption = Region.anywhere,
    pick: PickOption = Pick.last,
    title: Annotated[str | None, typer.Option(help="Title of the page [default: the names of the models].")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="What was written, as JSON on stdout.")] = False,
) -> None:
    """Write a page that opens in any browser, without a server: overview, problem grid, trace explorer.

    Traces that take more than a few MiB lie in a folder beside the page (report_files/): keep both together.
    """
    from extrap_eval.report.build import write_report
    from extrap_eval.report.overview import Options
    from extrap_eval.scoring.timeline import AnswerRule

    options = Options(parse_ints("--budgets", budgets), n, level, AnswerRule(region.value, pick.value))
    command = shlex.join(["extrap-eval", *sys.argv[1:]])
    written = write_report(
        runs,
        out,
        compare=compare,
        options=options,
        title=title,
        command=command,
        progress=None if quiet or json_ else _Line(),
    )
    if json_:
        typer.echo(
            json.dumps(
                {
                    "page": str(written.page),
                    "folder": None if written.folder is None else str(written.folder),
                    "traces": written.traces,
                    "bytes": written.bytes,
                    "seconds": round(written.seconds, 1),
                    "notes": written.notes,
                }
            )
        )
        return
    beside = "" if written.folder is None else f" and {written.folder}/"
    typer.echo(
        f"{written.page}{beside}: {written.traces:,} traces, {written.bytes / 2**20:.1f} MiB, {written.seconds:.1f} s"
    )


class _Line:
    """Traces read so far, on one line of a terminal; every half minute elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else 30.0
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < self._every and not (done == total and self._terminal):
            return
        self._last = now
        end = "\r" if self._terminal and done < total else "\n"
        print(f"traces {done:,} / {total:,}", end=end, file=sys.stderr, flush=True)

"""One run under a fault, and what came of it."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.sampling.progress import Snapshot
from extrap_eval.sampling.rollouts import SamplingReport, sample_rollouts
from extrap_eval.store import Run, open_run
from tests.faults.faults import FaultKind, Moment
from tests.faults.scene import Stage

if TYPE_CHECKING:
    from extrap_eval.steps.sample import SamplingPlan


@dataclass(frozen=True)
class Outcome:
    """``met``: requests or processes that each fault has reached. ``rows``: completions on disk, counted in the files
    themselves; ``attempts``: requests that were sent in vain."""

    faults: tuple[str, ...]
    met: tuple[int, ...]
    complete: bool
    once: bool
    rows: int
    attempts: int
    most_attempts: int
    copies: int
    seconds: float
    servers: tuple[int, ...]  # completions of each
    reasons: tuple[tuple[str, int], ...]

    @property
    def good(self) -> bool:
        return self.complete and self.once and all(self.met)


async def run_under(
    faults: list[tuple[FaultKind, int]],
    stage: Stage,
    plan: SamplingPlan,
    directory: Path,
    *,
    patience: float,
    concurrency: int,
    rng: random.Random,
) -> Outcome:
    """Sample a whole run; each of ``faults``, given with the target it is done to, comes at a random moment."""
    from extrap_eval.steps.sample import prepare_run

    run = prepare_run(plan, directory / "run")
    done = asyncio.Event()
    reached: dict[float, asyncio.Event] = {rng.uniform(0.02, 0.5): asyncio.Event() for _ in faults}

    def progress(snapshot: Snapshot) -> None:
        for share, event in reached.items():
            if snapshot.finished >= share * snapshot.total:
                event.set()

    async def inject(kind: FaultKind, target: int, when: asyncio.Event) -> int:
        await when.wait()
        moment = Moment(
            stage.targets[target],
            stage.targets[1 - target],
            patience,
            rng,
            running=lambda: not done.is_set(),
        )
        return await kind.inject(moment)

    injecting = [
        asyncio.create_task(inject(kind, target, when))
        for (kind, target), when in zip(faults, reached.values(), strict=True)
    ]
    try:
        report = await sample_rollouts(run, stage.engine, concurrency=concurrency, progress=progress)
    finally:
        done.set()
    met = tuple(await asyncio.gather(*injecting))
    outcome = judge(run.path, report, tuple(kind.name for kind, _ in faults), met)
    if outcome.good:
        shutil.rmtree(run.path)
    return outcome


def judge(path: Path, report: SamplingReport, faults: tuple[str, ...], met: tuple[int, ...]) -> Outcome:
    run = open_run(path)
    promised = {(problem.id, index) for problem in run.problems() for index in range(run.n)}
    stored = list(run.completions())
    rows = _rows_in_files(run)
    settings = run.sampling
    whole = all(c.n_tokens == settings.max_tokens or c.finish_reason == "stop" for c in stored)
    return Outcome(
        faults=faults,
        met=met,
        complete=whole and not report.missing and {(c.problem_id, c.sample_index) for c in stored} == promised,
        once=rows == len(stored) == len(promised),
        rows=rows,
        attempts=sum(c.attempts - 1 for c in stored),
        most_attempts=max((c.attempts for c in stored), default=0),
        copies=run.copies(at_least=64),
        seconds=report.seconds,
        servers=tuple(Counter(c.server for c in stored).values()),
        reasons=tuple(report.reasons()),
    )


def _rows_in_files(run: Run) -> int:
    """Reading drops what is there twice, so the files are counted themselves."""
    import pyarrow.parquet

    stage = run.path / "completions" / "rollout"
    sealed = sum(pyarrow.parquet.ParquetFile(part).metadata.num_rows for part in stage.glob("part-*.parquet"))
    return sealed + len((stage / "journal.jsonl").read_bytes().splitlines())

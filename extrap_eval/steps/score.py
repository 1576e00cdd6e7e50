"""Read every completion of a run once and judge every distinct answer once.

The result is a score layer in the run directory; generations stay as they are. Scoring needs neither the
model's server nor, where the tokenizer is a table, the tokenizer.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.problems.problem import Problem
    from extrap_eval.scoring.timeline import Timeline
    from extrap_eval.store import Key, Run, ScoreLayer

Progress = Callable[[int, int], None]  # completions read, completions in all


@dataclass(frozen=True)
class ScoreReport:
    """What scoring found.

    ``answers``: distinct answers, an answer of two problems counted twice. ``judged``: those whose verdict
    was not remembered. ``verdicts``: answers per verdict. ``gold_errors``: problem id -> why its reference
    answer cannot be compared with anything; such a problem has no judged answers and must be left out of
    every metric.
    """

    samples: int
    answers: int
    judged: int
    verdicts: dict[str, int]
    gold_errors: dict[str, str]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items()))
        text = f"{self.samples} samples, {self.answers} distinct answers ({self.judged} judged now)"
        text += f": {counts}" if counts else ""
        if self.gold_errors:
            problem, reason = next(iter(self.gold_errors.items()))
            text += f"; {len(self.gold_errors)} problems left out, first {problem}: {reason}"
        return text


def score(
    path: str | Path,
    *,
    workers: int | None = None,
    timeout: float = 5.0,
    memory_mb: int = 2048,
    progress: Progress | None = None,
    ray_address: str | None = None,
) -> ScoreReport:
    """Score a run directory into its default layer.

    Streams the completions, so memory does not grow with their number. Nothing is done when neither
    completions nor rules have changed since the last time; after a top-up only answers never seen before are
    judged. A verdict "timeout" is tried again when ``timeout`` or ``memory_mb`` has grown.

    ``workers``: judging processes (default: one per core). ``timeout``: seconds of wall clock per comparison.
    ``memory_mb``: MiB of resident memory at which a judging process is killed. ``ray_address``: read the
    completions on that Ray cluster ("auto": the one this machine belongs to); the layer is the same.

    Raises UserError when the path is no run directory, when promised samples are missing, or when the cluster
    cannot be reached.
    """
    from extrap_eval.steps.judging import judge_answers, remember
    from extrap_eval.store import open_run

    run = open_run(path)
    refuse_missing(run)
    layer = run.layer()
    digest = run.digest()
    problems = {problem.id: problem for problem in run.problems()}
    versions = score_versions(run)
    memory = remember(layer, problems, versions, timeout=timeout, memory_mb=memory_mb)
    if memory.complete and layer.made_from(digest) and layer.score()["versions"] == versions:
        return _report(layer, judged=0)

    said: dict[str, set[str]] = {id: set() for id in problems}
    with layer.writer(digest) as writer:
        total = len(problems) * run.n
        for done, ((problem_id, sample_index), timeline) in enumerate(_timelines(run, ray_address), start=1):
            writer.add(problem_id, sample_index, timeline)
            said[problem_id].update(timeline.answers)
            if progress is not None:
                progress(done, total)
        judged = judge_answers(problems, said, memory, workers=workers, timeout=timeout, memory_mb=memory_mb)
        settings = {"timeout": timeout, "memory_mb": memory_mb, "gold_errors": judged.gold_errors}
        writer.commit(judged.rows, settings=settings, versions=versions)
    return _report(layer, judged=judged.asked)


def _timelines(run: Run, ray_address: str | None) -> Iterable[tuple[Key, Timeline]]:
    if ray_address is None:
        from extrap_eval.steps.timelines import timelines

        return timelines(run)
    from extrap_eval.steps.timelines_on_ray import timelines_on_ray

    return timelines_on_ray(run, ray_address)


def unreadable_golds(problems: Sequence[Problem]) -> dict[str, str]:
    """Problem id -> why its reference answer cannot be compared with anything; worth knowing before sampling."""
    from extrap_eval.scoring.judge import Judge

    with Judge() as judge:
        return judge.check_golds(problems)


def ensure_scored(path: str | Path) -> None:
    """Score a run unless its layer stands for what it holds now, whatever limits it was judged under.

    Raises UserError as ``score`` does.
    """
    from extrap_eval.store import open_run

    run = open_run(path)
    refuse_missing(run)
    layer = run.layer()
    if not (layer.made_from(run.digest()) and layer.score()["versions"] == score_versions(run)):
        score(path)


def score_versions(run: Run) -> dict[str, Any]:
    """What, besides the completions, a layer depends on. Golds and markers may have been mended in place."""
    from extrap_eval.problems.load import fingerprint
    from extrap_eval.scoring.judge import judge_version
    from extrap_eval.scoring.timeline import TIMELINE_VERSION
    from extrap_eval.steps.timelines import think_close_of

    return {
        "judge": judge_version(),
        "timeline": TIMELINE_VERSION,
        "think_close": think_close_of(run),
        "problems_sha256": fingerprint(run.problems()),
    }


def refuse_missing(run: Run, n: int | None = None) -> None:
    """Raises UserError, with the command that tops up, when promised samples (the first ``n``) are missing."""
    missing = [key for key in run.missing() if n is None or key[1] < n]
    if not missing:
        return
    command = run.manifest.invocations[-1]["command"] if run.manifest.invocations else []
    if not command or not command[0].startswith("extrap-eval"):
        cards = ["--model", str(run.path / "model.yaml"), "--benchmark", str(run.path / "benchmark.yaml")]
        command = ["extrap-eval", "sample", *cards, "--out", str(run.path), "--n", str(run.n)]
    problem, index = missing[0]
    raise UserError(
        f"{run.path}: {len(missing)} of {len(run.problems()) * (n or run.n)} promised samples are missing "
        f"(first: sample {index} of problem {problem}): top up with: {shlex.join(command)}"
    )


def _report(layer: ScoreLayer, *, judged: int) -> ScoreReport:
    score = layer.score()
    verdicts = Counter(layer.answers()["verdict"].tolist())
    return ScoreReport(
        samples=score["counts"]["timelines"],
        answers=score["counts"]["answers"],
        judged=judged,
        verdicts=dict(sorted(verdicts.items())),
        gold_errors=score["settings"]["gold_errors"],
    )

"""Read every completion of a run once and judge every distinct answer once.

The result is a score layer in the run directory; generations stay as they are. Scoring needs neither the
model's server nor, where the tokenizer is a table, the tokenizer.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.problems.problem import Problem
    from extrap_eval.scoring.judge import Judge, Verdict
    from extrap_eval.scoring.timeline import Timeline
    from extrap_eval.store import Completion, Run, ScoreLayer

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
) -> ScoreReport:
    """Score a run directory into its default layer.

    Streams the completions, so memory does not grow with their number. Nothing is done when neither
    completions nor rules have changed since the last time; after a top-up only answers never seen before are
    judged. A verdict "timeout" is tried again when ``timeout`` or ``memory_mb`` has grown.

    ``workers``: judging processes (default: one per core). ``timeout``: seconds of wall clock per comparison.
    ``memory_mb``: MiB of resident memory at which a judging process is killed.

    Raises UserError when the path is no run directory, or when promised samples are missing.
    """
    from extrap_eval.scoring.judge import Judge
    from extrap_eval.store import AnswerRow, open_run

    run = open_run(path)
    _refuse_missing(run)
    layer = run.layer()
    digest = run.digest()
    problems = {problem.id: problem for problem in run.problems()}
    versions = _versions(run)
    memory = _remember(layer, problems, versions, timeout=timeout, memory_mb=memory_mb)
    if memory.complete and layer.made_from(digest) and layer.score()["versions"] == versions:
        return _report(layer, judged=0)

    said: dict[str, set[str]] = {id: set() for id in problems}
    with layer.writer(digest) as writer:
        total = len(problems) * run.n
        for done, (completion, timeline) in enumerate(_timelines(run), start=1):
            writer.add(completion.problem_id, completion.sample_index, timeline)
            said[completion.problem_id].update(timeline.answers)
            if progress is not None:
                progress(done, total)
        with Judge(workers, timeout, memory_mb) as judge:
            gold_errors = memory.gold_errors
            if gold_errors is None:
                gold_errors = judge.check_golds(problems.values())
            answers = {id: sorted(found - {""}) for id, found in said.items() if found - {""} and id not in gold_errors}
            verdicts, judged = _verdicts(judge, memory, problems, answers)
            classes = _classes(judge, memory, problems, answers)
        rows = (
            AnswerRow(id, problems[id].gold, answer, verdicts[id, answer], classes[id, answer])
            for id, found in answers.items()
            for answer in found
        )
        settings = {"timeout": timeout, "memory_mb": memory_mb, "gold_errors": gold_errors}
        writer.commit(rows, settings=settings, versions=versions)
    return _report(layer, judged=judged)


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
    _refuse_missing(run)
    layer = run.layer()
    if not (layer.made_from(run.digest()) and layer.score()["versions"] == _versions(run)):
        score(path)


def _versions(run: Run) -> dict[str, Any]:
    """What, besides the completions, a layer depends on. Golds and markers may have been mended in place."""
    from extrap_eval.problems.load import fingerprint
    from extrap_eval.scoring.judge import judge_version
    from extrap_eval.scoring.timeline import TIMELINE_VERSION

    return {
        "judge": judge_version(),
        "timeline": TIMELINE_VERSION,
        "think_close": _think_close(run),
        "problems_sha256": fingerprint(run.problems()),
    }


def _think_close(run: Run) -> str | None:
    think = run.model_card.think
    return None if think is None else think.close


def _refuse_missing(run: Run) -> None:
    missing = run.missing()
    if not missing:
        return
    command = run.manifest.invocations[-1]["command"] if run.manifest.invocations else []
    if not command or not command[0].startswith("extrap-eval"):
        cards = ["--model", str(run.path / "model.yaml"), "--benchmark", str(run.path / "benchmark.yaml")]
        command = ["extrap-eval", "sample", *cards, "--out", str(run.path), "--n", str(run.n)]
    problem, index = missing[0]
    raise UserError(
        f"{run.path}: {len(missing)} of {len(missing) + len(run.keys())} promised samples are missing "
        f"(first: sample {index} of problem {problem}): top up with: {shlex.join(command)}"
    )


def _timelines(run: Run) -> Iterable[tuple[Completion, Timeline]]:
    from extrap_eval.scoring.timeline import read_timeline, timeline_of_bytes
    from extrap_eval.scoring.tokens import slow_offsets

    think_close = _think_close(run)
    table = run.token_table()
    tokenizer: Any = None
    if table is None:
        from extrap_eval.prompts.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(run.model_card, run.manifest.tokenizer)
    for completion in run.completions(columns=["token_ids"]):
        ids = completion.token_ids
        finished = completion.finish_reason == "stop"
        if table is not None:
            yield completion, read_timeline(ids, table, finished=finished, think_close=think_close)
        else:
            data, ends = slow_offsets(tokenizer, ids)
            timeline = timeline_of_bytes(ids, data, ends, finished=finished, think_close=think_close)
            yield completion, timeline


@dataclass(frozen=True)
class _Memory:
    """What the layer before knows and the same judge would say again.

    ``verdicts``: by problem id and answer. ``classes``: by problem id, then by answer; they hold for exactly
    that set of answers. ``gold_errors``: None when not known. ``complete``: nothing was left out.
    """

    verdicts: Mapping[tuple[str, str], Verdict] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    gold_errors: dict[str, str] | None = None
    complete: bool = False


def _remember(
    layer: ScoreLayer,
    problems: Mapping[str, Problem],
    versions: Mapping[str, Any],
    *,
    timeout: float,
    memory_mb: int,
) -> _Memory:
    if not layer.exists() or layer.score()["versions"].get("judge") != versions["judge"]:
        return _Memory()
    before = layer.score()
    settings = before["settings"]
    verdicts: dict[tuple[str, str], Verdict] = {}
    classes: dict[str, dict[str, int]] = {}
    for id, gold, answer, verdict, class_id in layer.answers().to_numpy().tolist():
        classes.setdefault(id, {})[answer] = class_id
        if id in problems and gold == problems[id].gold:
            verdicts[id, answer] = verdict
    if timeout > settings["timeout"] or memory_mb > settings["memory_mb"]:
        # What ran into the old limits is tried again.
        return _Memory({key: verdict for key, verdict in verdicts.items() if verdict != "timeout"})
    same_problems = before["versions"].get("problems_sha256") == versions["problems_sha256"]
    return _Memory(verdicts, classes, settings["gold_errors"] if same_problems else None, complete=True)


def _verdicts(
    judge: Judge, memory: _Memory, problems: Mapping[str, Problem], answers: Mapping[str, Sequence[str]]
) -> tuple[dict[tuple[str, str], Verdict], int]:
    """Verdict by problem id and answer, and how many were asked for now."""
    from extrap_eval.scoring.judge import Question

    pairs = [(id, answer) for id, found in answers.items() for answer in found]
    new = [pair for pair in pairs if pair not in memory.verdicts]
    asked = judge.verdicts([Question(id, problems[id].gold, answer, problems[id].kind) for id, answer in new])
    return {**memory.verdicts, **dict(zip(new, asked, strict=True))}, len(new)


def _classes(
    judge: Judge, memory: _Memory, problems: Mapping[str, Problem], answers: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], int]:
    """Equivalence class by problem id and answer."""
    grown = [id for id, found in answers.items() if memory.classes.get(id, {}).keys() != set(found)]
    regrouped = judge.classes_of_many([(problems[id].kind, answers[id]) for id in grown])
    of_problem = dict(memory.classes)
    for id, classes in zip(grown, regrouped, strict=True):
        of_problem[id] = dict(zip(answers[id], classes, strict=True))
    return {(id, answer): of_problem[id][answer] for id, found in answers.items() for answer in found}


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

"""The answers of probes and extensions: read, judged once, and laid out as a tidy table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.steps import outcomes

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.scoring.timeline import Timeline
    from extrap_eval.store import Completion, Run, Variant

NO_ANSWER = "none"


def answer_stage(variant: Variant) -> str:
    """The stage that holds the answers: that of the probes, or the second one of a chain."""
    return variant.name if variant.kind.startswith("probe") else variant.answers


def ensure_answers_scored(run: Run, variant: Variant, *, timeout: float = 5.0, memory_mb: int = 2048) -> None:
    """Judge the answers of a variant into the score layer that has its stage's name, unless it stands for them now.

    Only the completions of the variant are read, never their prompts. They are grouped into equivalence classes
    together with the answers of the rollouts themselves (which are scored first), so that both can be voted over. What
    the run's own layer knows is not judged again. Raises UserError when the variant is not complete.
    """
    from extrap_eval.steps.following import refuse_incomplete
    from extrap_eval.steps.judging import Memory, judge_answers, remember
    from extrap_eval.steps.score import ensure_scored, score_versions

    refuse_incomplete(run, variant)
    stage = answer_stage(variant)
    with_rollouts = variant.kind != "slide"
    if with_rollouts:
        ensure_scored(run.path)
    layer = run.layer(stage)
    digest = run.digest(stage)
    versions = score_versions(run) | {"rollouts": run.digest() if with_rollouts else None}
    if layer.made_from(digest) and layer.score()["versions"] == versions:
        return
    problems = {problem.id: problem for problem in run.problems()}
    said: dict[str, set[str]] = {id: set() for id in problems}
    own = remember(layer, problems, versions, timeout=timeout, memory_mb=memory_mb)
    base = Memory()
    if with_rollouts:
        base = remember(run.layer(), problems, versions, timeout=timeout, memory_mb=memory_mb)
        for id, answer in run.layer().answers()[["problem_id", "answer"]].itertuples(index=False):
            said[id].add(answer)
    memory = Memory(
        {**base.verdicts, **own.verdicts}, own.classes, base.gold_errors if with_rollouts else own.gold_errors
    )
    with layer.writer(digest, placed=True) as writer:
        for completion, timeline in _timelines(run, variant):
            writer.add(
                completion.problem_id,
                completion.sample_index,
                timeline,
                step=completion.step or 0,
                replicate=completion.replicate or 0,
            )
            said[completion.problem_id].update(timeline.answers)
        judged = judge_answers(problems, said, memory, workers=None, timeout=timeout, memory_mb=memory_mb)
        settings = {"timeout": timeout, "memory_mb": memory_mb, "gold_errors": judged.gold_errors}
        writer.commit(judged.rows, settings=settings, versions=versions)


def _timelines(run: Run, variant: Variant) -> Any:
    """Completions with their timelines; no closing marker is looked for: the thought ended in the prompt, or it does
    not matter whether it did.
    """
    from extrap_eval.sampling.continuation import join
    from extrap_eval.scoring.timeline import read_timeline

    stage, before = answer_stage(variant), _beginnings(run, variant)
    table = run.token_table()
    if table is None:
        raise UserError(f"{run.path}: its tokenizer is not one byte string per token")
    for completion in run.completions(stage, columns=["token_ids"]):
        finished, ids = completion.finish_reason == "stop", completion.token_ids
        if before is not None:
            ids = join(before(completion), ids)
        yield completion, read_timeline(ids, table, finished=finished, think_close=None)


def _beginnings(run: Run, variant: Variant) -> Callable[[Completion], np.ndarray] | None:
    """What a completion goes on from where both together are read: the trace up to the replaced token, and that or the
    one in its place. None where the completion is read alone.
    """
    from extrap_eval.sampling.continuation import join
    from extrap_eval.sampling.following import stored_pieces, stored_traces

    if variant.kind != "replace":
        return None
    others = stored_pieces(run, variant.name)
    traces = {(trace.problem_id, trace.sample_index): trace.ids for trace in stored_traces(run, others)}

    def beginning(completion: Completion) -> np.ndarray:
        piece, replaced = divmod((completion.step or 0) + 1, 2)  # steps 2j - 1: the trace's own token; 2j: the other
        end = completion.prefix_tokens or 0
        ids = traces[completion.key]
        return join(ids[: end - 1], others[completion.key][piece - 1].ids) if replaced else ids[:end]

    return beginning


def judged_answers(run: Run, variant: Variant) -> dict[tuple[str, str | None], tuple[str, int]]:
    """Verdict and class (-1 for none) of every answer that the layer of a variant knows, by problem; the answers of the
    rollouts are among them. No answer (None) is known as well.
    """
    ids = [problem.id for problem in run.problems()]
    known: dict[tuple[str, str | None], tuple[str, int]] = {
        (id, answer): judged
        for id, answers in outcomes.judged_answers(run.layer(answer_stage(variant)), ids).items()
        for answer, judged in answers.items()
    }
    return known | {(id, None): (NO_ANSWER, -1) for id in ids}


def answer_within(timeline: Timeline, tokens: int) -> str | None:
    """The last complete box within the first ``tokens`` of a completion; None for none and for an empty one."""
    from extrap_eval.scoring.timeline import AnswerRule, answer_index

    chosen = int(answer_index(timeline, np.array([tokens]), AnswerRule())[0])
    return timeline.answers[chosen] if chosen >= 0 else None


def with_prefix_answers(run: Run, variant: Variant, table: pd.DataFrame) -> pd.DataFrame:
    """``answer_table`` where rows without an answer have the last box of the trace before them, if there is one."""
    judged = judged_answers(run, variant)
    places = ["problem_id", "sample_index", "prefix_tokens"]
    wanted: dict[tuple[str, int], set[int]] = {}
    for id, index, tokens in table.loc[table["answer"].isna(), places].itertuples(index=False, name=None):
        wanted.setdefault((id, index), set()).add(tokens)
    found: dict[tuple[str, int, int], str | None] = {}
    for (id, index), timeline in run.layer().timelines():
        for tokens in wanted.get((id, index), ()):
            found[id, index, tokens] = answer_within(timeline, tokens)
    answers: list[Any] = [
        own if isinstance(own, str) else found[id, index, tokens]
        for own, id, index, tokens in zip(table["answer"], *(table[name] for name in places), strict=True)
    ]
    known = [judged[id, answer] for id, answer in zip(table["problem_id"], answers, strict=True)]
    verdicts = [verdict for verdict, _ in known]
    return table.assign(
        answer=answers,
        answer_class=[number for _, number in known],
        verdict=verdicts,
        correct=[verdict == "correct" for verdict in verdicts],
    )


def answer_table(run: Run, variant: Variant) -> pd.DataFrame:
    """Every answer of a scored variant, one row per completion, in order of problem, sample, step and replicate.

    Columns: problem_id, sample_index, step, replicate, prefix_tokens, answer_tokens (with the prefix, where both are
    read together), finished, answer (the last
    complete box; None for none and for an empty one), answer_class
    (-1 for none), verdict ("none" without an answer), correct. Problems whose reference answer cannot be read are left
    out.
    """
    import pandas as pd

    stage = answer_stage(variant)
    layer = run.layer(stage)
    frame = layer.timeline_frame(["problem_id", "sample_index", "step", "replicate", "n_tokens", "finished", "answers"])
    prefixes = {c.place: c.prefix_tokens or 0 for c in run.completions(stage, columns=[])}
    places = zip(*(frame[name].tolist() for name in ("problem_id", "sample_index", "step", "replicate")), strict=True)
    frame["prefix_tokens"] = [prefixes[place] for place in places]
    frame["answer"] = [str(boxes[-1]) if len(boxes) and boxes[-1] else None for boxes in frame["answers"]]
    frame = frame.drop(columns="answers").rename(columns={"n_tokens": "answer_tokens"})
    judged = layer.answers().rename(columns={"class_id": "answer_class"})
    frame = frame.merge(judged[["problem_id", "answer", "verdict", "answer_class"]], how="left")
    frame["verdict"] = frame["verdict"].fillna(NO_ANSWER)
    frame["answer_class"] = frame["answer_class"].fillna(-1).astype(np.int64)
    frame["correct"] = frame["verdict"] == "correct"
    left_out = set(layer.score()["settings"].get("gold_errors") or {})
    order = {problem.id: place for place, problem in enumerate(run.problems())}
    frame = frame[~frame["problem_id"].isin(left_out)].copy()
    frame["place"] = frame["problem_id"].map(order)
    columns = ["place", "sample_index", "step", "replicate"]
    frame = frame.sort_values(columns, kind="stable", ignore_index=True).drop(columns="place")
    return pd.DataFrame(frame)

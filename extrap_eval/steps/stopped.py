"""The traces of a run, stopped after so many attempts: what they answer there, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.scoring.timeline import AnswerRule, answer_index
from extrap_eval.steps.candidates import AttemptRule, Trace, attempt_rule, read_traces
from extrap_eval.steps.episodes import Rules
from extrap_eval.steps.outcomes import as_run, judged_answers, outcomes, sampled_maximum

if TYPE_CHECKING:
    from extrap_eval.store import Run

Unit = Literal["episodes", "verifications", "candidates"]
UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True, eq=False)
class Chained:
    """The traces of a run, P problems of n samples, stopped after each of J numbers of attempts (``caps``).

    ``counts`` int64 (P, n) per unit: how many a whole trace has. ``right`` bool (P, n): the whole trace's answer is.
    ``correct`` bool and ``class_id`` int32 (P, n, J): of the answer of the stopped trace, -1 for none; ``tokens`` int32
    (P, n, J): its length. ``first_right``, ``first_class`` (P, n): of the last answer tried within the first attempt,
    -1 where none is.
    """

    model: str
    benchmark: str
    unit: Unit
    rule: AttemptRule
    problem_ids: tuple[str, ...]
    caps: tuple[int, ...]
    counts: dict[Unit, np.ndarray]
    right: np.ndarray
    correct: np.ndarray
    class_id: np.ndarray
    tokens: np.ndarray
    first_right: np.ndarray
    first_class: np.ndarray

    @property
    def n(self) -> int:
        return self.right.shape[1]


def read_chained(
    run: str | Path | Run,
    *,
    unit: Unit = "episodes",
    caps: Sequence[int] | None = None,
    phrases: Sequence[str] | None = None,
    rules: Rules = Rules(),
    pattern: str | None = None,
    n: int | None = None,
    layer: str = "default",
    answer_rule: AnswerRule = AnswerRule(),
) -> Chained:
    """Read a scored run. ``unit``: what an attempt is: an episode, a stretch up to the next verification phrase, or up
    to the next candidate answer. ``caps``: default powers of two up to the most that a trace has.

    A trace stopped after j attempts is cut before the j+1-th begins (for candidates: before it is complete), and what
    it answers is read off its answer timeline there: nothing is asked of the model. A trace that has no more than j is
    whole. The rest as in ``candidates.read_traces``. Raises UserError as that and ``outcomes`` do.
    """
    run = as_run(run)
    rule = attempt_rule(run, pattern)
    found = outcomes(run, [sampled_maximum(run)], layer, answer_rule, n=n)
    traces = read_traces(run, rule, phrases=phrases, rules=rules, n=found.n, layer=layer)
    place = {id: p for p, id in enumerate(found.problem_ids)}
    shape = (len(place), found.n)
    counts: dict[Unit, np.ndarray] = {each: np.zeros(shape, dtype=np.int64) for each in UNITS}
    for (id, index), trace in traces.items():
        for each in UNITS:
            counts[each][place[id], index] = _number(trace, each)
    chosen = tuple(_powers(int(counts[unit].max(initial=1))) if caps is None else sorted(set(caps)))
    if not chosen or chosen[0] < 1:
        raise UserError(f"--caps: {list(chosen)}: attempts are counted from 1")
    correct = np.zeros((*shape, len(chosen)), dtype=bool)
    class_id = np.full(correct.shape, -1, dtype=np.int32)
    tokens = np.zeros(correct.shape, dtype=np.int32)
    first_right, first_class = np.zeros(shape, dtype=bool), np.full(shape, -1, dtype=np.int32)
    scores = run.layer(layer)
    judged = judged_answers(scores, found.problem_ids)
    for (id, index), timeline in scores.timelines():
        if id not in place or index >= found.n:
            continue
        where, trace = (place[id], index), traces[id, index]
        cuts = np.array([cut_after(trace, unit, cap) for cap in chosen], dtype=np.int64)
        said = [judged[id][answer] if answer else ("incorrect", -1) for answer in timeline.answers]
        at = answer_index(timeline, cuts, answer_rule)
        correct[where] = np.array([*(verdict == "correct" for verdict, _ in said), False])[at]
        class_id[where] = np.array([number for _, number in said] + [-1])[at]
        tokens[where] = cuts
        tried = int(np.searchsorted(trace.attempt_ends, cut_after(trace, unit, 1), side="right"))
        if unit == "candidates":
            tried = min(tried, 1)
        if tried:
            first_right[where], first_class[where] = trace.right[tried - 1], trace.class_id[tried - 1]
    return Chained(
        model=found.model,
        benchmark=found.benchmark,
        unit=unit,
        rule=rule,
        problem_ids=found.problem_ids,
        caps=chosen,
        counts=counts,
        right=found.correct[..., 0],
        correct=correct,
        class_id=class_id,
        tokens=tokens,
        first_right=first_right,
        first_class=first_class,
    )


def cut_after(trace: Trace, unit: Unit, attempts: int) -> int:
    """Tokens of a trace that is stopped after so many attempts (at least 1); all of them where it has no more."""
    if attempts >= _number(trace, unit):
        return trace.n_tokens
    if unit == "episodes":
        return int(trace.episode_ends[attempts - 1])
    return int(trace.checks[attempts] if unit == "verifications" else trace.attempt_ends[attempts] - 1)


def _number(trace: Trace, unit: Unit) -> int:
    of_unit = {"episodes": trace.episode_ends, "verifications": trace.checks, "candidates": trace.attempt_ends}
    return len(of_unit[unit])


def _powers(most: int) -> list[int]:
    """1, 2, 4, … up to the first that is not below ``most``."""
    return [2**i for i in range(max(most - 1, 0).bit_length() + 1)]

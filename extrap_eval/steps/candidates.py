"""What every trace of a run tries, in what order and at which token, and how its tries are told apart and judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.scoring import attempts as finding
from extrap_eval.scoring.attempts import Stated
from extrap_eval.steps.episodes import Rules, reader
from extrap_eval.steps.outcomes import as_run, judged_answers

if TYPE_CHECKING:
    from extrap_eval.problems.problem import Problem
    from extrap_eval.store import Key, Run

Kind = Literal["expressions", "products", "pattern", "boxes"]
_WORDS = {
    "expressions": "expressions of all given numbers",
    "products": "numbers stated to be the product",
    "pattern": "what the pattern matches",
    "boxes": "boxed answers",
}


@dataclass(frozen=True)
class AttemptRule:
    """What counts as an attempt at the answer: see ``scoring.attempts``; ``pattern`` only for that kind."""

    kind: Kind
    pattern: str | None = None

    def __str__(self) -> str:
        return _WORDS[self.kind] + (f" {self.pattern}" if self.pattern else "")


@dataclass(frozen=True, eq=False)
class Trace:
    """One completion as tries: A attempts in order, E episodes, V places where it says that it verifies.

    ``attempt_ends`` int32 (A,): tokens up to and with each attempt; ``class_id`` int32 (A,): equal for equal attempts
    at one problem; ``right`` bool (A,). ``episode_ends`` int32 (E,): tokens up to the end of each episode.
    ``checks`` int32 (V,): tokens before each phrase that announces a verification.
    """

    n_tokens: int
    attempt_ends: np.ndarray
    class_id: np.ndarray
    right: np.ndarray
    episode_ends: np.ndarray
    checks: np.ndarray


def attempt_rule(run: str | Path | Run, pattern: str | None = None) -> AttemptRule:
    """How attempts at the problems of a run are found.

    ``pattern`` (a regular expression with one group) goes first, then that of the benchmark card; then what the
    problems are (countdown, multiplication), then the model card's pattern; otherwise attempts are the boxed answers.
    Raises UserError for a pattern that is none.
    """
    from pydantic import ValidationError

    from extrap_eval.cards.schema import Attempts

    run = as_run(run)
    benchmark = run.benchmark_card
    if pattern is not None:
        try:
            return AttemptRule("pattern", Attempts(pattern=pattern).pattern)
        except ValidationError as error:
            raise UserError(f"--pattern: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if benchmark.attempts is not None:
        return AttemptRule("pattern", benchmark.attempts.pattern)
    if benchmark.answer.kind == "expression":
        return AttemptRule("expressions")
    if benchmark.source.generator == "multiplication":
        return AttemptRule("products")
    own = run.model_card.attempts
    return AttemptRule("boxes") if own is None else AttemptRule("pattern", own.pattern)


def read_traces(
    run: str | Path | Run,
    rule: AttemptRule | None = None,
    *,
    phrases: Sequence[str] | None = None,
    rules: Rules = Rules(),
    n: int | None = None,
    layer: str = "default",
) -> dict[Key, Trace]:
    """Every completion of a scored run (of the first ``n`` samples) of a problem with a usable reference answer.

    ``rule``: default ``attempt_rule``. ``phrases``: what announces a verification, default the model card's; they
    count within the thought. ``rules``: what episodes are. Raises UserError as the readers of a run do.
    """
    run = as_run(run)
    rule = rule or attempt_rule(run)
    said = tuple(phrases or run.model_card.verification.phrases)
    left_out = run.layer(layer).score()["settings"].get("gold_errors") or {}
    problems = {problem.id: problem for problem in run.problems() if problem.id not in left_out}
    read = reader(run, rules)
    find = _finder(rule, problems)
    light: dict[Key, tuple[int, np.ndarray, np.ndarray, np.ndarray]] = {}
    stated: dict[str, dict[int, list[Stated]]] = {id: {} for id in problems}
    for completion in run.completions(columns=["token_ids", "text"]):
        id, index = completion.key
        if id not in problems or (n is not None and index >= n):
            continue
        reading = read(completion)
        data, offsets, thought = reading.data, reading.offsets, reading.thought
        found = find(problems[id], data)
        places = finding.phrase_places(data, said, int(offsets[thought.start]), int(offsets[thought.end]))
        light[id, index] = (
            len(completion.token_ids),
            np.searchsorted(offsets, [each.end for each in found], side="left").astype(np.int32),
            reading.episodes.ends,
            (np.searchsorted(offsets, places, side="right") - 1).astype(np.int32),
        )
        stated[id][index] = found
    known = _resolved(run, rule, problems, stated, layer)
    traces = {}
    for (id, index), (n_tokens, ends, episode_ends, checks) in light.items():
        pairs = [known[id][each.key] for each in stated[id][index]]
        traces[id, index] = Trace(
            n_tokens=n_tokens,
            attempt_ends=ends,
            class_id=np.array([number for number, _ in pairs], dtype=np.int32),
            right=np.array([correct for _, correct in pairs], dtype=bool),
            episode_ends=episode_ends,
            checks=checks,
        )
    return traces


def _finder(rule: AttemptRule, problems: dict[str, Problem]) -> Callable[[Problem, bytes], list[Stated]]:
    if rule.kind == "expressions":
        from extrap_eval.scoring.expressions import parse_gold

        golds = {id: parse_gold(problem.gold) for id, problem in problems.items()}
        return lambda problem, data: finding.countdown_attempts(data, golds[problem.id])
    if rule.kind == "products":
        return lambda problem, data: finding.product_attempts(data, int(problem.gold))
    if rule.pattern is not None:
        pattern = rule.pattern
        return lambda problem, data: finding.pattern_attempts(data, pattern)
    return lambda problem, data: finding.boxed_attempts(data)


def _resolved(
    run: Run,
    rule: AttemptRule,
    problems: dict[str, Problem],
    stated: dict[str, dict[int, list[Stated]]],
    layer: str,
) -> dict[str, dict[str, tuple[int, bool]]]:
    """Problem id -> key of an attempt -> its class and whether it is right."""
    keys = {id: sorted({each.key for found in of.values() for each in found}) for id, of in stated.items()}
    if rule.kind == "boxes":
        judged = judged_answers(run.layer(layer), list(problems))
        try:
            return {
                id: {key: (judged[id][key][1], judged[id][key][0] == "correct") for key in found}
                for id, found in keys.items()
            }
        except KeyError as error:
            raise UserError(f"{run.path}: answer {error} is not judged: score the run again") from None
    if rule.kind != "pattern":
        right = {
            (id, each.key): bool(each.correct) for id, of in stated.items() for found in of.values() for each in found
        }
        return {id: {key: (i, right[id, key]) for i, key in enumerate(found)} for id, found in keys.items()}
    from extrap_eval.scoring.judge import Judge, Question

    pairs = [(id, key) for id, found in keys.items() for key in found]
    with Judge() as judge:
        verdicts = judge.verdicts([Question(id, problems[id].gold, key, problems[id].kind) for id, key in pairs])
        classes = judge.classes_of_many([(problems[id].kind, found) for id, found in keys.items()])
    correct = {pair: verdict == "correct" for pair, verdict in zip(pairs, verdicts, strict=True)}
    return {
        id: {key: (number, correct[id, key]) for key, number in zip(found, numbers, strict=True)}
        for (id, found), numbers in zip(keys.items(), classes, strict=True)
    }

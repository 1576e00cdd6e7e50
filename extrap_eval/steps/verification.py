"""Is it easier to tell a right answer than to find one? Judgements asked, read, and set against pass@1."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.steps.following import FollowPlan, draw_of, find_variant, pen_of, plain, refuse_incomplete
from extrap_eval.steps.outcomes import as_run, judged_answers, outcomes, problem_values, sampled_maximum

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.metrics.verification import Judgements
    from extrap_eval.sampling.verification import Verification
    from extrap_eval.store import Key, Run

Mode = Literal["chat", "continue", "thought"]
MODES: tuple[Mode, ...] = ("chat", "continue", "thought")
KIND = "verify"
NO_TRACE = -1  # sample of an answer that is shown without a thought

# answer, whether it is right, the sample whose thought it is shown with
Proposed = tuple[str, bool, int]


def plan_verification(
    run: str | Path | Run,
    *,
    answers_of: str | Path | Run | None = None,
    mode: Mode = "chat",
    text: str | None = None,
    yes: str | None = None,
    no: str | None = None,
    pick: Literal["first", "last"] = "last",
    answers: int = 4,
    replicates: int = 4,
    answer_tokens: int = 4096,
    sampling: Mapping[str, float | int | None] | None = None,
    tokenizer: str | None = None,
) -> FollowPlan:
    """What to ask: ``replicates`` judgements of at most ``answers`` different answers per problem, those of the run
    itself or of ``answers_of``, a run on the same problems (its model is not asked).

    ``mode`` "chat": a user turn that shows the problem and the answer; "continue": ``text`` at the beginning of the
    thought, after the problem's own prompt; "thought": ``text`` after the thought of a sample that gave the answer.
    ``text`` may hold {problem}, {answer} and {think_close}. ``yes``, ``no``, ``pick``: ``scoring.verdicts.VerdictRule``
    [default: ``\\boxed{yes}`` and ``\\boxed{no}``].

    Answers are the last boxes of the samples, one for all that are equivalent. Of the right and of the wrong ones each
    gets half of the places, or what the other leaves; the most frequent first. Raises UserError for anything that does
    not fit together.
    """
    from extrap_eval.sampling.continuation import check_text
    from extrap_eval.sampling.verification import CHAT_TEXT, THOUGHT_TEXT
    from extrap_eval.scoring.verdicts import NO, YES
    from extrap_eval.steps.score import ensure_scored

    run = as_run(run)
    source = run if answers_of is None else as_run(answers_of)
    text = text or (CHAT_TEXT if mode == "chat" else THOUGHT_TEXT)
    check_text("--text", text)
    if mode != "thought" and "{answer}" not in text:
        raise UserError("--text: {answer}, which stands for the proposed answer, is not in it")
    if mode == "chat" and "{problem}" not in text:
        raise UserError("--text: {problem}, which stands for the problem, is not in it: --mode chat shows nothing else")
    if mode == "thought" and source.path.resolve() != run.path.resolve():
        raise UserError("--mode thought goes on from the model's own thoughts: leave --answers-of out")
    settings: dict[str, Any] = {"mode": mode, "text": text, "yes": yes or YES, "no": no or NO, "pick": pick}
    for option in ("yes", "no"):
        _check_expression(f"--{option}", settings[option])
    if _problems(source) != _problems(run):
        raise UserError(f"{run.path} and {source.path} have different problems: sample both on the same")
    for each in {run.path: run, source.path: source}.values():
        ensure_scored(each.path)
    chosen = dict(_chosen(source, answers, with_trace=mode == "thought"))
    if not chosen:
        raise UserError(f"{source.path}: no sample has an answer: there is nothing to judge")
    settings |= {"answer_tokens": answer_tokens, **asdict(draw_of(run, sampling))}
    settings |= {"answers_of": source.model_card.name, "answers": chosen}
    settings = plain(settings)
    promise = {"replicates": replicates}
    return FollowPlan(KIND, settings, promise, _protocol(run, settings, promise, tokenizer))


def _check_expression(option: str, expression: str) -> None:
    try:
        re.compile(expression.replace("{answer}", "0"))
    except re.error as error:
        raise UserError(f"{option}: {expression!r} is no regular expression ({error})") from None


def _problems(run: Run) -> object:
    return run.manifest.distribution["benchmark_sha256"]


def _chosen(run: Run, most: int, *, with_trace: bool) -> Iterator[tuple[str, list[Proposed]]]:
    """The answers of each problem that are shown, as far as it has any."""
    from extrap_eval.steps.answers import answer_within

    left_out = set(run.layer().score()["settings"].get("gold_errors") or {})
    judged = judged_answers(run.layer(), [problem.id for problem in run.problems()])
    given: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))  # by problem and class
    first: dict[tuple[str, str], int] = {}  # the first sample that gave an answer
    for (id, index), timeline in run.layer().timelines():
        answer = answer_within(timeline, timeline.n_tokens)
        if answer is None or id in left_out or judged[id][answer][0] == "timeout":
            continue
        if with_trace and not timeline.finished:  # a thought that was cut has not come to its answer
            continue
        given[id][judged[id][answer][1]][answer] += 1
        first[id, answer] = min(index, first.get((id, answer), index))
    for problem in run.problems():
        # By how many samples gave an equivalent one; in each class as it is mostly written.
        order = sorted(given[problem.id].values(), key=lambda each: (-each.total(), min(each)))
        answers = [max(sorted(each), key=lambda answer: each[answer]) for each in order]
        sides: dict[bool, list[str]] = {True: [], False: []}
        for answer in answers:
            sides[judged[problem.id][answer][0] == "correct"].append(answer)
        proposed = [
            (answer, right, first[problem.id, answer] if with_trace else NO_TRACE)
            for right in (True, False)
            for answer in sides[right][: max(most - most // 2 if right else most // 2, most - len(sides[not right]))]
        ]
        if proposed:
            yield problem.id, proposed


def _protocol(run: Run, settings: Mapping[str, Any], promise: Mapping[str, int], tokenizer: str | None) -> Verification:
    from extrap_eval.sampling.traces import Draw
    from extrap_eval.sampling.verification import Verification
    from extrap_eval.store.variant import variant_name

    return Verification(
        stage=variant_name(KIND, settings),
        prompts=dict(_prompts(run, settings, tokenizer)),
        draw=Draw.of(settings),
        answer_tokens=settings["answer_tokens"],
        replicates=promise["replicates"],
        samples=max(map(len, settings["answers"].values())),
    )


def _prompts(run: Run, settings: Mapping[str, Any], tokenizer: str | None) -> Iterator[tuple[Key, np.ndarray]]:
    """The prompt of every judgement, by problem and number of the answer."""
    from extrap_eval.prompts.chat import question_token_ids
    from extrap_eval.prompts.tokenizer import load_tokenizer
    from extrap_eval.sampling.continuation import join
    from extrap_eval.sampling.following import stored_traces
    from extrap_eval.scoring.verdicts import filled

    card, mode = run.model_card, settings["mode"]
    problems = {problem.id: problem.text for problem in run.problems()}
    own = run.prompts()
    loaded = load_tokenizer(card, tokenizer or run.manifest.tokenizer) if mode == "chat" else None
    pen = None if mode == "chat" else pen_of(run, tokenizer)
    wanted = {(id, index) for id, proposed in settings["answers"].items() for _, _, index in proposed if index >= 0}
    thoughts: dict[Key, np.ndarray] = {}
    if pen is not None and wanted:
        for trace in stored_traces(run, wanted):
            thought = pen.find_thought(trace.ids)
            begun = join(pen.begin(trace.prompt, thought), trace.ids[: thought.end])
            thoughts[trace.problem_id, trace.sample_index] = begun
    for id, proposed in settings["answers"].items():
        for number, (answer, _, index) in enumerate(proposed):
            text = filled(settings["text"], {"problem": problems[id], "answer": answer})
            if pen is None:
                yield (id, number), question_token_ids(loaded, card, text)
            elif index >= 0:
                yield (id, number), pen.add(thoughts[id, index], text)
            else:
                yield (id, number), pen.add(pen.begin(own[id]), text, breaks=0)


def judgement_table(run: str | Path | Run, variant: str | None = None) -> pd.DataFrame:
    """Every judgement, read; one row each, in order of problem, answer and replicate.

    Columns: problem_id, number (of the answer), answer, right (whether it is), replicate, said ("yes", "no" or
    "unreadable"), tokens, finished. Raises UserError when the variant is not complete.
    """
    import pandas as pd

    from extrap_eval.scoring.verdicts import VerdictRule, read_verdict

    run = as_run(run)
    found = find_variant(run, KIND, variant)
    refuse_incomplete(run, found)
    settings = found.settings
    rule = VerdictRule(settings["yes"], settings["no"], settings["pick"])
    table = run.token_table()
    place = {id: at for at, id in enumerate(settings["answers"])}
    rows = []
    for completion in run.completions(found.name, columns=["token_ids", "text"]):
        answer, right, _ = settings["answers"][completion.problem_id][completion.sample_index]
        said = table.decode(completion.token_ids) if table is not None else completion.text or ""
        rows.append(
            {
                "problem_id": completion.problem_id,
                "number": completion.sample_index,
                "answer": answer,
                "right": right,
                "replicate": completion.replicate or 0,
                "said": read_verdict(said, answer, rule),
                "tokens": completion.n_tokens,
                "finished": completion.finish_reason == "stop",
            }
        )
    rows.sort(key=lambda row: (place[row["problem_id"]], row["number"], row["replicate"]))
    return pd.DataFrame(rows)


def problem_table(run: str | Path | Run, variant: str | None = None) -> pd.DataFrame:
    """Judgements counted by problem, beside its pass@1; one row per problem with a judged answer, in benchmark order.

    Columns: model, benchmark, problem_id, right, accepted, right_unreadable, wrong, rejected, wrong_unreadable (numbers
    of judgements), balanced (nan where only one kind of answer was judged), generation (pass@1 of the run at its
    largest budget), gap.
    """
    import pandas as pd

    from extrap_eval.steps.score import ensure_scored

    run = as_run(run)
    judged = judgement_table(run, variant)
    ensure_scored(run.path)
    found = outcomes(run, [sampled_maximum(run)])
    generation = dict(zip(found.problem_ids, problem_values(found, "pass@k", 1)[0][0].tolist(), strict=True))
    rows = []
    for id, group in judged.groupby("problem_id", sort=False):
        row: dict[str, Any] = {"model": found.model, "benchmark": found.benchmark, "problem_id": id}
        for kind, right, true, name in (("right", True, "yes", "accepted"), ("wrong", False, "no", "rejected")):
            said = group.loc[group["right"] == right, "said"]
            row |= {kind: len(said), name: int((said == true).sum())}
            row[f"{kind}_unreadable"] = int((said == "unreadable").sum())
        rows.append(row | {"generation": generation[str(id)]})
    table = pd.DataFrame(rows)
    table["balanced"] = _counts(table).balanced
    table["gap"] = table["balanced"] - table["generation"]
    return table


def _counts(table: pd.DataFrame) -> Judgements:
    from extrap_eval.metrics.verification import Judgements

    return Judgements(*(table[name].to_numpy(np.int64) for name in Judgements.__dataclass_fields__))


def verification_table(
    problems: pd.DataFrame, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The headline of a ``problem_table``: one row per quantity, with its interval over problems.

    Columns: model, benchmark, quantity, value, low, high, problems, judgements (that it rests on). Quantities:
    "balanced accuracy" (pooled), "right accepted", "wrong rejected", "pass@1", "gap" (balanced accuracy minus pass@1 on
    the same problems), "gap within problems" (mean over those with right and wrong answers), "unreadable" (share of the
    judgements, which count as failures above), "balanced accuracy of the readable".
    """
    import pandas as pd

    from extrap_eval.metrics.traces import Estimate
    from extrap_eval.metrics.verification import verification_gap

    judged = _counts(problems)
    generation = problems["generation"].to_numpy(float)
    draws = intervals.resamples(len(problems), resamples, seed)
    all_ = verification_gap(judged, generation, draws, level=level)
    read = verification_gap(judged.readable(), generation, draws, level=level)
    unreadable = judged.right_unreadable + judged.wrong_unreadable
    total = judged.right + judged.wrong
    low, high = intervals.interval(unreadable / total, draws, level, weights=total)
    both = np.where((judged.right > 0) & (judged.wrong > 0), total, 0)
    quantities = [
        ("balanced accuracy", all_.balanced, total),
        ("right accepted", all_.true_positive, judged.right),
        ("wrong rejected", all_.true_negative, judged.wrong),
        ("pass@1", all_.generation, total),
        ("gap", all_.gap, total),
        ("gap within problems", all_.gap_within, both),
        ("unreadable", Estimate(np.asarray(unreadable.sum() / total.sum()), low, high), total),
        ("balanced accuracy of the readable", read.balanced, total - unreadable),
    ]
    rows = [
        {
            "model": problems["model"].iloc[0],
            "benchmark": problems["benchmark"].iloc[0],
            "quantity": quantity,
            "value": float(estimate.value),
            "low": float(estimate.low),
            "high": float(estimate.high),
            "problems": int((rests_on > 0).sum()),
            "judgements": 0 if quantity == "pass@1" else int(rests_on.sum()),
        }
        for quantity, estimate, rests_on in quantities
    ]
    return pd.DataFrame(rows)

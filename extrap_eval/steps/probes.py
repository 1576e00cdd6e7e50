"""Forced early answers of a run: ask them, and what they say about its traces (MRT Fig. 3, 16, 24, 25)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.steps.answers import (
    answer_table,
    answer_within,
    ensure_answers_scored,
    judged_answers,
    with_prefix_answers,
)
from extrap_eval.steps.following import FollowPlan, draw_of, find_variant, pen_of, plain, samples_of
from extrap_eval.steps.outcomes import as_run

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.sampling.probes import Probes
    from extrap_eval.sampling.traces import Trace
    from extrap_eval.store import Run, Variant

At = Literal["episodes", "budgets"]
NOT_A_REPLICATE = -1  # of an answer that was not forced


def plan_probes(
    run: str | Path | Run,
    *,
    at: At = "episodes",
    text: str | None = None,
    replicates: int = 8,
    answer_tokens: int = 4096,
    n: int | None = None,
    group_size: int | None = None,
    groups: int | None = None,
    phrases: Sequence[str] | None = None,
    min_steps: int | None = None,
    max_episodes: int | None = None,
    budgets: Sequence[int] | None = None,
    paper_exact: bool = False,
    sampling: Mapping[str, float | int | None] | None = None,
    tokenizer: str | None = None,
) -> FollowPlan:
    """What to ask: after every ``group_size`` episodes (default 5) or in ``groups`` equal groups, or at ``budgets``
    (default: those of the benchmark, as far as they were sampled).

    ``text``: the probe, with ``{think_close}`` for the marker that closes the thought [default: that of MRT, verbatim].
    ``n``: the first so many samples of every problem. ``phrases``, ``min_steps``: what opens an episode [default: the
    model card's]. ``sampling`` overrides temperature, top_p and top_k of the traces. ``paper_exact`` (by episodes): as
    the code released with MRT asks, that is with the probe text after the whole thought as well, and without an opening
    marker, after an end token, before the first episode; the default asks the model in its own format throughout.

    Raises UserError for anything that does not fit together.
    """
    from extrap_eval.sampling.continuation import PROBE_TEXT, check_text
    from extrap_eval.sampling.probes import BudgetCuts, EpisodeCuts

    run = as_run(run)
    by_episodes = {
        "--group-size": group_size, "--groups": groups, "--phrases": phrases, "--min-steps": min_steps,
        "--cap": max_episodes, "--paper-exact": paper_exact or None,
    }  # fmt: skip
    for option, value in ({"--budgets": budgets} if at == "episodes" else by_episodes).items():
        if value is not None:
            raise UserError(f"{option} does not belong to --at {at}: leave it out")
    text = PROBE_TEXT if text is None else text
    check_text("--probe-text", text)
    draw = draw_of(run, sampling)
    settings: dict[str, Any] = {"at": at, "text": text, "answer_tokens": answer_tokens, **asdict(draw)}
    if at == "budgets":
        settings |= asdict(BudgetCuts(tuple(_checked_budgets(run, budgets))))
    else:
        if group_size is not None and groups is not None:
            raise UserError("--group-size and --groups exclude each other")
        card = run.model_card.episodes
        where = EpisodeCuts(
            phrases=tuple(phrases or card.phrases),
            min_steps=min_steps or card.min_steps,
            max_episodes=max_episodes,
            group_size=None if groups is not None else group_size or 5,
            groups=groups,
            natural_close=not paper_exact,
            bare_start=paper_exact,
        )
        settings |= asdict(where)
    promise = {"samples": samples_of(run, n), "replicates": replicates}
    settings = plain(settings)
    return FollowPlan(f"probe-{at}", settings, promise, _protocol(run, settings, promise, tokenizer))


def _protocol(
    run: Run, settings: Mapping[str, Any], promise: Mapping[str, int], tokenizer: str | None, *, reading: bool = False
) -> Probes:
    from extrap_eval.sampling.probes import BudgetCuts, EpisodeCuts, Probes
    from extrap_eval.sampling.traces import Draw
    from extrap_eval.store.variant import variant_name

    where: BudgetCuts | EpisodeCuts
    if settings["at"] == "budgets":
        where = BudgetCuts(tuple(settings["budgets"]))
    else:
        fields = {name: settings[name] for name in EpisodeCuts.__dataclass_fields__ if name != "phrases"}
        where = EpisodeCuts(phrases=tuple(settings["phrases"]), **fields)
    return Probes(
        stage=variant_name(f"probe-{settings['at']}", settings),
        where=where,
        pen=pen_of(run, tokenizer, reading=reading),
        draw=Draw.of(settings),
        text=settings["text"],
        replicates=promise["replicates"],
        answer_tokens=settings["answer_tokens"],
        samples=promise["samples"],
    )


def _checked_budgets(run: Run, budgets: Sequence[int] | None) -> list[int]:
    largest = run.sampling.max_tokens
    chosen = [b for b in run.benchmark_card.budgets if b <= largest] if budgets is None else sorted(set(budgets))
    for budget in chosen:
        if not 1 <= budget <= largest:
            raise UserError(f"--budgets: {budget} is not in 1..{largest}, the tokens that {run.path} was sampled with")
    if not chosen:
        raise UserError(f"--budgets: none of the benchmark's lies within {largest}, which was sampled: name some")
    return chosen


def probe_table(
    run: str | Path | Run, variant: str | None = None, *, at: At = "episodes", search_prefix: bool = False
) -> pd.DataFrame:
    """Every answer to a probe, judged; one row each.

    Columns: problem_id, sample_index, j (groups of episodes before the probe; at budgets ``budget``, in tokens),
    replicate, prefix_tokens (completion tokens before it), answer_tokens, finished, answer, answer_class (-1 for none),
    verdict, correct, and by episodes: episodes (in the prefix), last (whether it is the whole thought).

    At budgets a completion that ended within a budget has one row there, of its own answer (the last box, anywhere in
    it), with replicate -1 and no answer_tokens: nothing was forced.

    ``search_prefix``: where the answer to a probe has no box, the last one in the thought before it counts, as in the
    code released with MRT, which searches prompt and completion together. By default it does not: what a probe is for
    is what the model answers when asked, and a box that it has since rejected is no answer.

    Raises UserError when the variant is not complete.
    """
    run = as_run(run)
    found = find_variant(run, f"probe-{at}", variant)
    ensure_answers_scored(run, found)
    table = answer_table(run, found)
    if search_prefix:
        table = with_prefix_answers(run, found, table)
    if at == "budgets":
        return _with_own_answers(run, found, table.rename(columns={"step": "budget"}))
    return _with_episodes(run, found, table.rename(columns={"step": "j"}))


def _with_episodes(run: Run, variant: Variant, table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.sampling.following import stored_traces

    probes = _protocol(run, variant.settings, variant.promise, None, reading=True)
    rows = []
    for trace in stored_traces(run):
        if trace.sample_index < probes.samples:
            cuts = probes.cuts(trace)
            rows += [(*_key(trace), cut.step, cut.episodes, cut is cuts[-1]) for cut in cuts]
    places = pd.DataFrame(rows, columns=["problem_id", "sample_index", "j", "episodes", "last"])
    return table.merge(places, how="left", on=["problem_id", "sample_index", "j"])


def _key(trace: Trace) -> tuple[str, int]:
    return trace.problem_id, trace.sample_index


def _with_own_answers(run: Run, variant: Variant, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of completions that ended within a budget, from the run's own score layer."""
    import pandas as pd

    left_out = set(run.layer(variant.name).score()["settings"].get("gold_errors") or {})
    judged = judged_answers(run, variant)
    rows = []
    for (id, index), timeline in run.layer().timelines():
        if id in left_out or index >= variant.promise["samples"] or not timeline.finished:
            continue
        answer = answer_within(timeline, timeline.n_tokens)
        verdict, number = judged[id, answer]
        rows += [
            {
                "problem_id": id,
                "sample_index": index,
                "budget": budget,
                "replicate": NOT_A_REPLICATE,
                "prefix_tokens": timeline.n_tokens,
                "answer_tokens": 0,
                "finished": True,
                "answer": answer,
                "answer_class": number,
                "verdict": verdict,
                "correct": verdict == "correct",
            }
            for budget in variant.settings["budgets"]
            if timeline.n_tokens <= budget
        ]
    if not rows:
        return table
    order = {problem.id: place for place, problem in enumerate(run.problems())}
    both = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
    both["place"] = both["problem_id"].map(order)
    columns = ["place", "sample_index", "budget", "replicate"]
    return both.sort_values(columns, kind="stable", ignore_index=True).drop(columns="place")


@dataclass(frozen=True, eq=False)
class ProbeArrays:
    """A table of forced answers as arrays: P problems, n samples, J places (``places``: what they are), r replicates.

    ``class_id`` int (P, n, J, r), ``correct`` bool (P, n, J, r), ``there`` bool (P, n, J): which places a trace has;
    ``prefix_tokens``, ``answer_tokens`` (of one answer, mean) float and ``episodes`` int (P, n, J), 0 where it has not.
    """

    problem_ids: tuple[str, ...]
    places: tuple[int, ...]
    class_id: np.ndarray
    correct: np.ndarray
    there: np.ndarray
    prefix_tokens: np.ndarray
    answer_tokens: np.ndarray
    episodes: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """Mean correctness of the answers at each place, float (P, n, J), nan where a trace has none."""
        return np.where(self.there, self.correct.mean(axis=-1), np.nan)


def arrays_of(table: pd.DataFrame, step: str) -> ProbeArrays:
    """From a table with one row per answer and a column ``step`` of places; answers that were not forced stand for all
    replicates.
    """
    ids = tuple(dict.fromkeys(table["problem_id"]))
    places = tuple(sorted(set(table[step].tolist())))
    replicates = int(table["replicate"].max()) + 1 or 1
    shape = (len(ids), int(table["sample_index"].max()) + 1, len(places))
    class_id = np.full((*shape, replicates), -1, dtype=np.int64)
    correct = np.zeros((*shape, replicates), dtype=bool)
    prefix, answers = np.zeros(shape), np.zeros(shape)
    episodes = np.zeros(shape, dtype=np.int64)
    there = np.zeros(shape, dtype=bool)
    of_id, of_place = ({value: at for at, value in enumerate(values)} for values in (ids, places))
    columns = [
        "problem_id",
        "sample_index",
        step,
        "replicate",
        "prefix_tokens",
        "answer_tokens",
        "answer_class",
        "correct",
    ]
    found = table["episodes"].tolist() if "episodes" in table else [0] * len(table)
    for row, count in zip(table[columns].itertuples(index=False, name=None), found, strict=True):
        id, index, at, replicate, before, tokens, number, right = row
        where = of_id[id], index, of_place[at]
        which = slice(None) if replicate == NOT_A_REPLICATE else replicate
        class_id[where][which], correct[where][which] = number, right
        prefix[where], episodes[where], there[where] = before, count, True
        answers[where] += tokens / replicates
    return ProbeArrays(ids, places, class_id, correct, there, prefix, answers, episodes)

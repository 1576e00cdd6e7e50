"""What was asked of single traces, as the page shows it beside them: probes along the thought, and extensions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics.forcing import FATES, fates_of, plurality
from extrap_eval.report.index import VERDICTS, short

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Key, Run, Variant

# How a verdict is written in the page's index; an answer that is none of them has no box.
_CODES = {verdict: code for code, verdict in enumerate(VERDICTS)}
_KINDS = ("probe-episodes", "probe-budgets", "force")


def followed(run: Run) -> tuple[dict[Key, dict[str, Any]], list[str]]:
    """What every trace was asked, by key, and a sentence for each variant that cannot be shown.

    ``probes``: one entry per variant, {variant, points: [tokens, groups of episodes or budget, answers]}; ``forcing``:
    one entry per variant, {variant, answers: [w, tokens, answers, fate since the one before], pieces: [w, string,
    text]}. Answers are [text, verdict, how many], the most frequent first.
    """
    found: dict[Key, dict[str, Any]] = defaultdict(lambda: {"probes": [], "forcing": []})
    notes = []
    for variant in run.variants():
        if variant.kind not in _KINDS:
            continue
        try:
            entries = _forcing(run, variant) if variant.kind == "force" else _probes(run, variant)
        except UserError as error:
            notes.append(str(error))
            continue
        for key, entry in entries.items():
            found[key]["forcing" if variant.kind == "force" else "probes"].append({"variant": variant.name, **entry})
    return dict(found), notes


def _probes(run: Run, variant: Variant) -> dict[Key, dict[str, Any]]:
    from extrap_eval.steps.probes import NOT_A_REPLICATE, probe_table

    by_budget = variant.kind == "probe-budgets"
    table = probe_table(run, variant.name, at="budgets" if by_budget else "episodes")
    step = "budget" if by_budget else "j"
    table = table[table["replicate"] != NOT_A_REPLICATE]
    points: dict[Key, list[Any]] = defaultdict(list)
    for id, sample, at, rows in _groups(table, step):
        points[id, sample].append([int(rows["prefix_tokens"].iloc[0]), at, _answers(rows)])
    unit = "budget" if by_budget else "groups of episodes"
    return {key: {"unit": unit, "points": sorted(each)} for key, each in points.items()}


def _groups(table: pd.DataFrame, step: str) -> Iterator[tuple[str, int, int, pd.DataFrame]]:
    """The rows of every trace at every step, in order."""
    for key, rows in table.groupby(["problem_id", "sample_index", step], sort=True):
        id, sample, at = cast("tuple[str, int, int]", key)
        yield id, int(sample), int(at), rows


def _answers(rows: pd.DataFrame) -> list[list[Any]]:
    given = zip(rows["answer"].tolist(), rows["verdict"].tolist(), strict=True)
    counts = Counter(
        (answer if isinstance(answer, str) else None, _CODES.get(verdict, -1)) for answer, verdict in given
    )
    return [
        [None if answer is None else short(answer), verdict, count] for (answer, verdict), count in counts.most_common()
    ]


def _forcing(run: Run, variant: Variant) -> dict[Key, dict[str, Any]]:
    from extrap_eval.sampling.continuation import cycle
    from extrap_eval.steps.forcing import force_table
    from extrap_eval.steps.probes import arrays_of

    table = force_table(run, variant.name)
    arrays = arrays_of(table, "w")
    fates = fates_of(*plurality(arrays.class_id, arrays.correct))  # (P, n, 5, W - 1)
    place = {id: i for i, id in enumerate(arrays.problem_ids)}
    answers: dict[Key, list[Any]] = defaultdict(list)
    for id, sample, w, rows in _groups(table, "w"):
        before = arrays.places.index(w) - 1
        fate = None if before < 0 else FATES[int(np.argmax(fates[place[id], sample, :, before]))]
        spent = int(rows["thought_tokens"].iloc[0])
        answers[id, sample].append([w, spent, _answers(rows), fate, bool(rows["carried"].iloc[0])])
    pieces: dict[Key, list[Any]] = defaultdict(list)
    strings = variant.settings["strings"]
    for key, w, text in _texts(run, variant):
        pieces[key].append([w, cycle(strings, w), text])
    return {key: {"answers": each, "pieces": sorted(pieces[key])} for key, each in answers.items()}


def _texts(run: Run, variant: Variant) -> list[tuple[Key, int, str]]:
    table = run.token_table()
    if table is None:
        raise UserError(f"{run.path}: its tokenizer is not one byte string per token")
    return [
        (piece.key, piece.step or 0, table.text_bytes(piece.token_ids).decode("utf-8", errors="replace"))
        for piece in run.completions(variant.name, columns=["token_ids"])
    ]

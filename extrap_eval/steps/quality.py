"""What completions are made of at every budget: looped endings, redundancy, format, language (RLVR-exploration,
sections 2-4; e3 Fig. 12).

Each completion is read once and what was read is kept in the run directory (``derived/quality``), so that other
budgets, conditions or thresholds cost a pass over the completions only where a budget was never asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.quantiles import trace_quantile
from extrap_eval.metrics.traces import trace_mean
from extrap_eval.scoring.quality import QUALITY_VERSION, REDUNDANT, Quality, quality_of_bytes, read_quality
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.curves import named
from extrap_eval.steps.endings import ALL, ENDINGS, endings, in_ending
from extrap_eval.steps.outcomes import as_run, outcomes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from extrap_eval.store import Completion, Run
    from extrap_eval.store.rows import RowLayer

Unit = Literal["words", "tokens"]
Progress = Callable[[int, int], None]  # completions read, completions in all

# Measures in the order of the tables; "loop onset" is in tokens, the others are fractions.
MEASURES = (
    "looped",
    "loop onset",
    "redundancy",
    "redundant",
    "format violation",
    "several boxes",
    "language mixing",
)
_AT_BUDGETS = ("loop_onset", "loop_period", "words", "repeated_words", "repeated_tokens")


@dataclass(frozen=True, eq=False)
class RunQuality:
    """Every completion of a run at B budgets: P problems in the order asked for, n samples; arrays (P, n, B)."""

    budgets: np.ndarray  # int64 (B,)
    loop_onset: np.ndarray  # int32: index of the first token of the loop, -1 where the prefix ends in none
    loop_period: np.ndarray  # int32: tokens of its block, -1
    redundancy: dict[Unit, np.ndarray]  # float64: 3-gram redundancy, nan for less than one 3-gram
    boxes: np.ndarray  # int32: how many \boxed{
    mixed: np.ndarray  # bool: a character of U+4E00-U+9FFF


def run_quality(
    run: str | Path | Run,
    problem_ids: Sequence[str],
    n: int,
    budgets: Sequence[int],
    *,
    progress: Progress | None = None,
) -> RunQuality:
    """Read what the layer holds of these problems and samples, after making it where it is not there.

    Raises UserError when completions are missing, the run is written meanwhile, or the disk refuses.
    """
    run = as_run(run)
    at = np.array(sorted(set(budgets)), np.int64)
    layer, kept = _ensured(run, at, progress)
    column = np.searchsorted(kept, at)
    place = {id: i for i, id in enumerate(problem_ids)}
    shape = (len(place), n, len(at))
    of_budget = {name: np.full(shape, -1, np.int32) for name in _AT_BUDGETS}
    boxes, mixed = np.zeros(shape, np.int32), np.zeros(shape, bool)
    n_tokens = np.full(shape[:2], -1, np.int64)
    for row in layer.rows():
        if row["problem_id"] not in place or row["sample_index"] >= n:
            continue
        where = place[row["problem_id"]], row["sample_index"]
        for name, values in of_budget.items():
            values[where] = np.array(row[name], np.int32)[column]
        boxes[where] = np.searchsorted(row["box_ends"], at, side="right")
        mixed[where] = (row["mixed_at"] >= 0) & (row["mixed_at"] <= at)
        n_tokens[where] = row["n_tokens"]
    if (n_tokens < 0).any():
        raise UserError(f"{run.path}: {int((n_tokens < 0).sum())} of {n_tokens.size} samples are missing: top it up")
    trigrams = {"words": of_budget["words"] - 2, "tokens": np.minimum(n_tokens[..., None], at) - 2}
    return RunQuality(
        at,
        of_budget["loop_onset"],
        of_budget["loop_period"],
        {
            unit: np.where(trigrams[unit] > 0, of_budget[f"repeated_{unit}"] / np.maximum(trigrams[unit], 1), np.nan)
            for unit in ("words", "tokens")
        },
        boxes,
        mixed,
    )


def quality_table(
    run: str | Path | Run,
    *,
    budgets: Sequence[int] | None = None,
    n: int | None = None,
    unit: Unit = "words",
    threshold: float = REDUNDANT,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    rule: AnswerRule = AnswerRule(),
    progress: Progress | None = None,
) -> pd.DataFrame:
    r"""What a scored run's completions are made of: one row per budget, ending and measure.

    Columns: model, benchmark, budget (completion tokens), ending ("all", and ``endings.ENDINGS`` at that budget),
    measure, value, low, high (intervals over problems, every completion counting the same; nan where there is no such
    completion), completions (that the value is about), unit (of the 3-grams), training_budget.

    Measures: "looped": the prefix ends in a repeating block of tokens; "loop onset": median index of its first token,
    over looped ones; "redundancy": mean 3-gram redundancy, "redundant": share with more than ``threshold``; "format
    violation": not exactly one ``\boxed{``, "several boxes": more than one; "language mixing": some character of
    U+4E00-U+9FFF.

    ``unit``: 3-grams of "words" (between spaces) by default, because the threshold tells nothing about 3-grams of
    tokens: digits and symbols are tokens of their own, and ordinary reasoning lies far above it. Redundancy grows with
    length in either unit: compare at the same budget. Raises UserError as ``steps.outcomes.outcomes`` does.
    """
    import pandas as pd

    run = as_run(run)
    found = outcomes(run, budgets, rule=rule, n=n)
    read = run_quality(run, found.problem_ids, found.n, found.budgets.tolist(), progress=progress)
    codes = endings(found)
    looped = read.loop_onset >= 0
    redundancy = read.redundancy[unit]
    values: dict[str, np.ndarray] = {
        "looped": looped,
        "loop onset": np.where(looped, read.loop_onset, np.nan),
        "redundancy": redundancy,
        "redundant": np.where(np.isnan(redundancy), np.nan, redundancy > threshold),
        "format violation": read.boxes != 1,
        "several boxes": read.boxes > 1,
        "language mixing": read.mixed,
    }
    draws = intervals.resamples(len(found.problem_ids), resamples, seed)
    rows: list[dict[str, Any]] = []
    for ending in (ALL, *ENDINGS):
        inside = in_ending(codes, ending)
        for measure in MEASURES:
            own = np.where(inside, values[measure], np.nan)
            counts = (~np.isnan(own)).sum(axis=(0, 1))
            if measure == "loop onset":
                estimates = [trace_quantile(own[..., j], draws, level=level) for j in range(len(found.budgets))]
                cells = [(float(each.value), float(each.low), float(each.high)) for each in estimates]
            else:
                # The mean of a quantity that is hardly ever 0 or 1 needs no care for fractions that are.
                share = measure != "redundancy"
                mean = trace_mean(own, draws, level=level, weigh="trace", fractions=share)
                ends = (np.clip(end, 0, 1).tolist() for end in (mean.low, mean.high))
                cells = list(zip(mean.value.tolist(), *ends, strict=True))
            for budget, count, (value, low, high) in zip(found.budgets.tolist(), counts.tolist(), cells, strict=True):
                rows.append(
                    {
                        "model": found.model,
                        "benchmark": found.benchmark,
                        "budget": budget,
                        "ending": ending,
                        "measure": measure,
                        "value": value,
                        "low": low,
                        "high": high,
                        "completions": count,
                        "unit": unit,
                        "training_budget": found.training_budget,
                    }
                )
    table = pd.DataFrame(rows).astype({"training_budget": "Int64"})
    return table.sort_values("budget", kind="stable", ignore_index=True)


def quality_tables(runs: Sequence[str | Path | Run], **options: Any) -> pd.DataFrame:
    """The rows of ``quality_table`` for several runs, those of one model and benchmark told apart by their folder."""
    import pandas as pd

    return pd.concat([quality_table(run, **options).assign(model=name) for name, run in named(runs)], ignore_index=True)


def readable_quality(table: pd.DataFrame) -> list[dict[str, object]]:
    """One row per budget and ending of ``quality_table`` that has completions; values in percent, onsets in tokens."""
    rows: dict[tuple[int, str], dict[str, object]] = {}
    for cell in table.to_dict("records"):
        row = rows.setdefault(
            (cell["budget"], cell["ending"]), {"budget": int(cell["budget"]), "ending": cell["ending"]}
        )
        if cell["measure"] == "looped":
            row["completions"] = int(cell["completions"])
        row[cell["measure"]] = _shown(cell["value"], cell["low"], cell["high"], cell["measure"] == "loop onset")
    return [row for row in rows.values() if row["completions"]]


def _shown(value: float, low: float, high: float, tokens: bool) -> str:
    if np.isnan(value):
        return "–"
    one = (lambda x: f"{x:,.0f}") if tokens else (lambda x: f"{100 * x:.1f}")
    return one(value) if np.isnan(low) else f"{one(value)} [{one(low)}, {one(high)}]"


def _ensured(run: Run, budgets: np.ndarray, progress: Progress | None) -> tuple[RowLayer, np.ndarray]:
    """The layer, made where it does not stand for what the run holds, and the budgets that it knows."""
    from extrap_eval.store.rows import RowLayer

    layer = RowLayer(run.path / "derived" / "quality", _schema())
    digest = run.digest()
    made = layer.made()
    kept: list[int] = []
    if made is not None and made.completions_digest == digest and made.settings.get("version") == QUALITY_VERSION:
        kept = made.settings["budgets"]
        if set(budgets.tolist()) <= set(kept):
            return layer, np.array(kept, np.int64)
    known = np.array(sorted({*kept, *budgets.tolist()}), np.int64)
    settings = {"version": QUALITY_VERSION, "budgets": known.tolist()}
    layer.write(_rows(run, known, progress), completions_digest=digest, settings=settings)
    return layer, known


def _rows(run: Run, budgets: np.ndarray, progress: Progress | None) -> Iterator[tuple[dict[str, Any], int]]:
    read = _reader(run, budgets)
    total = len(run.keys())
    for done, completion in enumerate(run.completions(columns=["token_ids"]), start=1):
        found = read(completion)
        row: dict[str, Any] = {
            "problem_id": completion.problem_id,
            "sample_index": completion.sample_index,
            "n_tokens": completion.n_tokens,
            "mixed_at": found.mixed_at,
            **{name: getattr(found, name) for name in (*_AT_BUDGETS, "box_ends")},
        }
        yield row, 40 + 4 * (len(_AT_BUDGETS) * len(budgets) + len(found.box_ends))
        if progress is not None:
            progress(done, total)


def _reader(run: Run, budgets: np.ndarray) -> Callable[[Completion], Quality]:
    """How completions of this run are read: through its token table, or its tokenizer where there is none."""
    table = run.token_table()
    if table is not None:
        return lambda completion: read_quality(completion.token_ids, table, budgets)

    from extrap_eval.prompts.tokenizer import load_tokenizer
    from extrap_eval.scoring.tokens import slow_offsets

    tokenizer = load_tokenizer(run.model_card, run.manifest.tokenizer)

    def by_tokenizer(completion: Completion) -> Quality:
        ids = completion.token_ids
        return quality_of_bytes(ids, *slow_offsets(tokenizer, ids), budgets)

    return by_tokenizer


def _schema() -> pa.Schema:
    import pyarrow as pa

    numbers = pa.list_(pa.int32())
    return pa.schema(
        [
            pa.field("problem_id", pa.string(), nullable=False),
            *(pa.field(name, pa.int32(), nullable=False) for name in ("sample_index", "n_tokens", "mixed_at")),
            *(pa.field(name, numbers, nullable=False) for name in (*_AT_BUDGETS, "box_ends")),
        ]
    )

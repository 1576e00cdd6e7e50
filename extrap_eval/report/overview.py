"""The first view: what the runs show, in sentences, tables and figures, and what they were made with."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError
from extrap_eval.scoring.timeline import AnswerRule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from extrap_eval.store import Run, Variant

# Kind of variant -> its figures, with what they show.
_FOLLOWED = {
    "probe-episodes": {
        "probes": "Answers forced after groups of episodes: [maj@p] against the tokens spent",
        "progress": "What each group of episodes adds to the accuracy of a trace",
        "grid": "More samples or more episodes: accuracy of j episodes and k samples",
    },
    "probe-budgets": {
        "forced-budgets": "Two ways to cut at a budget: the last box within it, or an answer forced there"
    },
    "force": {
        "forcing": "Thoughts extended by force, beside the run's own curve",
        "wait": "What every extension did to the answer",
    },
    "slide": {"slide": "One long thought seen through a window, against votes over many short ones"},
    "verify": {"verify": "Telling right answers from wrong ones, against finding them"},
    "replace": {"replace": "What replacing one token by the most likely other one does to accuracy"},
}
_TOGETHER = ("replace",)  # kinds of which one figure shows all variants


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI. ``wide``: of a page's width, so that it must not shrink to a phone's."""

    source: str
    caption: str
    wide: bool


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """How a report reads its runs; as in ``steps.curves.curves``."""

    budgets: Sequence[int] | None = None
    n: int | None = None
    level: float = 0.95
    rule: AnswerRule = field(default_factory=AnswerRule)

    @property
    def curve(self) -> dict[str, Any]:
        return {"budgets": self.budgets, "n": self.n, "level": self.level, "rule": self.rule}


def benchmark_sections(runs: Sequence[Run], names: Sequence[str], options: Options) -> Iterator[Section]:
    """One section per benchmark: every model on it. Raises UserError as ``steps.curves.curves`` does."""
    from extrap_eval.steps.curves import curves, extrapolation_sentences
    from extrap_eval.steps.plot import draw
    from extrap_eval.steps.tables import readable

    for benchmark in dict.fromkeys(run.benchmark_card.name for run in runs):
        own = [run for run in runs if run.benchmark_card.name == benchmark]
        tidy = curves(own, **options.curve)
        sentences = [_accuracy_sentence(tidy, model) for model in dict.fromkeys(tidy["model"])]
        sentences += extrapolation_sentences(own, n=options.n, level=options.level, rule=options.rule)
        section = Section(benchmark, sentences, [_table(readable(tidy).drop(columns="benchmark"))])
        add_picture(
            section,
            "pass@1 against the token budget; shaded: beyond the training budget",
            partial(draw, own, figure="budget", **options.curve),
        )
        add_picture(
            section,
            "pass@k and maj@k against the number of samples",
            partial(draw, own, figure="passk", **options.curve),
        )
        add_picture(
            section,
            "Votes: maj@k of whole completions against their tokens",
            partial(draw, own, figure="votes", n=options.n, level=options.level),
        )
        yield section


def _accuracy_sentence(tidy: pd.DataFrame, model: str) -> str:
    """What a model reaches at the smallest and at the largest budget."""
    rows = tidy[(tidy["model"] == model) & (tidy["metric"] == "pass@k") & (tidy["k"] == 1)].sort_values("budget")
    said = [
        f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}] at {int(row['budget']):,} tokens"
        for row in (rows.iloc[0], rows.iloc[-1])
    ]
    last = rows.iloc[-1]
    over = f"{int(last['problems'])} problems, {int(last['n'])} samples each"
    return f"{model} on {last['benchmark']} ({over}): pass@1 {' and '.join(dict.fromkeys(said))}."


def run_section(run: Run, name: str, options: Options) -> Section:
    """What became of the samples of one run, and of what was asked of its traces."""
    from extrap_eval.steps.plot import draw, draw_followed

    section = Section(name)
    add_picture(
        section, "What became of every sample at each budget", partial(draw, [run], figure="outcomes", **options.curve)
    )
    variants = run.variants()
    for variant in variants:
        of_kind = [other for other in variants if other.kind == variant.kind]
        together = variant.kind in _TOGETHER
        if together and variant is not of_kind[0]:
            continue
        several = len(of_kind) > 1 and not together
        for figure, caption in _FOLLOWED.get(variant.kind, {}).items():
            name = f"{caption} ({variant.name})" if several else caption
            add_picture(
                section,
                name,
                partial(draw_followed, [run], figure=figure, variant=_named(variant), level=options.level),
            )
    return section


def _named(variant: Variant) -> str | None:
    return None if variant.kind in ("slide", *_TOGETHER) else variant.name


def comparison_section(a: Run, b: Run, names: Sequence[str], options: Options) -> Section:
    """Paired differences of two runs at every budget. Raises UserError as ``steps.compare.compare`` does."""
    from extrap_eval.steps.compare import compare

    table = compare(a, b, **options.curve)
    rows = []
    for row in table.to_dict("records"):
        values = [f"{100 * row[side]:.1f}" for side in ("value_a", "value_b")]
        difference = f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        rows.append((f"{int(row['budget']):,}", *values, difference))
    last = rows[-1]
    clear = table.iloc[-1]["low"] > 0 or table.iloc[-1]["high"] < 0
    said = f"pass@1 of {names[0]} minus that of {names[1]} at {last[0]} tokens: {last[3]} points (paired, "
    said += f"{100 * options.level:g} % interval)" + (
        "." if clear else ": indistinguishable at this number of samples."
    )
    columns = ("budget", names[0], names[1], "difference (points)")
    return Section(f"{names[0]} against {names[1]}", [said], [Table(columns, tuple(rows))])


def settings_of(run: Run, name: str) -> dict[str, Any]:
    """What a run was made with, as text."""
    from extrap_eval.cards.load import dump_card

    score = run.layer().score()
    last = run.manifest.invocations[-1] if run.manifest.invocations else {}
    return {
        "name": name,
        "folder": run.path.resolve().name,
        "sampled": _pairs(run.manifest.distribution),
        "scored": _pairs({**score["versions"], **score["settings"], "scored": score["created"]}),
        "versions": _pairs(
            {"extrap-eval": last.get("package"), "python": last.get("python"), **(last.get("libraries") or {})}
        ),
        "commands": [
            {
                "time": entry.get("time", ""),
                "command": shlex.join(entry.get("command") or []),
                "version": entry.get("package") or "",
                "commit": ((entry.get("git") or {}).get("commit") or "")[:12],
                "engine": _engine(entry.get("engine")),
            }
            for entry in run.manifest.invocations
        ],
        "variants": [(variant.name, _pairs(_described(variant))) for variant in run.variants()],
        "model_card": dump_card(run.model_card),
        "benchmark_card": dump_card(run.benchmark_card),
    }


def _described(variant: Variant) -> dict[str, Any]:
    """What a variant is, without the answers that were judged: those of every problem are no setting to be read."""
    return {name: value for name, value in {**variant.promise, **variant.settings}.items() if name != "answers"}


def _engine(engine: dict[str, Any] | None) -> str:
    return "" if not engine else f"{engine.get('kind') or ''} {engine.get('version') or ''}".strip()


def _pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in values.items()
        if value is not None and value != {}
    ]


def _table(frame: pd.DataFrame) -> Table:
    rows = [
        tuple(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) for row in frame.to_numpy().tolist()
    ]
    return Table(tuple(map(str, frame.columns)), tuple(rows))


def add_picture(section: Section, caption: str, drawn: Callable[[], Figure]) -> None:
    """Add a figure, or a note on why there is none."""
    from extrap_eval.figures import COLUMN, figure_svg

    try:
        figure = drawn()
    except UserError as error:
        section.notes.append(f"{caption}: {error}")
    else:
        source = "data:image/svg+xml;base64," + base64.b64encode(figure_svg(figure)).decode()
        section.pictures.append(Picture(source, caption, wide=figure.get_figwidth() > 1.5 * COLUMN))

#!/usr/bin/env python3
"""Write reference.csv of every recipe whose published values are known.

    python results/derive_references.py CURVES.csv [results]

CURVES.csv holds values read off the papers' figures and tables, with the columns source, figure, benchmark, model,
variant, metric, budget_tokens, value and error_estimate. Each row that a recipe is about is put in its place here: the
names of panels and lines become those of this project's benchmark and model cards, counts such as 62/480 become exact
values, and the words of error_estimate become a number (they stay beside it, with the source). ``extrap_eval.steps.
references`` says what the columns of reference.csv mean.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

COLUMNS = ["panel", "axis", "line", "metric", "at", "x", "value", "error", "error_note", "source"]
BENCHMARKS = {
    "HMMT 2025": "HMMT February 2025",
    "MinervaMATH": "Minerva Math",
    "MINERVA": "Minerva Math",
    "MATH500": "MATH-500",
    "Omni-MATH 40-problem subset": "Omni-MATH, 40 problems",
    "AIME 2025 (first 15 problems)": "AIME 2025, first 15 problems",
    "AIME 2024 (aime24_nofigures)": "AIME 2024",
    "AIME (split not stated in code)": "AIME, year not stated",
}
MODELS = {
    "Nemotron-Reasoning-1.5B": "Nemotron-Research-Reasoning-Qwen-1.5B",
    "Qwen2.5-32B (Base)": "Qwen2.5-32B",
}
# Sampled up to 31000 tokens, though their last point is drawn at 32768.
SHORT = {"OpenThinker-7B": 31000, "s1.1-32B": 31000}

Row = dict[str, str]
Place = tuple[str, str, str, str, float, float]  # panel, axis, line, metric, at, x


def main(curves: Path, results: Path) -> None:
    with curves.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name, (figures, place) in RECIPES.items():
        derived = [
            {**dict(zip(COLUMNS, found, strict=False)), "value": exact(row), "error": error(row)}
            | {"error_note": row["error_estimate"], "source": f"{paper(row)}; {row['figure']}"}
            for row in rows
            if any(wanted(row, figure) for figure in figures)
            for found in place(row)
        ]
        if not derived:
            sys.exit(f"{curves}: no row is about {name} ({', '.join(figures)})")
        with (results / name / "reference.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: number(value) for key, value in row.items()} for row in derived)


def wanted(row: Row, figure: str) -> bool:
    """``figure``: what the figure is called, after the beginning of the source and a colon where several have one."""
    source, _, name = figure.rpartition(": ")
    return row["figure"] == name and row["source"].startswith(source)


def number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def paper(row: Row) -> str:
    """Where the value stands; papers by their own names."""
    source = re.sub(r"^MRT paper seed \d+", "MRT (arXiv 2503.07572)", row["source"])
    return re.sub(r"^seed \d+ \(RLVR exploration\)", "From Trial-and-Error to Improvement (RLVR exploration)", source)


def exact(row: Row) -> float:
    """The value, from the counts behind it where they were recovered."""
    counts = re.search(r"\b(\d+)/(\d+)\)", row["metric"])
    value = float(row["value"])
    if row["metric"].startswith("number of traces"):
        return value / 160
    if counts is None:
        return value
    from_counts = int(counts[1]) / int(counts[2])
    assert abs(from_counts - value) < 1e-4, row
    return from_counts


def error(row: Row) -> float:
    """How far the true published value may be from ``exact``, as a fraction."""
    note = row["error_estimate"]
    if "recovered integer count" in note or note.startswith("exact bar heights"):
        return 0.0
    if (close := re.search(r"exact to (\S+?)[\s;]", note + " ")) is not None:
        return float(close[1])
    if note.startswith("printed"):
        return 0.005 if "2 decimals" in note else 0.0005  # else in percent with a decimal or more
    if (deviation := re.search(r"raw deviation (\S+?);", note)) is not None:
        return float(deviation[1])
    if (stated := re.findall(r"(?:^|y |occluded |: )\+-([0-9.]+)(?!%)(?:\D|$)", note)) != []:
        return float(stated[-1])
    if note in ("computed mean of row", "x +-1.5%"):  # of printed values; k of 30 problems
        return 0.0005
    raise ValueError(f"error_estimate: {note}: not understood")


def benchmark(row: Row) -> str:
    return BENCHMARKS.get(row["benchmark"], row["benchmark"])


def model(row: Row) -> str:
    return MODELS.get(row["model"], row["model"])


def trained(row: Row) -> str:
    """A model of MRT: base, GRPO, MRT or length penalty, as the cards name those that have one."""
    kind = re.split(r"\s*;\s*", row["variant"])[0]
    return row["model"] + {"base": "", "GRPO": " GRPO", "MRT (RL)": " MRT", "length penalty": " length penalty"}[kind]


def tokens(row: Row) -> float:
    return float(row["budget_tokens"])


def by_budget(row: Row) -> Iterator[Place]:
    at = min(tokens(row), SHORT.get(row["model"], 10**9))
    yield benchmark(row), "budget", model(row), "pass@1", at, at


def by_budget_of_model(row: Row) -> Iterator[Place]:
    for panel, axis, line, metric, at, x in by_budget(row):
        yield line, axis, panel, metric, at, x


def forced(row: Row) -> Iterator[Place]:
    if (waits := re.search(r"wait x(\d+)", row["variant"])) is not None:
        yield benchmark(row), "tokens", f"{model(row)}, forced", "accuracy", float(waits[1]), tokens(row)
    elif row["figure"] == "Fig10c":  # the workshop's version has older numbers of the same line
        yield benchmark(row), "budget", f"{model(row)}, not forced", "accuracy", tokens(row), tokens(row)


def by_samples(row: Row) -> Iterator[Place]:
    k = float(row["metric"].removeprefix("pass@"))
    yield benchmark(row), "samples k", model(row), "pass@k", k, k


def chained(row: Row) -> Iterator[Place]:
    step, attempts = re.findall(r"\d+", row["variant"])
    k = float(row["metric"].removeprefix("pass@"))
    panel = f"{row['model']}, {row['benchmark']}, RL step {step}"
    yield panel, "samples k", f"{attempts} chained", "pass@k", k, k


def probed(row: Row) -> Iterator[Place]:
    place = re.match(r"traces with (\d+)-(\d+) episodes.*; j=(\d+)", row["variant"])
    # Direct answers have no tokens, and are about the problems of one panel; bins without tokens cannot be placed.
    if place is not None and row["budget_tokens"]:
        panel = f"{benchmark(row)}: {place[1]}–{place[2]} episodes"
        yield panel, "tokens", model(row), "[maj@1]_j", int(place[3]) / 5, tokens(row)


def votes(row: Row) -> Iterator[Place]:
    k = re.match(r"maj@(\d+)", row["metric"])
    assert k is not None, row
    yield benchmark(row), "tokens", trained(row), "maj@k", float(k[1]), tokens(row)


def regret(row: Row) -> Iterator[Place]:
    at = 8192.0 if row["budget_tokens"] == "8092" else tokens(row)  # what the paper's text says
    line = row["model"] if row["figure"] == "Fig12" else trained(row)
    yield benchmark(row), "budget", line, "normalised regret", at, at


def regret_by_groups(row: Row) -> Iterator[Place]:
    group = re.search(r"\(b=(\d+)\)", row["variant"])
    assert group is not None, row
    yield benchmark(row), "groups", trained(row), "normalised regret", float(group[1]), float(group[1])


def extended(row: Row) -> Iterator[Place]:
    waits = re.search(r"budget forcing x(\d+)", row["variant"])
    assert waits is not None, row
    yield benchmark(row), "thinking tokens", trained(row), "accuracy", float(waits[1]), tokens(row)


def episodes(row: Row) -> Iterator[Place]:
    first, last = (float(end) for end in re.findall(r"\d+", row["variant"]))
    yield benchmark(row), "episodes", model(row), "traces", first, (first + last) / 2


def scores(row: Row) -> Iterator[Place]:
    if row["benchmark"] != "Average of 5":
        yield benchmark(row), "score", trained(row), "pass@1", 1, exact(row)


def scores_of_k(row: Row) -> Iterator[Place]:
    k = 1 if row["metric"].startswith("pass@1 ") else int(re.findall(r"\d+", row["metric"])[0])
    yield benchmark(row), "score", model(row), f"pass@{k}", k, exact(row)


def thinking(row: Row) -> Iterator[Place]:
    """By cap on the thought or number of Waits, where the figure says which; others at the place they are drawn at."""
    of_wait = re.search(r"Wait x(\d+)", row["variant"])
    of_cap = re.search(r"=(\d+)", row["variant"])
    at = 0.0 if "no ignore" in row["variant"] else float((of_wait or of_cap or [0, row["budget_tokens"]])[1])
    yield benchmark(row), "thinking tokens", model(row), "accuracy", at, tokens(row)


# Recipe -> the figures (source: figure, where a name is used twice) and where their rows go.
RECIPES: dict[str, tuple[list[str], Callable[[Row], Iterator[Place]]]] = {
    "e3_fig2": (["Fig2 (full) / Fig7 (workshop)"], by_budget),
    "e3_fig11": (["Fig11 (full) / Fig9 (workshop)"], by_budget_of_model),
    "e3_fig5": (["Fig10a", "Fig10b"], by_budget),
    "e3_fig6": (["Fig6 (workshop) / Fig10c (full)", "Fig10c"], forced),
    "e3_table1": (["e3: Table 1"], by_samples),
    "e3_fig10": (["Fig3+Fig12"], chained),
    "mrt_fig3": (["Fig3 (paper)"], probed),
    "mrt_fig24": (["Fig24 (rerun)"], probed),
    "mrt_fig7": (["Fig7 left (website variant)", "Fig7 right (website variant)"], votes),
    "mrt_fig9": (["Fig9 right (paper)"], regret),
    "mrt_fig12": (["Fig12"], regret),
    "mrt_fig23": (["Fig23-like histogram (rerun)"], episodes),
    "mrt_fig26": (["Fig26 right (rerun)"], regret_by_groups),
    "mrt_fig29": (["Fig29 right (rerun)"], extended),
    "mrt_table1": (["MRT: Table 1"], scores),
    "s1_fig": (["scaling", "budget_forcing"], thinking),
    "rlvr_table3": (["Table 3"], scores_of_k),
}

if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent)

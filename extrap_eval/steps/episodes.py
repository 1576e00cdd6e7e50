"""How many episodes the traces of a run have, and one trace with its episodes to look at."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.scoring.boxes import find_boxes
from extrap_eval.scoring.episodes import Episodes, Thought, find_thought, split_episodes
from extrap_eval.scoring.tokens import TokenTable, slow_offsets
from extrap_eval.steps.outcomes import as_run, outcomes, sampled_maximum

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Completion, Run

Part = Literal["correct", "difficulty", "all"]
_MOST_PARTS = 6  # different difficulties; more than that are put together in quarters


@dataclass(frozen=True)
class Rules:
    """How a thought is split; None stands for what the model card says. ``cap``: at most so many episodes."""

    phrases: tuple[str, ...] | None = None
    min_steps: int | None = None
    cap: int | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """One completion split: its bytes, the byte offset after each number of tokens, its thought and its episodes."""

    data: bytes
    offsets: np.ndarray  # int64 (n + 1,)
    thought: Thought
    episodes: Episodes


def episode_table(run: str | Path | Run, rules: Rules = Rules(), *, correct: bool = True) -> pd.DataFrame:
    """The episodes of every sample of a run, one row each, in the order of problems and samples.

    Columns: model, benchmark, problem_id, sample_index, difficulty (missing where unknown), correct (whether the
    answer of the whole completion is right; missing without ``correct``, and where a reference answer is unusable),
    closed (the thought ended by itself), n_tokens, thought_tokens, steps, episodes. ``correct`` needs a scored run.
    Raises UserError for a run without completions, and as ``steps.outcomes.outcomes`` does.
    """
    import pandas as pd

    run = as_run(run)
    read = reader(run, rules)
    known = _verdicts(run) if correct else {}
    problems = {problem.id: problem for problem in run.problems()}
    order = {id: place for place, id in enumerate(problems)}
    model, benchmark = run.model_card.name, run.benchmark_card.name
    rows: list[dict[str, Any]] = []
    for completion in run.completions(columns=["token_ids", "text"]):
        found = read(completion)
        rows.append(
            {
                "model": model,
                "benchmark": benchmark,
                "problem_id": completion.problem_id,
                "sample_index": completion.sample_index,
                "difficulty": problems[completion.problem_id].difficulty,
                "correct": known.get(completion.key),
                "closed": found.thought.closed,
                "n_tokens": completion.n_tokens,
                "thought_tokens": found.thought.end - found.thought.start,
                "steps": len(found.episodes.step_ends),
                "episodes": len(found.episodes),
            }
        )
    if not rows:
        raise UserError(f"{run.path}: holds no completions yet: sample into it first")
    rows.sort(key=lambda row: (order[row["problem_id"]], row["sample_index"]))
    return pd.DataFrame(rows).astype({"difficulty": "float64", "correct": "boolean"})


def with_parts(table: pd.DataFrame, by: Part) -> pd.DataFrame:
    """``episode_table`` with a column part: right and wrong, difficulties (quarters of many), or all as one.

    Rows without the value are left out. Raises UserError when none has it.
    """
    import pandas as pd

    if by == "all":
        return table.assign(part="all")
    rows = table[table[by].notna()]
    if not len(rows):
        raise UserError(f"no trace has a known {'verdict' if by == 'correct' else by}: use --by all")
    if by == "correct":
        named = rows["correct"].map({True: "right", False: "wrong"})
        return rows.assign(part=named).sort_values("part", kind="stable")
    values = rows["difficulty"]
    if values.nunique() <= _MOST_PARTS:
        part = values.map(lambda value: f"difficulty {value:g}")
    else:
        quarters = pd.qcut(values, 4, duplicates="drop")
        part = quarters.map(lambda span: f"difficulty up to {span.right:g}").astype(str)
    return rows.assign(part=part).sort_values("difficulty", kind="stable")


def summary(table: pd.DataFrame) -> list[dict[str, object]]:
    """One row per part of ``with_parts``: how its numbers of episodes are distributed."""
    rows: list[dict[str, object]] = []
    for part, traces in table.groupby("part", sort=False):
        counts = traces["episodes"]
        rows.append(
            {
                "part": part,
                "traces": len(traces),
                "mean": f"{counts.mean():.1f}",
                **{name: f"{counts.quantile(q):g}" for name, q in _QUANTILES.items()},
                "steps per episode": f"{traces['steps'].sum() / max(counts.sum(), 1):.1f}",
                "tokens per episode": f"{traces['thought_tokens'].sum() / max(counts.sum(), 1):.0f}",
                "thoughts closed": f"{100 * traces['closed'].mean():.0f} %",
            }
        )
    return rows


_QUANTILES = {"least": 0.0, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "most": 1.0}


def read_trace(run: str | Path | Run, problem_id: str, sample_index: int, rules: Rules = Rules()) -> Reading:
    """One completion of a run. Raises UserError when it is not there."""
    run = as_run(run)
    for completion in run.completions(columns=["token_ids", "text"]):
        if completion.key == (problem_id, sample_index):
            return reader(run, rules)(completion)
    ids = [problem.id for problem in run.problems()]
    if problem_id not in ids:
        from extrap_eval.cards.schema import nearest

        raise UserError(f"{run.path}: there is no problem {problem_id}{nearest(problem_id, ids)}")
    raise UserError(f"{run.path}: sample {sample_index} of problem {problem_id} is not there: it has up to {run.n}")


@dataclass(frozen=True)
class Piece:
    """A part of a completion's text: in episode number ``episode`` (-1: not in the thought), in a box or not."""

    text: str
    episode: int
    boxed: bool


def pieces(reading: Reading) -> list[Piece]:
    """The whole text in order, cut wherever an episode or a box begins or ends."""
    episodes = reading.episodes
    borders = [0, int(reading.offsets[reading.thought.start]), *reading.offsets[episodes.ends].tolist()]
    boxes = [(box.start, box.end) for box in find_boxes(reading.data)]
    cuts = sorted({*borders, *(edge for box in boxes for edge in box), len(reading.data)})
    found = []
    for start, end in pairwise(cuts):
        # A thought begins after the first two borders; what follows the last one is no part of it.
        episode = int(np.searchsorted(borders[1:], start, side="right")) - 1
        found.append(
            Piece(
                reading.data[start:end].decode("utf-8", errors="replace"),
                episode if episode < len(episodes) else -1,
                any(left <= start and end <= right for left, right in boxes),
            )
        )
    return found


def reader(run: Run, rules: Rules = Rules()) -> Callable[[Completion], Reading]:
    """What reads the completions of a run."""
    card = run.model_card
    phrases = rules.phrases or tuple(card.episodes.phrases)
    min_steps = rules.min_steps or card.episodes.min_steps
    table = run.token_table()
    end_ids = tuple(run.manifest.distribution.get("stop_token_ids") or ())
    tokenizer = None
    if table is None:
        from extrap_eval.prompts.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(card, run.manifest.tokenizer)

    def read(completion: Completion) -> Reading:
        ids, ends = completion.token_ids, {*end_ids, completion.stop_token_id} - {None}
        if table is not None:
            return split(ids, table, ends)
        # Without a table each token of this completion gets a number of its own, and the bytes that it adds.
        data, after = slow_offsets(tokenizer, ids)
        own = TokenTable(tuple(data[start:end] for start, end in pairwise([0, *after.tolist()])))
        numbers = np.arange(len(ids), dtype=np.int32)
        return split(numbers, own, {number for number in numbers[-1:].tolist() if int(ids[number]) in ends})

    def split(ids: np.ndarray, table: TokenTable, ends: Collection[int | None]) -> Reading:
        opened = card.think is not None and card.think.opened_by_prompt
        thought = find_thought(ids, table, card.think, opened, end_ids=ends)
        episodes = split_episodes(ids, table, thought, phrases=phrases, min_steps=min_steps, cap=rules.cap)
        return Reading(table.text_bytes(ids), np.append(np.int64(0), table.ends(ids)), thought, episodes)

    return read


def _verdicts(run: Run) -> dict[tuple[str, int], bool]:
    found = outcomes(run, [sampled_maximum(run)])
    return {
        (id, index): bool(found.correct[place, index, 0])
        for place, id in enumerate(found.problem_ids)
        for index in range(found.n)
    }

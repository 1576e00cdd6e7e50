"""Where the answers of each completion of a run appear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extrap_eval.scoring.timeline import Timeline
    from extrap_eval.store import Completion, Key, Run

# A completion with its ids to where its answers appear.
Reader = Callable[["Completion"], "Timeline"]


def timelines(run: Run) -> Iterator[tuple[Key, Timeline]]:
    """Key and timeline of every completion, streaming, in the order in which they are stored."""
    read = reader_of(run)
    for completion in run.completions(columns=["token_ids"]):
        yield (completion.problem_id, completion.sample_index), read(completion)


def think_close_of(run: Run) -> str | None:
    """The marker that ends the thought, None for a model without one."""
    think = run.model_card.think
    return None if think is None else think.close


def reader_of(run: Run) -> Reader:
    """How completions of this run are read: through its token table, or its tokenizer where there is none."""
    from extrap_eval.scoring.timeline import read_timeline, timeline_of_bytes
    from extrap_eval.scoring.tokens import slow_offsets

    think_close = think_close_of(run)
    table = run.token_table()
    if table is not None:

        def by_table(completion: Completion) -> Timeline:
            finished = completion.finish_reason == "stop"
            return read_timeline(completion.token_ids, table, finished=finished, think_close=think_close)

        return by_table

    from extrap_eval.prompts.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(run.model_card, run.manifest.tokenizer)

    def by_tokenizer(completion: Completion) -> Timeline:
        ids, finished = completion.token_ids, completion.finish_reason == "stop"
        data, ends = slow_offsets(tokenizer, ids)
        return timeline_of_bytes(ids, data, ends, finished=finished, think_close=think_close)

    return by_tokenizer

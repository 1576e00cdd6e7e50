"""What a log shows of the model and the benchmark behind it, as cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.importers.sample import ImportedSample
from extrap_eval.problems.problem import AnswerKind, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from extrap_eval.cards.schema import BenchmarkCard, ModelCard, Think

_THINK_MARKERS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_SMALLEST_BUDGET = 512


def think_markers(
    samples: Sequence[ImportedSample],
    texts: Sequence[str],
    prompts: Mapping[str, np.ndarray],
    tokenizer: PreTrainedTokenizerBase,
) -> Think | None:
    """The think markers that the log shows, None when it shows none."""
    from extrap_eval.cards.schema import Think

    for opener, closer in _THINK_MARKERS:
        opened = any(opener in text for text in texts)
        if not opened and not any(closer in text for text in texts):
            continue
        if prompts:
            prompt = str(tokenizer.decode(prompts[str(samples[0].problem_id)]))
            return Think(open=opener, close=closer, opened_by_prompt=prompt.rstrip().endswith(opener))
        return Think(open=opener, close=closer, opened_by_prompt=not opened)
    return None


def end_ids(tokenizer: PreTrainedTokenizerBase, card: ModelCard | None, think: Think | None) -> set[int]:
    """Ids that end a completion: the card's end tokens, and every special token that is no think marker."""
    from extrap_eval.prompts.tokenizer import end_token_ids

    ids = set(tokenizer.all_special_ids)
    if think is not None:
        ids -= set(tokenizer.convert_tokens_to_ids([think.open, think.close]))
    if card is not None:
        ids |= set(end_token_ids(tokenizer, card))
    return ids


def imported_model_card(
    card: ModelCard | None,
    loaded: PreTrainedTokenizerBase,
    name: str,
    tokenizer: str | None,
    think: Think | None,
    *,
    n: int,
    longest: int,
) -> ModelCard:
    """The card with n and budget of the log, or, without one, a card of what the log shows.

    ``longest``: the cap of the log, or the length of its longest completion.
    """
    from extrap_eval.cards.load import changed
    from extrap_eval.cards.schema import ModelCard

    if card is not None:
        return changed(card, {"n": n, "max_new_tokens": longest, "max_model_len": None})
    return ModelCard(
        name=name,
        tokenizer=tokenizer,
        think=think,
        end_tokens=[str(loaded.eos_token)] if loaded.eos_token else [],
        n=n,
        max_new_tokens=longest,
        max_model_len=None,
        notes="Made from an imported log; the manifest says which sampling parameters are known.",
    )


def imported_benchmark_card(name: str, problems: Sequence[Problem], kind: AnswerKind, longest: int) -> BenchmarkCard:
    """A card whose source is the problems file of the run directory itself; budgets double up to ``longest``."""
    from extrap_eval.cards.schema import Answer, BenchmarkCard, Fields, Source
    from extrap_eval.problems.load import fingerprint

    powers = (_SMALLEST_BUDGET << i for i in range(32))
    return BenchmarkCard(
        name=name,
        source=Source(file="problems.parquet"),
        fields=Fields(id="id", problem="text", answer="gold"),
        prompt="{problem}",
        answer=Answer(kind=kind),
        size=len(problems),
        sha256=fingerprint(problems),
        budgets=[*(power for power in powers if power < longest), longest],
        notes="Made from an imported log, whose prompts may differ from the statement alone.",
    )

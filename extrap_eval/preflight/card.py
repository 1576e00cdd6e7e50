"""Whether a model card says of its tokenizer, chat template and end tokens what is so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.preflight.check import Check, failed, ok, refused, unchecked, warning
from extrap_eval.preflight.files import ModelFiles

if TYPE_CHECKING:
    from extrap_eval.cards.schema import BenchmarkCard, ModelCard
    from extrap_eval.problems.problem import Problem

TOKENIZER, THINK, END, LENGTH = "tokenizer", "think block", "end tokens", "model's context"


@dataclass(frozen=True)
class Prompts:
    """Token ids of every prompt by problem id, and the check that came of rendering them (None ids: it failed)."""

    check: Check
    ids: dict[str, np.ndarray] | None

    @property
    def longest(self) -> int | None:
        return max(map(len, self.ids.values())) if self.ids else None


def check_tokenizer(tokenizer: Any) -> Check:
    """Whether token ids become text by table, which makes scoring fast."""
    from extrap_eval.scoring.tokens import NotTabular, TokenTable

    named = f"{tokenizer.name_or_path}: {len(tokenizer):,} tokens"
    try:
        TokenTable.from_tokenizer(tokenizer)
    except NotTabular as error:
        return warning(
            TOKENIZER,
            f"{named}, but {error}",
            "nothing has to be done: its text is kept beside the ids, and scoring is slower",
        )
    return ok(TOKENIZER, f"{named}, each with its bytes")


def render_prompts(tokenizer: Any, card: ModelCard, benchmark: BenchmarkCard, problems: Sequence[Problem]) -> Prompts:
    """Every prompt through the chat template, which must open the thought as the card says, once."""
    from extrap_eval.prompts.chat import prompt_token_ids

    try:
        ids = {problem.id: prompt_token_ids(tokenizer, card, benchmark, problem) for problem in problems}
    except UserError as error:
        return Prompts(refused(THINK, error), None)
    if card.think is None:
        return Prompts(ok(THINK, "the card has none: answers are read from the whole completion"), ids)
    markers = [card.think.open, card.think.close]
    pieces = {marker: len(tokenizer.encode(marker, add_special_tokens=False)) for marker in markers}
    said = "by the prompt, once" if card.think.opened_by_prompt else "by the model"
    found = f"opened {said} ({len(ids):,} prompt{'s' if len(ids) > 1 else ''} rendered)"
    split = [f"{marker!r} is {count} tokens" for marker, count in pieces.items() if count != 1]
    if split:
        return Prompts(
            warning(THINK, f"{found}, but {' and '.join(split)}", "check think.open and think.close in the card"), ids
        )
    return Prompts(ok(THINK, found), ids)


def check_end_tokens(tokenizer: Any, card: ModelCard, files: ModelFiles) -> Check:
    """The card's end tokens against those at which a server stops of its own accord, by the model's own files."""
    from extrap_eval.prompts.tokenizer import end_token_ids

    try:
        ours = end_token_ids(tokenizer, card)
    except UserError as error:
        return refused(END, error)
    if not ours:
        return failed(
            END,
            f"card {card.name} names none",
            f"write end_tokens: [{tokenizer.eos_token!r}] into the card" if tokenizer.eos_token else "name them",
        )
    shown = _named(tokenizer, ours)
    theirs = files.end_tokens
    if theirs is None:
        why = files.problem or "the model's files name none"
        return unchecked(END, f"the card says {shown}; {why}, so there is nothing to compare with")
    missing = [i for i in theirs if i not in ours]
    further = [i for i in ours if i not in theirs]
    if not missing and not further:
        return ok(END, f"{shown}, as the model's files say")
    differences = []
    if missing:
        differences.append(f"the model's files also end at {_named(tokenizer, missing)}")
    if further:
        differences.append(f"the model's files do not end at {_named(tokenizer, further)}")
    found = f"the card says {shown}; {' and '.join(differences)}"
    if not set(ours) & set(theirs):
        return failed(END, found, f"write end_tokens: [{_quoted(tokenizer, theirs)}] into the card")
    mend = "nothing has to be done if that is meant: a completion ends at any of them"
    if missing:
        mend = f"write end_tokens: [{_quoted(tokenizer, dict.fromkeys((*ours, *missing)))}] into the card"
    return warning(END, found, mend)


def check_length(card: ModelCard, files: ModelFiles, prompts: Prompts) -> Check:
    """Prompt and budget against the context that the card allows and the positions that the model knows."""
    longest = prompts.longest or 0
    needed = longest + card.max_new_tokens
    asked = f"prompt {longest:,} + budget {card.max_new_tokens:,} tokens"
    limit = card.max_model_len
    if limit is not None and needed > limit:
        return failed(
            LENGTH,
            f"{asked} do not fit max_model_len {limit:,} of the card",
            f"use --budget-max {limit - longest}, or raise max_model_len in the card",
        )
    known = positions(files.config) if files.config is not None else None
    if known is None:
        return ok(LENGTH, f"{asked} fit the card") if limit else unchecked(LENGTH, "neither card nor config.json says")
    if needed > known:
        return warning(
            LENGTH,
            f"{asked}, but config.json knows {known:,} positions",
            "lower --budget-max, or have the engine extend the context (rope scaling); most refuse to start otherwise",
        )
    return ok(LENGTH, f"{asked} fit the {min(known, limit or known):,} that model and card allow")


def positions(config: Mapping[str, Any]) -> int | None:
    """How many positions a model knows by its config, extended ones included; None where it sets no limit."""
    text = config.get("text_config") or config
    known = text.get("max_position_embeddings")
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    if known is None or not scaling.get("factor"):
        return known
    return max(known, int((scaling.get("original_max_position_embeddings") or known) * scaling["factor"]))


def _named(tokenizer: Any, ids: Sequence[int]) -> str:
    return ", ".join(f"{_text(tokenizer, i)} ({i})" for i in ids)


def _quoted(tokenizer: Any, ids: Any) -> str:
    return ", ".join(f'"{_text(tokenizer, i)}"' for i in ids)


def _text(tokenizer: Any, token_id: int) -> str:
    return str(tokenizer.convert_ids_to_tokens(int(token_id)) or "no token of this tokenizer")

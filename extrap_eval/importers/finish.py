"""How a completion ended, where the log does not say."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from extrap_eval.engines.base import FinishReason
from extrap_eval.errors import UserError
from extrap_eval.importers.sample import ImportedSample

if TYPE_CHECKING:
    from extrap_eval.cards.schema import Think

HowKnown = Literal["log", "end token", "cap", "no end token", "ending"]

# <|im_end|>, <｜end▁of▁sentence｜>, <|end_of_solution|>, </s>: ends that some models write out as plain text.
_END_MARKER = re.compile(r"(<[|｜](?!begin)[^<>|｜]{1,40}[|｜]>|</s>)\s*\Z")
# The last visible character of a finished sentence, formula, quotation or piece of markup.
_CLOSED = re.compile(r"[.!?。…)\]}$>\"'”*`✓✅■□]\s*\Z")
# Share of completions with an end token from which on a log counts as one that keeps them.
_KEEPS_END_TOKENS = 0.1


@dataclass(frozen=True)
class Ending:
    """``how``: the rule that gave the reason. ``stop_token_id``: the last id, if that is an end token."""

    finish_reason: FinishReason
    how: HowKnown
    stop_token_id: int | None


def endings(
    samples: Sequence[ImportedSample],
    ids: Sequence[np.ndarray],
    texts: Sequence[str],
    *,
    end_ids: Collection[int],
    cap: int | None,
    think: Think | None,
) -> list[Ending]:
    """How every completion ended, by the first of these rules that applies:

    1. ``log``: the log says so.
    2. ``end token``: it ends in an end token (one of ``end_ids``) or writes an end marker out: "stop".
    3. ``cap``: it is as long as the known cap: "length". Ids made from text may be a few fewer than were
       generated, so for them a thousandth less will do.
    4. ``no end token``: the log keeps end tokens (a tenth of its completions end in one), and this one has
       none: "length".
    5. ``ending``: "stop" if its last visible character closes a sentence or a formula and it leaves no
       thought open, else "length".

    Raises UserError for a completion beyond the cap.
    """
    marked = [
        bool(len(own) and int(own[-1]) in end_ids) or _has_end_marker(text, think)
        for own, text in zip(ids, texts, strict=True)
    ]
    keeps = sum(marked) >= max(1, _KEEPS_END_TOKENS * len(marked))
    found = []
    for sample, own, text, ends in zip(samples, ids, texts, marked, strict=True):
        exact = sample.token_ids is not None
        if cap is not None:
            _refuse_beyond(sample, len(own), cap, exact)
        reason: FinishReason
        how: HowKnown
        if sample.finish_reason is not None:
            reason, how = sample.finish_reason, "log"
        elif ends:
            reason, how = "stop", "end token"
        elif cap is not None and len(own) >= (cap if exact else cap - _slack(cap)):
            reason, how = "length", "cap"
        elif keeps:
            reason, how = "length", "no end token"
        else:
            reason, how = ("stop" if _ends_naturally(text, think) else "length"), "ending"
        stop = int(own[-1]) if reason == "stop" and len(own) and int(own[-1]) in end_ids else None
        found.append(Ending(reason, how, stop))
    return found


def _has_end_marker(text: str, think: Think | None) -> bool:
    match = _END_MARKER.search(text[-60:])
    return match is not None and (think is None or match[1] not in (think.open, think.close))


def _slack(cap: int) -> int:
    return cap // 1000 + 1


def _refuse_beyond(sample: ImportedSample, length: int, cap: int, exact: bool) -> None:
    if exact and length > cap:
        raise UserError(f"{sample.where}: the completion has {length} tokens, more than --max-tokens {cap}; raise it")
    if not exact and length > cap + 10 * _slack(cap):
        raise UserError(
            f"{sample.where}: the completion has {length} tokens by this tokenizer, more than --max-tokens "
            f"{cap}; raise it, or give the model's own tokenizer with --tokenizer"
        )


def _ends_naturally(text: str, think: Think | None) -> bool:
    if think is not None:
        closed = text.rfind(think.close)
        opened = text.rfind(think.open)
        if opened > closed or (closed < 0 and think.opened_by_prompt):
            return False
    return not text.strip() or bool(_CLOSED.search(text[-60:]))

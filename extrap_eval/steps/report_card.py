"""What a report card is made of, and the sentence that sums it up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from extrap_eval.metrics.budgets import FoundBudget
from extrap_eval.metrics.extrapolation import Gain
from extrap_eval.metrics.same_tokens import SameTokens
from extrap_eval.metrics.traces import Estimate

if TYPE_CHECKING:
    import pandas as pd

Unit = Literal["fraction", "points", "ratio", "tokens", "number", "missing"]


@dataclass(frozen=True)
class Entry:
    """One line of a card: a number with its interval (nan where it has none), or, with the unit "missing", why there is
    none and what makes it. Tokens may be inf: no budget that was looked at.
    """

    quantity: str
    value: float
    low: float
    high: float
    unit: Unit
    note: str


@dataclass(frozen=True)
class ReportCard:
    model: str
    benchmark: str
    problems: int
    n: int
    entries: tuple[Entry, ...]
    verdict: str


def summary_table(cards: Sequence[ReportCard]) -> pd.DataFrame:
    """The entries of all cards: model, benchmark, problems, n, quantity, value, low, high, unit, note."""
    import pandas as pd

    rows = [
        {"model": card.model, "benchmark": card.benchmark, "problems": card.problems, "n": card.n, **asdict(entry)}
        for card in cards
        for entry in card.entries
    ]
    return pd.DataFrame(rows)


def entry_of(quantity: str, of: Estimate, unit: Unit, note: str) -> Entry:
    return Entry(quantity, float(of.value), float(of.low), float(of.high), unit, note)


def missing(quantity: str, note: str) -> Entry:
    return Entry(quantity, math.nan, math.nan, math.nan, "missing", note)


def verdict_of(
    name: str,
    gained: Gain | None,
    votes: SameTokens | None,
    forced: SameTokens | None,
    saturated: FoundBudget,
    largest: int,
    why: str,
) -> str:
    """``why``: there is no gain, if there is none."""
    if gained is None or votes is None:
        return f"{name}: no verdict on extrapolation ({why})"
    if gained.low > 0:
        parts = [f"{name} extrapolates: {gained.verdict}"]
    elif gained.high < 0:
        parts = [f"{name} gets worse beyond its training budget: {gained.verdict}"]
    else:
        parts = [f"{name} is not seen to extrapolate: {gained.verdict}"]
    parts.append(
        _against(
            votes,
            "thinking longer beats votes",
            "votes beat thinking longer",
            "neither thinking longer nor votes are shown to be better",
        )
    )
    if forced is not None:
        parts.append(
            _against(forced, "forcing beats the model left alone", "forcing does harm", "forcing is not shown to help")
        )
    if saturated.budget > largest / 2:
        parts.append(f"still growing at {largest} tokens")
    else:
        parts.append(f"nothing more beyond {saturated.budget:.0f} tokens")
    return "; ".join(parts)


def _against(of: SameTokens, better: str, worse: str, unclear: str) -> str:
    """``of``: the gain of one way to spend tokens over another, for the same of them as far as both can spend them."""
    price = "for the same tokens" if of.share > 1 - 1e-9 else f"for {1 / of.share:.1f} times the tokens"
    points = f"{100 * float(of.gain.value):+.1f} points {price}".replace("-", "−")
    if float(of.gain.low) > 0:
        return f"{better} ({points})"
    if float(of.gain.high) < 0:
        return f"{worse} ({points})"
    return f"{unclear} ({points})"

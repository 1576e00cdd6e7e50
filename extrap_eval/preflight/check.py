"""What one check found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Status = Literal["ok", "warning", "failed", "not checked"]


@dataclass(frozen=True)
class Check:
    """``found`` is one line: what was seen, or why nothing could be. ``mend``: one line, for what is not ok.
    ``where``: the servers it is about, none for a check of this machine or of the card.
    """

    name: str
    status: Status
    found: str
    mend: str | None = None
    where: tuple[str, ...] = ()


def ok(name: str, found: str) -> Check:
    return Check(name, "ok", found)


def warning(name: str, found: str, mend: str) -> Check:
    return Check(name, "warning", found, mend)


def failed(name: str, found: str, mend: str) -> Check:
    return Check(name, "failed", found, mend)


def unchecked(name: str, why: str) -> Check:
    return Check(name, "not checked", why)


def refused(name: str, error: Exception | str) -> Check:
    """A failure in the words of an error, which ends in the mend after a semicolon."""
    found, _, mend = " ".join(str(error).split()).partition("; ")
    return failed(name, found, mend or "mend what is named here")


def together(checks: Sequence[Check]) -> list[Check]:
    """Checks that say the same of several servers as one, in order of first appearance."""
    merged: dict[tuple[str, str, str, str | None], Check] = {}
    for check in checks:
        key = (check.name, check.status, check.found, check.mend)
        known = merged.get(key)
        merged[key] = check if known is None else replace(known, where=(*known.where, *check.where))
    names = list(dict.fromkeys(check.name for check in checks))
    return sorted(merged.values(), key=lambda check: names.index(check.name))


def passed(checks: Iterable[Check]) -> bool:
    """Whether none failed."""
    return not any(check.status == "failed" for check in checks)


def size(number: float) -> str:
    """Bytes for a person: ``3.4 GB``, ``57 kB`` (powers of ten, as disks and most drivers count)."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            value = number / scale
            return f"{value:.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    return f"{number:.0f} B"

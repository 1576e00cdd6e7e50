"""The servers at work, as a person sees them: a small table, or one line."""

from __future__ import annotations

from collections.abc import Sequence

from extrap_eval.engines.base import Engine, Replicated, ReplicaWork

_HEADINGS = ("running", "waiting", "tokens/s", "cache hits", "cache full", "finished", "retries")
_FEWEST_ROWS = 3


def replicas_of(engine: Engine) -> tuple[ReplicaWork, ...]:
    """Empty for an engine without servers."""
    return engine.replicas() if isinstance(engine, Replicated) else ()


def block(replicas: Sequence[ReplicaWork], seconds: float, *, rows: int = 1000) -> list[str]:
    """A heading and one line per server, those set aside first where not all fit into ``rows``. ``seconds``: since
    the start. The lines may be cut on the right: what matters most stands on the left.
    """
    shown, hidden = _fitting(replicas, max(_FEWEST_ROWS, rows))
    table = [["server", *_HEADINGS]]
    table += [[_name(replica), *cells(replica, seconds)] for replica in shown]
    if hidden:
        table.append([f"and {len(hidden)} more", *_sum_cells(hidden, seconds)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table]
    for at, replica in enumerate(shown, 1):
        if replica.down is not None:
            lines[at] = f"{_name(replica).ljust(widths[0])}  {_reason(replica)}"
    return lines


def cells(replica: ReplicaWork, seconds: float) -> list[str]:
    """What stands under ``_HEADINGS``. What a server does not tell is counted here: requests sent and not answered,
    and (as "≥ …") the tokens of finished completions.
    """
    blind = replica.running is None
    speed = replica.tokens_per_second
    return [
        f"{replica.in_flight:,} sent" if blind else f"{replica.running:,}",
        "–" if replica.waiting is None else f"{replica.waiting:,}",
        _known_speed(replica, seconds) if speed is None else f"{speed:,.0f}",
        _share(replica.cache_hit_rate if replica.cache_hit_rate is not None else _reported(replica)),
        _share(replica.cache_used),
        f"{replica.finished:,}",
        f"{replica.retries:,}" if replica.retries else "",
    ]


def summary(replicas: Sequence[ReplicaWork], seconds: float) -> str:
    """For example ``8 servers: 2,041 running, 12 waiting, 48,210 tokens/s, 71 % cache hits; 1 not in use: …``."""
    aside = [replica for replica in replicas if replica.down is not None]
    up = [replica for replica in replicas if replica.down is None]
    running, waiting, speed, hits, *_ = _sum_cells(up, seconds)
    parts = [f"{running} running", f"{waiting} waiting", f"{speed} tokens/s", f"{hits} cache hits"]
    text = f"{len(up)} server{'' if len(up) == 1 else 's'}: {', '.join(part for part in parts if part[0] != '–')}"
    if aside:
        text += f"; {len(aside)} not in use: {_name(aside[0])}: {_reason(aside[0])}"
    return text


def _sum_cells(replicas: Sequence[ReplicaWork], seconds: float) -> list[str]:
    """The cells of several servers together; hit rates are weighted by the prompt tokens of each."""
    rates = [(r.cache_hit_rate if r.cache_hit_rate is not None else _reported(r), r.prompt_tokens) for r in replicas]
    weight = sum(tokens for rate, tokens in rates if rate is not None)
    together = sum((rate or 0.0) * tokens for rate, tokens in rates) / weight if weight else None
    running = [r.in_flight if r.running is None else r.running for r in replicas]
    waiting = [r.waiting for r in replicas if r.waiting is not None]
    speeds = [r.tokens_per_second for r in replicas if r.tokens_per_second is not None]
    least = len(speeds) < len(replicas)
    speed = sum(speeds) + sum(r.tokens / seconds for r in replicas if r.tokens_per_second is None and seconds > 0)
    return [
        f"{sum(running):,}",
        f"{sum(waiting):,}" if waiting else "–",
        f"{'≥ ' if least else ''}{speed:,.0f}",
        _share(together),
        "",
        f"{sum(r.finished for r in replicas):,}",
        f"{sum(r.retries for r in replicas):,}",
    ]


def _fitting(replicas: Sequence[ReplicaWork], rows: int) -> tuple[list[ReplicaWork], list[ReplicaWork]]:
    if len(replicas) <= rows:
        return list(replicas), []
    ordered = sorted(replicas, key=lambda replica: replica.down is None)  # stable
    return ordered[: rows - 1], ordered[rows - 1 :]


def _known_speed(replica: ReplicaWork, seconds: float) -> str:
    return f"≥ {replica.tokens / seconds:,.0f}" if seconds > 0 else "–"


def _reported(replica: ReplicaWork) -> float | None:
    """The share of cached prompt tokens among the answers, which some servers report there."""
    if replica.cached_tokens is None or not replica.prompt_tokens:
        return None
    return replica.cached_tokens / replica.prompt_tokens


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _name(replica: ReplicaWork) -> str:
    return replica.name or replica.server.removeprefix("http://").removeprefix("https://")


def _reason(replica: ReplicaWork) -> str:
    """Why it is set aside, without the address that stands beside it."""
    return (replica.down or "").replace(f"{replica.server}: ", "")

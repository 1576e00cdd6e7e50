"""Many faults over many runs: ``python -m tests.faults.campaign --engine vllm --faults 200``.

Two real servers serve all runs. Each run samples some 500 completions of the reference model while faults happen; it
must end complete, with each sample once. Prints one line per kind of fault and exits with 1 if anything was not so.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.faults import FAULTS, FaultKind
from tests.faults.runs import Outcome, run_under
from tests.faults.scene import Census, Stage


@dataclass(frozen=True)
class Settings:
    faults: int
    per_run: int
    samples: int
    budget: int
    concurrency: int
    patience: float
    seed: int


@dataclass
class Account:
    """One kind of fault over the campaign."""

    injected: int = 0
    met: int = 0
    complete: int = 0
    once: int = 0
    attempts: int = 0
    most_attempts: int = 0
    orphans: int = 0


@dataclass(frozen=True)
class Result:
    accounts: dict[str, Account]
    outcomes: list[Outcome]
    orphans: int  # processes left after everything was closed
    open_ports: int
    ports: int  # that were ever seen
    seconds: float

    @property
    def good(self) -> bool:
        return all(o.good for o in self.outcomes) and not self.orphans and not self.open_ports


def schedule(kinds: list[FaultKind], settings: Settings, rng: random.Random) -> Iterable[list[tuple[FaultKind, int]]]:
    """The faults of each run with their targets: every kind about equally often; no two kills in one run; those that
    leave a server without requests are done to one, the others to the other.
    """
    deck: list[FaultKind] = []
    left = settings.faults
    while left:
        chosen: list[FaultKind] = []
        while len(chosen) < min(settings.per_run, left):
            if not deck:
                deck = rng.sample(kinds, len(kinds))
            kind = next((k for k in deck if not (k.restarts and any(c.restarts for c in chosen))), None)
            if kind is None:
                deck = rng.sample(kinds, len(kinds)) + deck
                continue
            deck.remove(kind)
            chosen.append(kind)
        left -= len(chosen)
        away = rng.randrange(2)
        yield [(kind, away if kind.removes else 1 - away) for kind in chosen]


async def campaign(
    stage_of: AbstractAsyncContextManager[Stage],
    kinds: list[FaultKind],
    settings: Settings,
    directory: Path,
    model: str,
    say: Callable[[str], None] = print,
) -> Result:
    """``directory`` is this process's working directory and nobody else's."""
    from extrap_eval.steps.sample import plan_sampling

    rng = random.Random(settings.seed)
    census = Census(directory)
    plan = plan_sampling(model, "residue_search_tiny", n=-(-settings.samples // 12), budget_max=settings.budget)
    accounts: dict[str, Account] = defaultdict(Account)
    outcomes: list[Outcome] = []
    began = time.monotonic()
    async with stage_of as stage:
        for number, faults in enumerate(schedule(kinds, settings, rng)):
            await stage.settled()  # a fault may have left a server dead, or frozen and therefore restarted
            census.note_ports()
            outcome = await run_under(
                faults,
                stage,
                plan,
                directory / f"{number:03d}",
                patience=settings.patience,
                concurrency=settings.concurrency,
                rng=rng,
            )
            orphans = len(census.orphans())
            outcomes.append(outcome)
            for (kind, _), met in zip(faults, outcome.met, strict=True):
                _enter(accounts[kind.name], outcome, met, orphans)
            say(_line(number, outcome, orphans))
        await stage.settled()
        census.note_ports()
    left = census.processes()
    for process in left:
        say(f"left: {process.pid} {' '.join(process.cmdline())[:150]}")
    return Result(
        dict(accounts), outcomes, len(left), len(census.open_ports()), len(census.ports), time.monotonic() - began
    )


def _enter(account: Account, outcome: Outcome, met: int, orphans: int) -> None:
    account.injected += 1
    account.met += met
    account.complete += outcome.complete
    account.once += outcome.once
    account.attempts += outcome.attempts
    account.most_attempts = max(account.most_attempts, outcome.most_attempts)
    account.orphans += orphans


def _line(number: int, outcome: Outcome, orphans: int) -> str:
    return (
        f"{number:3d}  {'ok ' if outcome.good and not orphans else 'BAD'} {outcome.seconds:6.1f} s  "
        f"{outcome.rows} rows, {outcome.attempts} vain attempts (at most {outcome.most_attempts} for one), "
        f"{outcome.copies} copies, {orphans} orphans, servers {outcome.servers}; "
        f"{', '.join(f'{name} ({met})' for name, met in zip(outcome.faults, outcome.met, strict=True))}"
        f"{''.join(f'; {count} x {reason}' for reason, count in outcome.reasons)}"
    )


def table(result: Result, settings: Settings) -> str:
    head = f"{'fault':32}{'injected':>9}{'met':>7}{'complete':>10}{'once':>6}{'vain':>7}{'most':>6}{'orphans':>9}"
    lines = [head, "-" * len(head)]
    total = Account()
    for kind in FAULTS:
        account = result.accounts.get(kind.name)
        if account is not None:
            lines.append(_row(kind.name, account))
            total.injected += account.injected
            total.met += account.met
            total.complete += account.complete
            total.once += account.once
            total.orphans += account.orphans
    total.attempts = sum(outcome.attempts for outcome in result.outcomes)
    total.most_attempts = max(outcome.most_attempts for outcome in result.outcomes)
    lines += ["-" * len(head), _row("all", total)]
    lines.append(
        f"{len(result.outcomes)} runs of {result.outcomes[0].rows} samples, {settings.budget} tokens at most, "
        f"{settings.concurrency} in flight, patience {settings.patience:g} s, {result.seconds / 60:.0f} min; "
        f"{sum(o.copies for o in result.outcomes)} copied completions; "
        f"after the end {result.orphans} processes and {result.open_ports} of {result.ports} ports left"
    )
    return "\n".join(lines)


def _row(name: str, a: Account) -> str:
    figures = f"{a.injected:9d}{a.met:7d}{a.complete:10d}{a.once:6d}{a.attempts:7d}{a.most_attempts:6d}{a.orphans:9d}"
    return f"{name:32}{figures}"


def main() -> int:
    from extrap_eval.reference_models import located
    from tests.faults.stages import stage

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["vllm", "sglang"], default="vllm")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--per-run", type=int, default=3)
    parser.add_argument("--samples", type=int, default=504)
    parser.add_argument("--budget", type=int, default=256)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--patience", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="words, with commas: the kinds of faults whose name contains one")
    parser.add_argument("--model", help="folder of the model [default: the reference model of the package]")
    given = vars(parser.parse_args())
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # broken connections are what the proxies are for
    engine, only, model = given.pop("engine"), given.pop("only"), given.pop("model")
    settings = Settings(**given)
    kinds = [kind for kind in FAULTS if any(word in kind.name for word in only.split(","))]
    model = model or located("package:residue-explorer")
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        directory = Path(name).resolve()
        os.chdir(directory)
        servers = stage(engine, directory, model, patience=settings.patience)
        result = asyncio.run(campaign(servers, kinds, settings, directory, model, lambda line: print(line, flush=True)))
        os.chdir("/")
    print(table(result, settings))
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())

"""What the commands ``probe``, ``force``, ``slide`` and ``run`` have in common: the price, the asking, the outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrap_eval.cli.engine_options import EngineChoice, sayer
from extrap_eval.cli.terminal import records
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.steps.following import FollowPlan, FollowReport
    from extrap_eval.store import Run

_DRAWN_HELP = "Instead of the traces'."

Samples = Annotated[
    int | None, typer.Option(min=1, help="The first so many samples of every problem [default: all of the run].")
]
Temperature = Annotated[float | None, typer.Option(help=_DRAWN_HELP)]
TopP = Annotated[float | None, typer.Option(help=_DRAWN_HELP)]
TopK = Annotated[int | None, typer.Option(help=_DRAWN_HELP)]
VariantOption = Annotated[
    str | None, typer.Option(help="Show this variant, whatever the other options say; nothing is asked.")
]
Weights = Annotated[
    str | None, typer.Option(help="Folder or hub id of the weights, for engines that load them [default: the card's].")
]
TokenizerOption = Annotated[str | None, typer.Option(help="Tokenizer folder or hub id [default: the run's].")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the first prompt and the price, send nothing.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no progress line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")]


def ask(
    run: Run,
    plans: Sequence[FollowPlan],
    choice: EngineChoice,
    *,
    tokenizer: str | None,
    weights: str | None,
    silent: bool,
    rollouts: bool = False,
) -> FollowReport | None:
    """Ask what the plans promise; None when all of it is there already, which needs no engine.

    Raises UserError as ``steps.following.follow`` does.
    """
    from extrap_eval.sampling.progress import progress_line
    from extrap_eval.steps.following import context_needed, follow, is_complete, sampling_plan, siblings

    if all(is_complete(run, plan) for plan in plans) and not (rollouts and run.missing()):
        return None
    for plan in plans:
        if (notice := siblings(run, plan)) is not None:
            typer.echo(f"{run.path}: {plan.name}: {notice}", err=True)
    wanted = replace(
        sampling_plan(run, tokenizer, weights), top_logprobs=max((plan.top_logprobs for plan in plans), default=0)
    )
    needed = max((context_needed(run, plan, rollouts) for plan in plans), default=None)
    engine, in_flight = choice.open(wanted, run.path, context_length=needed, say=sayer(silent))
    title = f"{wanted.model.name} on {wanted.benchmark.name}, {', '.join(plan.kind for plan in plans)}"
    with progress_line(title, silent=silent) as progress:
        return follow(
            run, plans, engine, rollouts=rollouts, concurrency=in_flight, seed=choice.seeded, progress=progress
        )


def print_price(run: Run, plans: Sequence[FollowPlan], as_json: bool) -> None:
    """What asking would cost, and the first prompt exactly as it would be sent."""
    from extrap_eval.steps.following import first_prompt, price

    total, existing = price(run, plans)
    ids, text = first_prompt(run, plans)
    facts = {
        "run": str(run.path),
        "variants": [plan.name for plan in plans],
        "requests": max(0, total.requests - existing),
        "existing": existing,
        "prompt_tokens": total.prompt_tokens,
        "distinct_prompt_tokens": total.distinct_tokens,
        "completion_tokens_max": total.completion_tokens,
        "first_prompt": text,
        "first_prompt_token_ids": ids,
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{run.path}: {', '.join(plan.name for plan in plans)}")
    typer.echo(
        f"{total.requests:,} requests at most, {existing:,} of them exist; {total.prompt_tokens:,} prompt tokens in "
        f"all, {total.distinct_tokens:,} with a prefix cache; at most {total.completion_tokens:,} completion tokens"
    )
    typer.echo("first prompt, exactly as it would be sent:")
    typer.echo(text)


def print_outcome(
    run: Run,
    plans: Sequence[FollowPlan],
    report: FollowReport | None,
    tables: Mapping[str, pd.DataFrame],
    as_json: bool,
) -> None:
    """Say what came of it, then the tables. ``tables``: title -> readable rows (tidy ones for JSON)."""
    from extrap_eval.cli.terminal import draw

    if as_json:
        facts: dict[str, Any] = {"run": str(run.path), "variants": [plan.name for plan in plans]}
        facts |= {"finished": 0, "missing": 0, "tokens": 0, "seconds": 0.0, "failures": {}}
        if report is not None:
            facts |= {
                "finished": report.finished,
                "missing": report.missing,
                "tokens": report.tokens,
                "seconds": round(report.seconds, 3),
                "failures": dict(report.reasons()),
            }
        facts["tables"] = {name: records(table) for name, table in tables.items()}
        typer.echo(json.dumps(facts))
        return
    if report is not None:
        typer.echo(f"{run.path}: {report.finished} completions now, {report.missing} missing")
    for title, table in tables.items():
        typer.echo(draw(table.to_dict("records"), title))


def refuse_unfinished(run: Run, report: FollowReport | None) -> None:
    """Exit code 1, with the reasons, while something promised is missing."""
    if report is None or not report.missing:
        return
    for reason, count in report.reasons()[:5]:
        typer.echo(f"  {count} x {reason}", err=True)
    raise UserError(f"{run.path}: {report.missing} completions are missing; the same command asks for them")


def percent(value: float, low: float, high: float) -> str:
    """A fraction with its interval, in percent."""
    if low != low:  # nan: fewer than two problems
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def overrides(temperature: float | None, top_p: float | None, top_k: int | None) -> dict[str, float | int | None]:
    return {"temperature": temperature, "top_p": top_p, "top_k": top_k}


def strings_of(option: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Strings as typed, ``\\n`` for a line break; None stays None."""
    if not given:
        return None
    if not all(given):
        raise UserError(f"{option}: an empty string")
    return tuple(text.replace("\\n", "\n") for text in given)


def text_of(option: str, given: str | None) -> str | None:
    """A text, or what is in the file that ``@PATH`` names; None stays None."""
    from pathlib import Path

    if given is None or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option}: {given[1:]}: cannot be read ({error})") from None

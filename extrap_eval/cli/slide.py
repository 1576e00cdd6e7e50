"""``extrap-eval slide``: one long thought in a sliding window, against votes over short ones."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.engine_options import EngineChoice, with_engine_options
from extrap_eval.cli.episodes import MIN_STEPS_HELP, PHRASES_HELP, parse_phrases
from extrap_eval.cli.following import DryRun, Json, Quiet, Samples, Temperature, TokenizerOption, TopK, TopP, Weights

if TYPE_CHECKING:
    import pandas as pd


class Modes(StrEnum):
    both = "both"
    linear = "linear"
    parallel = "parallel"


@with_engine_options
def slide(
    run: Annotated[Path, typer.Argument(help="Run directory; only its prompts and sampling parameters are used.")],
    choice: EngineChoice,
    mode: Annotated[
        Modes, typer.Option(help="linear: one thought in a window; parallel: thoughts of three episodes; or both.")
    ] = Modes.both,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of a linearised thought.")] = 16,
    parallel_episodes: Annotated[int, typer.Option(min=1, help="Episodes of a parallel thought.")] = 3,
    window: Annotated[int, typer.Option(min=1, help="Last tokens of a linearised thought that are seen.")] = 2048,
    episode_tokens: Annotated[int, typer.Option(min=1, help="Cap on the tokens of one episode.")] = 2048,
    thinking_tokens: Annotated[
        int | None, typer.Option(min=1, help="Cap on a whole thought [default: episodes x their cap].")
    ] = None,
    answers_after: Annotated[
        str | None, typer.Option(help="Linear: numbers of episodes, comma-separated [default: powers of two].")
    ] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Answers after each of them.")] = 1,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Cap on the tokens of an answer.")] = 4096,
    probe_text: Annotated[
        str | None, typer.Option(help="What forces an answer, or @FILE [default: the probe of MRT, verbatim].")
    ] = None,
    phrases: Annotated[str | None, typer.Option(help=PHRASES_HELP)] = None,
    min_steps: Annotated[int | None, typer.Option(min=1, help=MIN_STEPS_HELP)] = None,
    n: Samples = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    figure: Annotated[Path | None, typer.Option(help="Draw accuracy against total tokens into this file.")] = None,
    tokenizer: TokenizerOption = None,
    weights: Weights = None,
    dry_run: DryRun = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Spend tokens on one long thought, seen through a window, or on votes over independent short ones.

    The same command continues after any interruption and does nothing when all is there. Other settings are another
    variant, kept beside; the table shows every one of the run.
    """
    from extrap_eval.cli.following import ask, overrides, print_outcome, print_price, refuse_unfinished, text_of
    from extrap_eval.cli.force import numbers
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.plot import plot_followed
    from extrap_eval.steps.sliding import Mode, plan_sliding, window_curves

    opened = as_run(run)
    modes: list[Mode] = [each for each in ("linear", "parallel") if mode.value in ("both", each)]
    plans = [
        plan_sliding(
            opened,
            mode=each,
            episodes=episodes if each == "linear" else parallel_episodes,
            window_tokens=window if each == "linear" else None,
            episode_tokens=episode_tokens,
            thinking_tokens=thinking_tokens,
            answers_after=numbers("--answers-after", answers_after) if each == "linear" else None,
            replicates=replicates,
            answer_tokens=answer_tokens,
            text=text_of("--probe-text", probe_text),
            phrases=parse_phrases(phrases),
            min_steps=min_steps,
            n=n,
            sampling=overrides(temperature, top_p, top_k),
            tokenizer=tokenizer,
        )
        for each in modes
    ]
    if dry_run:
        print_price(opened, plans, json_)
        return
    report = ask(opened, plans, choice, tokenizer=tokenizer, weights=weights, silent=json_ or quiet)
    refuse_unfinished(opened, report)
    tidy = window_curves(opened)
    tables = {"accuracy against total tokens": tidy if json_ else readable(tidy)}
    print_outcome(opened, plans, report, tables, json_)
    if figure is not None:
        typer.echo(str(plot_followed(run, figure, figure="slide")), err=json_)


def readable(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.cli.following import percent

    return pd.DataFrame(
        [
            {
                "thoughts": row["model"],
                "k": f"{row['k']} {'episode' if row['mode'] == 'linear' else 'vote'}{'s' if row['k'] > 1 else ''}",
                "tokens": f"{row['tokens']:,.0f}",
                "accuracy": percent(row["value"], row["low"], row["high"]),
            }
            for row in tidy.to_dict("records")
        ]
    )

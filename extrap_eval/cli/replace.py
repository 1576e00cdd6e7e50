"""``extrap-eval replace``: which tokens of a trace decide whether it comes out right?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.engine_options import EngineChoice, with_engine_options
from extrap_eval.cli.following import DryRun, Json, Quiet, Samples, Temperature, TokenizerOption, TopK, TopP, Weights

if TYPE_CHECKING:
    import pandas as pd


class Position(StrEnum):
    high_entropy = "high-entropy"
    low_entropy = "low-entropy"
    early = "early"
    late = "late"
    random = "random"


@with_engine_options
def replace(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    choice: EngineChoice,
    at: Annotated[
        list[Position] | None,
        typer.Option(
            help="Which tokens: those with the highest or the lowest entropy (extrap-eval logprobs measures it), the "
            "first, the last, or any. Repeatable [default: all that is known]."
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="How many tokens of a trace are early, late, of high or of low entropy.")
    ] = 0.2,
    positions: Annotated[int, typer.Option(min=1, help="How many of them are tried per trace, drawn at random.")] = 4,
    replicates: Annotated[
        int, typer.Option(min=1, help="Completions that go on with the token replaced, and as many without.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of positions.")] = 0,
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Cap on the tokens that follow [default: what is left of the budget].")
    ] = None,
    n: Samples = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    bins: Annotated[int, typer.Option(min=1, help="Parts of the trace in the figure and in the JSON.")] = 5,
    figure: Annotated[Path | None, typer.Option(help="Draw the differences into this .png, .svg or .pdf.")] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Show these variants, whatever the other options say; nothing is asked. Repeatable."),
    ] = None,
    tokenizer: TokenizerOption = None,
    weights: Weights = None,
    dry_run: DryRun = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replace single tokens of every trace by the most likely other one, go on from there, and show what it does.

    The same command continues after any interruption and does nothing when all is there; more --positions or
    --replicates or a larger --n top up. Each kind of position, and other settings, are another variant, kept beside.
    """
    from extrap_eval.cli.following import ask, overrides, print_outcome, print_price, refuse_unfinished
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.replacement import effect_table, exchanged, plan_replacements

    opened = as_run(run)
    plans, report = [], None
    if not variant:
        plans = plan_replacements(
            opened,
            at=[each.value for each in at or []],
            positions=positions,
            replicates=replicates,
            share=share,
            seed=seed,
            answer_tokens=answer_tokens,
            n=n,
            sampling=overrides(temperature, top_p, top_k),
            tokenizer=tokenizer,
        )
        if dry_run:
            print_price(opened, plans, json_)
            return
        report = ask(opened, plans, choice, tokenizer=tokenizer, weights=weights, silent=json_ or quiet)
        refuse_unfinished(opened, report)
    names = variant or [plan.name for plan in plans]
    effects, tokens = effect_table(opened, names), exchanged(opened, names)
    if json_:
        tables = {"effects": effects, "by position": effect_table(opened, names, bins=bins), "tokens": tokens}
    else:
        tables = {_EFFECTS: readable_effects(effects), _TOKENS: readable_tokens(tokens)}
    print_outcome(opened, plans, report, tables, json_)
    if figure is not None:
        from extrap_eval.figures import replacement_effects, save_figure

        drawn = replacement_effects(effects, effect_table(opened, names, bins=bins))
        typer.echo(str(save_figure(drawn, figure)), err=json_)


_EFFECTS = "accuracy with a token replaced, minus without (%)"
_TOKENS = "what was replaced by what, most often"


def readable_effects(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.cli.following import percent

    return pd.DataFrame(
        [
            {
                "tokens": row["at"],
                "positions": int(row["positions"]),
                "without": percent(row["kept"], row["kept_low"], row["kept_high"]),
                "replaced": percent(row["replaced"], row["replaced_low"], row["replaced_high"]),
                "difference": percent(row["value"], row["low"], row["high"]),
            }
            for row in tidy.to_dict("records")
        ]
    )


def readable_tokens(tidy: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "tokens": row["at"],
                "token": repr(row["token"]),
                "replaced by": repr(row["other"]),
                "positions": int(row["positions"]),
                "difference": f"{100 * row['difference']:+.1f}",
            }
            for row in tidy.head(most).to_dict("records")
        ]
    )

"""``extrap-eval force``: what "Wait" is worth."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.engine_options import EngineChoice, with_engine_options
from extrap_eval.cli.following import (
    DryRun,
    Json,
    Quiet,
    Samples,
    Temperature,
    TokenizerOption,
    TopK,
    TopP,
    VariantOption,
    Weights,
)

if TYPE_CHECKING:
    import pandas as pd


class Mode(StrEnum):
    mrt = "mrt"
    s1 = "s1"


class PaperExact(StrEnum):
    open_thought = "open-thought"
    lost_pieces = "lost-pieces"
    full_cap = "full-cap"


@with_engine_options
def force(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    choice: EngineChoice,
    mode: Annotated[
        Mode,
        typer.Option(
            help="mrt: 8 extensions of 2048 tokens, strings in turn; s1: Wait in place of the end of the thought, 6 "
            "times, within a budget for all of it."
        ),
    ] = Mode.mrt,
    extensions: Annotated[int | None, typer.Option(min=0, help="How often the thought is extended.")] = None,
    string: Annotated[
        list[str] | None,
        typer.Option(help="What an extension begins with; repeatable, in turn [default: Wait, But wait, ...]."),
    ] = None,
    extension_tokens: Annotated[int | None, typer.Option(min=1, help="Cap on the tokens of one extension.")] = None,
    thinking_tokens: Annotated[
        int | None, typer.Option(min=1, help="Cap on the tokens of the whole thought [default: none; s1: the run's].")
    ] = None,
    answers_after: Annotated[
        str | None, typer.Option(help="Numbers of extensions, comma-separated [default: 0, 2, 4, ...].")
    ] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Answers after each of them.")] = 8,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Cap on the tokens of an answer.")] = 4096,
    final_text: Annotated[
        str | None,
        typer.Option(
            help="What forces an answer from a thought at its cap, or @FILE; {think_close} stands for the marker that "
            "closes the thought."
        ),
    ] = None,
    paper_exact: Annotated[
        list[PaperExact] | None,
        typer.Option(
            help="open-thought: answer without closing the thought; lost-pieces: an extension cut before its first "
            "blank line is lost; full-cap: every extension may use the whole cap again. Repeatable."
        ),
    ] = None,
    n: Samples = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    figure: Annotated[Path | None, typer.Option(help="Draw accuracy against tokens into this file.")] = None,
    audit_figure: Annotated[Path | None, typer.Option(help="Draw the Wait audit into this file.")] = None,
    variant: VariantOption = None,
    tokenizer: TokenizerOption = None,
    weights: Weights = None,
    dry_run: DryRun = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Extend every thought with "Wait", ask for answers on the way, and show accuracy by tokens and the Wait audit.

    The same command continues after any interruption and does nothing when all is there; more --replicates or a larger
    --n top up. Other settings are another variant, kept beside.
    """
    from extrap_eval.cli.following import (
        ask,
        overrides,
        print_outcome,
        print_price,
        refuse_unfinished,
        strings_of,
        text_of,
    )
    from extrap_eval.steps.forcing import plan_forcing
    from extrap_eval.steps.outcomes import as_run

    opened = as_run(run)
    if variant is not None:
        print_outcome(opened, [], None, _tables(run, variant, tidy=json_), json_)
        _draw(run, variant, figure, audit_figure, json_)
        return
    plan = plan_forcing(
        opened,
        mode=mode.value,
        strings=strings_of("--string", string),
        extensions=extensions,
        extension_tokens=extension_tokens,
        thinking_tokens=thinking_tokens,
        answers_after=numbers("--answers-after", answers_after),
        replicates=replicates,
        answer_tokens=answer_tokens,
        final_text=text_of("--final-text", final_text),
        paper_exact=[each.value for each in paper_exact or []],
        n=n,
        sampling=overrides(temperature, top_p, top_k),
        tokenizer=tokenizer,
    )
    if dry_run:
        print_price(opened, [plan], json_)
        return
    report = ask(opened, [plan], choice, tokenizer=tokenizer, weights=weights, silent=json_ or quiet)
    refuse_unfinished(opened, report)
    print_outcome(opened, [plan], report, _tables(run, plan.name, tidy=json_), json_)
    _draw(run, plan.name, figure, audit_figure, json_)


def numbers(option: str, text: str | None) -> list[int] | None:
    """``0,2,4`` -> [0, 2, 4]; None stays None."""
    from extrap_eval.errors import UserError

    if text is None:
        return None
    try:
        return [int(item) for item in text.split(",")]
    except ValueError:
        raise UserError(f"{option}: {text} is not a comma-separated list of whole numbers") from None


def _tables(run: Path, variant: str, *, tidy: bool) -> dict[str, pd.DataFrame]:
    from extrap_eval.steps.forcing import audit_table, forcing_table

    curve, audit = forcing_table(run, variant), audit_table(run, variant)
    if tidy:
        return {"extensions": curve, "audit": audit}
    tables = {"accuracy after w extensions": readable_curve(curve)}
    if len(audit):
        tables["Wait audit: what the extensions did to the answers"] = readable_audit(audit)
    return tables


def _draw(run: Path, variant: str, figure: Path | None, audit: Path | None, as_json: bool) -> None:
    from extrap_eval.steps.plot import plot_followed

    for kind, path in (("forcing", figure), ("wait", audit)):
        if path is not None:
            typer.echo(str(plot_followed(run, path, figure=kind, variant=variant)), err=as_json)


def readable_curve(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.cli.following import percent

    return pd.DataFrame(
        [
            {
                "w": int(row["w"]),
                "tokens": f"{row['tokens']:,.0f}",
                "cap": int(row["cap"]),
                "accuracy": percent(row["value"], row["low"], row["high"]),
            }
            for row in tidy.to_dict("records")
        ]
    )


def readable_audit(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.cli.following import percent

    return pd.DataFrame(
        [
            {
                "extensions": f"{row['before']} → {row['w']}",
                "traces": int(row["traces"]),
                "wrong → right": int(row["wrong_to_right_traces"]),
                "right → wrong": int(row["right_to_wrong_traces"]),
                "still right": int(row["stays_right_traces"]),
                "still wrong": int(row["stays_wrong_traces"]),
                "wrong otherwise": int(row["other_wrong_traces"]),
                "net": percent(row["net"], row["net_low"], row["net_high"]),
                "tokens": f"{row['tokens']:,.0f}",
            }
            for row in tidy.to_dict("records")
        ]
    )

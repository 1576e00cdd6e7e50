"""``extrap-eval verify``: can the model tell right answers from wrong ones?"""

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
    chat = "chat"
    continue_ = "continue"
    thought = "thought"


class VerdictPick(StrEnum):
    last = "last"
    first = "first"


@with_engine_options
def verify(
    run: Annotated[Path, typer.Argument(help="Run directory: its model judges.")],
    choice: EngineChoice,
    answers_of: Annotated[
        Path | None, typer.Option(help="Run on the same problems whose answers are judged [default: RUN itself].")
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="chat: a user turn of its own; continue: the text opens the thought about the problem; thought: the "
            "text follows the thought that gave the answer."
        ),
    ] = Mode.chat,
    text: Annotated[
        str | None,
        typer.Option(
            help="What asks for the judgement, or @FILE; {problem} and {answer} stand for these, {think_close} for the "
            "marker that closes the thought [default: asks for \\boxed{yes} or \\boxed{no}]."
        ),
    ] = None,
    yes: Annotated[
        str | None,
        typer.Option(
            help="Regular expression that says that the answer is right, where it matches the completion; {answer} "
            "stands for the answer [default: \\boxed{yes}]."
        ),
    ] = None,
    no: Annotated[str | None, typer.Option(help="The same for a wrong answer [default: \\boxed{no}].")] = None,
    pick: Annotated[
        VerdictPick, typer.Option(help="Which match is the verdict, where there are several.")
    ] = VerdictPick.last,
    answers: Annotated[
        int,
        typer.Option(min=1, help="At most so many different answers per problem, half of them right where there are."),
    ] = 4,
    replicates: Annotated[int, typer.Option(min=1, help="Judgements of each answer.")] = 4,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Cap on the tokens of a judgement.")] = 4096,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw verification against generation into this .png, .svg or .pdf.")
    ] = None,
    variant: VariantOption = None,
    tokenizer: TokenizerOption = None,
    weights: Weights = None,
    dry_run: DryRun = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Have the model judge answers, and set how well it does against how often it finds right ones itself.

    The same command continues after any interruption and does nothing when all is there; more --replicates top up.
    Other settings, and other answers after a top-up of the run, are another variant, kept beside.
    """
    from extrap_eval.cli.following import ask, overrides, print_outcome, print_price, refuse_unfinished, text_of
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.verification import plan_verification, problem_table, verification_table

    opened = as_run(run)
    plans, report = [], None
    if variant is None:
        plan = plan_verification(
            opened,
            answers_of=answers_of,
            mode=mode.value,
            text=text_of("--text", text),
            yes=yes,
            no=no,
            pick=pick.value,
            answers=answers,
            replicates=replicates,
            answer_tokens=answer_tokens,
            sampling=overrides(temperature, top_p, top_k),
            tokenizer=tokenizer,
        )
        if dry_run:
            print_price(opened, [plan], json_)
            return
        report = ask(opened, [plan], choice, tokenizer=tokenizer, weights=weights, silent=json_ or quiet)
        refuse_unfinished(opened, report)
        plans, variant = [plan], plan.name
    problems = problem_table(opened, variant)
    table = verification_table(problems)
    shown = {"verification": table, "problems": problems} if json_ else {_TITLE: readable(table)}
    print_outcome(opened, plans, report, shown, json_)
    if figure is not None:
        from extrap_eval.figures import save_figure, verification_against_generation

        typer.echo(str(save_figure(verification_against_generation(problems, table), figure)), err=json_)


_TITLE = "verification against generation (%)"


def readable(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.cli.following import percent

    return pd.DataFrame(
        [
            {
                "quantity": row["quantity"],
                "value": percent(row["value"], row["low"], row["high"]) if row["value"] == row["value"] else "–",
                "problems": int(row["problems"]),
                "judgements": int(row["judgements"]) or "",
            }
            for row in tidy.to_dict("records")
        ]
    )

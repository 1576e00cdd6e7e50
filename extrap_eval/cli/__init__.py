"""The ``extrap-eval`` command. Each file of this folder is one subcommand: parse, call a step, print."""

from __future__ import annotations

import sys

import typer

from extrap_eval.cli import (
    attempts,
    calibrate,
    cards,
    compare,
    demo,
    diversity,
    doctor,
    efficiency,
    episodes,
    force,
    importing,
    lengths,
    logprobs,
    plan,
    plot,
    probe,
    quality,
    regret,
    replace,
    report,
    reproduce,
    run,
    sample,
    score,
    slide,
    summary,
    table,
    unsolvable,
    verify,
)
from extrap_eval.errors import UserError

INTERRUPTED = 130  # exit code after Ctrl-C

app = typer.Typer(
    name="extrap-eval",
    help="Does a reasoning model keep getting better when it thinks longer than it was trained to?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("sample")(sample.sample)
app.command("score")(score.score)
app.command("table")(table.table)
app.command("plot")(plot.plot)
app.command("report")(report.report)
app.command("episodes")(episodes.episodes)
app.command("run")(run.run)
app.command("reproduce")(reproduce.reproduce)
app.command("probe")(probe.probe)
app.command("regret")(regret.regret)
app.command("force")(force.force)
app.command("slide")(slide.slide)
app.command("verify")(verify.verify)
app.command("replace")(replace.replace)
app.command("logprobs")(logprobs.logprobs)
app.command("efficiency")(efficiency.efficiency)
app.command("quality")(quality.quality)
app.command("lengths")(lengths.lengths)
app.command("compare")(compare.compare)
app.command("unsolvable")(unsolvable.unsolvable)
app.command("diversity")(diversity.diversity)
app.command("attempts")(attempts.attempts)
app.command("plan")(plan.plan)
app.command("summary")(summary.summary)
app.command("import")(importing.import_)
app.command("calibrate")(calibrate.calibrate)
app.command("doctor")(doctor.doctor)
app.add_typer(cards.app, name="cards")


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("extrap-eval"))
        raise typer.Exit


def main() -> None:
    """Entry point: one clear line and exit code 1 for anything the user can mend, 130 for Ctrl-C."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Newer versions of typer turn Ctrl-C into an exit of their own, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print("interrupted: what was finished is kept; the same command continues", file=sys.stderr)
        sys.exit(INTERRUPTED)

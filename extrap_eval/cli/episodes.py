"""``extrap-eval episodes``: how traces are made of episodes."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.terminal import PIPED_WIDTH, draw
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

    from extrap_eval.steps.episodes import Reading

PHRASES_HELP = "What opens an episode: phrases, with | between them [default: those of the model card]."
MIN_STEPS_HELP = "Steps an episode has at least before another may open [default: the model card's, 3 unless it says]."
CAP_HELP = "At most so many episodes per trace; the last one holds the rest."

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")  # of neighbouring episodes
_MARKS = "█▒░▓▚▞"  # of parts in a bar
_BAR = 50  # characters of the longest bar
_BINS = 20
# Everything that would move the cursor or change colours, written by a model or not; line breaks and tabs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class By(StrEnum):
    correct = "correct"
    difficulty = "difficulty"
    all = "all"


def episodes(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    phrases: Annotated[str | None, typer.Option(help=PHRASES_HELP)] = None,
    min_steps: Annotated[int | None, typer.Option(min=1, help=MIN_STEPS_HELP)] = None,
    cap: Annotated[int | None, typer.Option(min=1, help=CAP_HELP)] = None,
    by: Annotated[By, typer.Option(help="Parts of the distribution; only correct needs scores.")] = By.correct,
    trace: Annotated[str | None, typer.Option(help="Print one trace, coloured by episode: PROBLEM/SAMPLE.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the distribution into a .png, .svg or .pdf.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One record per trace (or per episode) as JSON.")] = False,
) -> None:
    """Show how many episodes the thoughts of a run have, or one trace with its episodes and boxes marked.

    A thought is split at blank lines into steps; a step that starts with one of the phrases opens a new episode.
    """
    from extrap_eval.steps import episodes as step

    rules = step.Rules(parse_phrases(phrases), min_steps, cap)
    if trace is not None:
        if figure is not None:
            raise UserError("--figure draws the distribution of a run, not a trace: leave out --trace or --figure")
        reading = step.read_trace(run, *parse_trace(trace), rules)
        typer.echo(_as_json(reading) if json_ else _printed(reading), color=None)
        return
    if by is By.correct:
        from extrap_eval.steps.score import ensure_scored

        ensure_scored(run)
    table = step.episode_table(run, rules, correct=by is By.correct)
    parts = step.with_parts(table, by.value)
    if json_:
        typer.echo(table.to_json(orient="records"))
    else:
        typer.echo(draw(step.summary(parts), title=f"{parts['model'].iloc[0]} on {parts['benchmark'].iloc[0]}"))
        typer.echo(histogram(parts))
    if figure is not None:
        from extrap_eval.figures import episode_histogram, save_figure

        typer.echo(str(save_figure(episode_histogram(parts), figure)), err=json_)


def parse_phrases(text: str | None) -> tuple[str, ...] | None:
    """``Wait|But wait`` -> ("Wait", "But wait"); None stays None."""
    if text is None:
        return None
    found = tuple(phrase for phrase in text.split("|") if phrase.strip())
    if not found:
        raise UserError(f"--phrases: {text!r} holds no phrase: give some with | between them, such as 'Wait|But wait'")
    return found


def parse_trace(text: str) -> tuple[str, int]:
    """``aime/7/3`` -> ("aime/7", 3)."""
    problem, slash, sample = text.rpartition("/")
    if not slash or not problem or not sample.isascii() or not sample.isdigit():
        raise UserError(f"--trace: {text} is not PROBLEM/SAMPLE, such as 7/0 for the first sample of problem 7")
    return problem, int(sample)


def histogram(parts: pd.DataFrame) -> str:
    """Bars of traces over numbers of episodes, one mark per part."""
    counts = parts["episodes"]
    step = max(1, -(-(int(counts.max()) - int(counts.min()) + 1) // _BINS))
    first = int(counts.min())
    names = list(dict.fromkeys(parts["part"]))
    rows = []
    for low in range(first, int(counts.max()) + 1, step):
        inside = parts[(counts >= low) & (counts < low + step)]["part"]
        rows.append(
            (f"{low}" if step == 1 else f"{low}–{low + step - 1}", [int((inside == name).sum()) for name in names])
        )
    most = max(sum(numbers) for _, numbers in rows)
    width = max(len(label) for label, _ in rows)
    lines = []
    for label, numbers in rows:
        ends = [round(_BAR * sum(numbers[: i + 1]) / max(most, _BAR)) for i in range(len(numbers))]
        bar = "".join(mark * (end - start) for mark, start, end in zip(_MARKS, [0, *ends[:-1]], ends, strict=False))
        lines.append(f"{label:>{width}} {bar}{' ' if bar else ''}{sum(numbers) or ''}".rstrip())
    if len(names) > 1:
        lines.append(" " * width + " " + "  ".join(f"{mark} {name}" for mark, name in zip(_MARKS, names, strict=False)))
    return "\n".join(["episodes, traces", *lines])


def _as_json(reading: Reading) -> str:
    import json

    found = reading.episodes
    return json.dumps(
        {
            "thought": {"start": reading.thought.start, "end": reading.thought.end, "closed": reading.thought.closed},
            "episodes": [
                {
                    "start": start,
                    "end": end,
                    "steps": steps,
                    "text": reading.data[slice(*span)].decode(errors="replace"),
                }
                for start, end, steps, span in zip(
                    found.starts.tolist(),
                    found.ends.tolist(),
                    found.steps.tolist(),
                    zip(reading.offsets[found.starts].tolist(), reading.offsets[found.ends].tolist(), strict=True),
                    strict=True,
                )
            ],
        },
        ensure_ascii=False,
    )


def _printed(reading: Reading) -> str:
    """The text with a heading over every episode; in a terminal coloured, elsewhere with boxes between ▶ and ◀."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(
        width=None if terminal else PIPED_WIDTH, color_system="auto" if terminal else None, highlight=False
    )
    with console.capture() as captured:
        console.print(_styled(reading, marks=not terminal), soft_wrap=not terminal)
    return captured.get().rstrip("\n")


def _styled(reading: Reading, *, marks: bool) -> Text:
    from rich.text import Text

    from extrap_eval.steps.episodes import pieces

    found = reading.episodes
    text = Text()
    before = -1
    for piece in pieces(reading):
        own = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", piece.text)
        if piece.episode != before:
            own = own.lstrip("\n")
            e = piece.episode
            name = "after the thought"
            if e >= 0:
                span = f"tokens {int(found.starts[e]) + 1} to {found.ends[e]}"
                name = f"episode {e + 1} of {len(found)}: {span}, {found.steps[e]} steps"
            text.rstrip()
            text.append(("\n\n" if text else "") + f"── {name} ──\n", "bold")
            before = e
        colour = "" if piece.episode < 0 else _COLOURS[piece.episode % len(_COLOURS)]
        if piece.boxed:
            text.append(f"▶{own}◀" if marks else own, f"bold reverse {colour}".strip())
        else:
            text.append(own, colour)
    return text

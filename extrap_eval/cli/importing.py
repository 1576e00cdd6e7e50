"""``extrap-eval import``: completions of another harness, as a run like any other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.store import Run


def import_(
    format: Annotated[
        Literal["lighteval", "qwen-math", "areal", "jsonl"],
        typer.Argument(
            help="lighteval: details .parquet, and results .json for the cap. qwen-math: .jsonl of the "
            "Qwen2.5-Math harness, .gz too. areal: rollout .jsonl files or their folder. jsonl: any JSON lines, "
            "with --field.",
            show_default=False,
        ),
    ],
    paths: Annotated[list[Path], typer.Argument(help="The log's files.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory.", show_default=False)],
    tokenizer: Annotated[
        str | None,
        typer.Option(help="The model's own tokenizer: folder or hub id [default: the model card's]."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model card (name or path), or any name.")] = None,
    gold: Annotated[
        str | None,
        typer.Option(
            help="Reference answers: a .json, .jsonl, .parquet or .csv of statements and answers, or a "
            "benchmark card (name or path) [default: those in the log]."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Cap under which the completions were made, if the log lacks it.")
    ] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples of every problem.")] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="For jsonl, NAME=PATH, repeatable: NAME is completion, token_ids, problem, gold, id, label, "
            "finish_reason or prompt; PATH is dotted, with numbers for places in lists, as responses.0."
        ),
    ] = None,
    kind: Annotated[
        Literal["math", "integer", "expression"] | None,
        typer.Option(help="Kind of the answers [default: the benchmark card's, or math]."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Import completions that another harness made.

    Exact token ids in the log are kept; text is tokenised once and stays the record. The run can then be scored
    and plotted like one sampled here. The authors' verdicts go into imported.parquet in the run.

    Example: extrap-eval import jsonl log.jsonl --field completion=responses.0 --field problem=question
    --field gold=answer --tokenizer Qwen/Qwen2.5-7B --max-tokens 8192 --out runs/log
    """
    from extrap_eval.steps.importing import import_run

    run = import_run(
        format,
        paths,
        out=out,
        tokenizer=tokenizer,
        gold=gold,
        model=model,
        max_tokens=max_tokens,
        fields=_fields(field or []),
        n=n,
        kind=kind,
    )
    facts = _facts(run)
    if json_:
        import json

        typer.echo(json.dumps(facts))
        return
    typer.echo(
        f"{run.path}: {facts['problems']} problems x {facts['samples_per_problem']} samples of {facts['model']}, "
        f"{facts['exact_token_ids']} with exact token ids, {facts['retokenized']} tokenised from text"
    )
    known = ", ".join(f"{count} by {how}" for how, count in facts["finish_known_by"].items())
    typer.echo(f"{facts['finished']} finished, {facts['cut']} were cut (known: {known})")
    typer.echo(f"next: extrap-eval score {run.path}")


def _fields(given: list[str]) -> dict[str, str]:
    fields = {}
    for pair in given:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise UserError(f"--field {pair}: is not NAME=PATH, such as completion=responses.0")
        if name in fields:
            raise UserError(f"--field {name}: is given twice")
        fields[name] = path
    return fields


def _facts(run: Run) -> dict[str, Any]:
    from extrap_eval.steps.importing import imported_table

    completions = list(run.completions(columns=()))
    sources = Counter(completion.token_source for completion in completions)
    reasons = Counter(completion.finish_reason for completion in completions)
    return {
        "run": str(run.path),
        "model": run.model_card.name,
        "problems": len(run.problems()),
        "samples_per_problem": run.n,
        "exact_token_ids": sources["engine"],
        "retokenized": sources["retokenized"],
        "finished": reasons["stop"],
        "cut": reasons["length"],
        "finish_known_by": dict(Counter(imported_table(run)["finish_known_by"])),
    }

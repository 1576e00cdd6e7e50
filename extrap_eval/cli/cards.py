"""``extrap-eval cards``: what ships, what a card says with its defaults, whether a card is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extrap_eval.cli.terminal import draw
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.cards.load import CardKind
    from extrap_eval.cards.schema import BenchmarkCard, ModelCard

app = typer.Typer(help="Model and benchmark cards.", no_args_is_help=True)


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """List the shipped cards."""
    from extrap_eval.cards.load import list_cards, load_benchmark_card, load_model_card

    models = [_model_row(path, load_model_card(path)) for path in list_cards("model")]
    benchmarks = [_benchmark_row(path, load_benchmark_card(path)) for path in list_cards("benchmark")]
    if json:
        import json as json_library

        typer.echo(json_library.dumps({"models": models, "benchmarks": benchmarks}, indent=2, ensure_ascii=False))
    else:
        shown = [
            {
                "card": r["card"],
                "id": r["hf_id"],
                "n": r["n"],
                "max tokens": r["max_new_tokens"],
                "B_tr": r["training_budget"],
            }
            for r in models
        ]
        typer.echo(draw(shown, "Model cards"))
        typer.echo(draw(benchmarks, "Benchmark cards"))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Card name, or path to a YAML file.")],
) -> None:
    """Print a card with every default filled in."""
    from extrap_eval.cards.load import dump_card, shown_path

    path = _find(name)
    typer.echo(f"# {shown_path(path)}\n{dump_card(_load(path))}", nl=False)


@app.command()
def check(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Cards to check, by name or path [default: all that ship].")
    ] = None,
) -> None:
    """Check cards, and the problems of those that generate them; exit code 1 if one is wrong."""
    from extrap_eval.cards.load import list_cards, shown_path

    names: list[str] | list[Path] = paths or [*list_cards("model"), *list_cards("benchmark")]
    wrong = 0
    for name in names:
        try:
            path = _find(name)
            typer.echo(f"{shown_path(path)}: {_checked(path)}")
        except UserError as error:
            typer.echo(str(error))
            wrong += 1
    if wrong:
        raise typer.Exit(1)


def _checked(path: Path) -> str:
    from extrap_eval.cards.schema import BenchmarkCard

    card = _load(path)
    if isinstance(card, BenchmarkCard) and card.source.generator is not None:
        from extrap_eval.problems.load import load_problems

        return f"ok, generates {len(load_problems(card))} problems"
    return "ok"


def _find(name: str | Path) -> Path:
    """A card of either kind."""
    from extrap_eval.cards.load import find_card, list_cards
    from extrap_eval.cards.schema import nearest

    kinds: tuple[CardKind, ...] = ("model", "benchmark")
    for kind in kinds:
        try:
            return find_card(kind, name)
        except UserError:
            if Path(name).suffix in (".yaml", ".yml"):
                raise
    known = [path.stem for kind in kinds for path in list_cards(kind)]
    raise UserError(
        f"no card is named {name}{nearest(str(name), known, 3) or '; extrap-eval cards list shows all'} "
        "(a path to a YAML file works too)"
    )


def _load(path: Path) -> ModelCard | BenchmarkCard:
    """The card in a file. Benchmark cards have a source, model cards do not."""
    from extrap_eval.cards.load import is_benchmark, load_benchmark_card, load_model_card

    return load_benchmark_card(path) if is_benchmark(path) else load_model_card(path)


def _model_row(path: Path, card: ModelCard) -> dict[str, Any]:
    return {
        "card": path.stem,
        "name": card.name,
        "hf_id": card.hf_id,
        "n": card.n,
        "max_new_tokens": card.max_new_tokens,
        "training_budget": card.training_budget.tokens if card.training_budget else None,
    }


def _benchmark_row(path: Path, card: BenchmarkCard) -> dict[str, Any]:
    return {
        "card": path.stem,
        "name": card.name,
        "source": str(card.source),
        "size": card.size,
        "kind": card.answer.kind,
        "licence": card.licence,
    }

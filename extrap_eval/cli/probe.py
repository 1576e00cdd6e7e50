"""``extrap-eval probe``: what the model would answer if its thought were cut here."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.engine_options import EngineChoice, with_engine_options
from extrap_eval.cli.episodes import CAP_HELP, MIN_STEPS_HELP, PHRASES_HELP, parse_phrases
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
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.steps.following import FollowPlan, FollowReport
    from extrap_eval.store import Run


class At(StrEnum):
    episodes = "episodes"
    budgets = "budgets"


@with_engine_options
def probe(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    choice: EngineChoice,
    at: Annotated[
        At, typer.Option(help="episodes: after every group of episodes; budgets: after so many tokens.")
    ] = At.episodes,
    n: Samples = None,
    replicates: Annotated[int, typer.Option(min=1, help="Answers to each probe.")] = 8,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Cap on the tokens of an answer.")] = 4096,
    group_size: Annotated[
        int | None, typer.Option(min=1, help="A probe after every so many episodes [default: 5].")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(min=1, help="Instead: so many groups per trace, as equal as can be.")
    ] = None,
    phrases: Annotated[str | None, typer.Option(help=PHRASES_HELP)] = None,
    min_steps: Annotated[int | None, typer.Option(min=1, help=MIN_STEPS_HELP)] = None,
    cap: Annotated[int | None, typer.Option(min=1, help=CAP_HELP)] = None,
    budgets: Annotated[
        str | None, typer.Option(help="With --at budgets: tokens, comma-separated [default: the benchmark's].")
    ] = None,
    probe_text: Annotated[
        str | None,
        typer.Option(
            help="What forces the answer, or @FILE; {think_close} stands for the marker that closes the thought "
            "[default: the probe of MRT, verbatim]."
        ),
    ] = None,
    paper_exact: Annotated[
        bool,
        typer.Option(
            "--paper-exact", help="Ask as MRT's released code does before the first episode and after the last."
        ),
    ] = False,
    search_prefix: Annotated[
        bool,
        typer.Option(
            "--search-prefix",
            help="In the table, where an answer has no box, count the last one in the thought, as MRT's code does.",
        ),
    ] = False,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Run of a model that answers the bare problem: its pass@k beside the probes.")
    ] = None,
    bins: Annotated[
        int | None, typer.Option(min=1, help="Traces of 1..BINS, BINS+1..2·BINS, … episodes apart [default: together].")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the probes into this .png, .svg or .pdf.")] = None,
    variant: VariantOption = None,
    tokenizer: TokenizerOption = None,
    weights: Weights = None,
    dry_run: DryRun = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Force an answer after every group of episodes of every trace, or at budgets, and show how good it is.

    The same command continues after any interruption and does nothing when all is there; more --replicates or a larger
    --n top up. Other settings (text, groups, cap, ...) are another variant, kept beside.
    """
    from extrap_eval.cli.following import ask, overrides, print_price, refuse_unfinished, text_of
    from extrap_eval.cli.table import parse_ints
    from extrap_eval.steps.outcomes import as_run
    from extrap_eval.steps.probe_curves import direct_baseline, forced_budgets, probe_votes
    from extrap_eval.steps.probes import plan_probes

    opened = as_run(run)
    for option, value in (("--baseline", baseline), ("--bins", bins), ("--search-prefix", search_prefix or None)):
        if value is not None and at is At.budgets:
            raise UserError(f"{option} belongs to --at episodes")
    # Before anything is asked, so that a baseline that does not fit costs nothing.
    direct = None if baseline is None or dry_run else direct_baseline(baseline, beside=opened)
    plans, report = [], None
    if variant is None:
        plan = plan_probes(
            opened,
            at=at.value,
            text=text_of("--probe-text", probe_text),
            replicates=replicates,
            answer_tokens=answer_tokens,
            n=n,
            group_size=group_size,
            groups=groups,
            phrases=parse_phrases(phrases),
            min_steps=min_steps,
            max_episodes=cap,
            budgets=parse_ints("--budgets", budgets),
            paper_exact=paper_exact,
            sampling=overrides(temperature, top_p, top_k),
            tokenizer=tokenizer,
        )
        if dry_run:
            print_price(opened, [plan], json_)
            return
        report = ask(opened, [plan], choice, tokenizer=tokenizer, weights=weights, silent=json_ or quiet)
        refuse_unfinished(opened, report)
        plans, variant = [plan], plan.name
    if at is At.budgets:
        tables = {_CUT: forced_budgets(opened, variant)}
    else:
        tables = {_VOTES: probe_votes(opened, variant, bin_width=bins, search_prefix=search_prefix)}
    if direct is not None:
        tables[_DIRECT] = direct
    _show(opened, plans, report, tables, figure, json_)


def _show(
    opened: Run,
    plans: Sequence[FollowPlan],
    report: FollowReport | None,
    tables: dict[str, pd.DataFrame],
    figure: Path | None,
    as_json: bool,
) -> None:
    """Print the tables, whose titles are those of ``_READABLE``, and draw the first one."""
    from extrap_eval.cli.following import print_outcome
    from extrap_eval.figures import probe_curves, save_figure
    from extrap_eval.steps.plot import two_ways_to_cut

    shown = tables if as_json else {title: _READABLE[title](table) for title, table in tables.items()}
    print_outcome(opened, plans, report, shown, as_json)
    if figure is None:
        return
    if _CUT in tables:
        drawn = two_ways_to_cut(opened, tables[_CUT])
    else:
        drawn = probe_curves(tables[_VOTES], direct=tables.get(_DIRECT))
    typer.echo(str(save_figure(drawn, figure)), err=as_json)


def readable_votes(tidy: pd.DataFrame) -> pd.DataFrame:
    """One row per bin and group, one column per p."""
    import pandas as pd

    from extrap_eval.cli.following import percent

    rows: dict[tuple[int, int], dict[str, object]] = {}
    apart = tidy["first"].nunique() > 1
    for cell in tidy.to_dict("records"):
        row = rows.setdefault(
            (cell["first"], cell["group"]),
            ({"trace episodes": f"{cell['first']}–{cell['last']}"} if apart else {})
            | {"j": cell["group"], "traces": cell["traces"], "episodes": f"{cell['episodes']:.1f}"},
        )
        if cell["p"] == 1:
            row["tokens"] = f"{cell['tokens']:,.0f}"
        row[f"maj@{cell['p']}"] = percent(cell["value"], cell["low"], cell["high"])
    return pd.DataFrame(list(rows.values()))


def readable_direct(tidy: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from extrap_eval.cli.following import percent

    return pd.DataFrame(
        [
            {
                "model": row["model"],
                "k": int(row["k"]),
                "tokens": f"{row['tokens']:,.0f}",
                "pass@k": percent(row["value"], row["low"], row["high"]),
            }
            for row in tidy.to_dict("records")
        ]
    )


def readable_budgets(tidy: pd.DataFrame) -> pd.DataFrame:
    """One row per budget, one column for each way to cut."""
    import pandas as pd

    from extrap_eval.cli.following import percent

    rows: dict[int, dict[str, object]] = {}
    for cell in tidy.to_dict("records"):
        row = rows.setdefault(int(cell["budget"]), {"budget": int(cell["budget"])})
        row[cell["semantics"]] = percent(cell["value"], cell["low"], cell["high"])
        if cell["semantics"] == "forced":
            row |= {"tokens": f"{cell['prefix_tokens']:,.0f}", "answer tokens": f"{cell['answer_tokens']:,.0f}"}
            row["had to be forced"] = f"{100 * cell['forced']:.0f} %"
    return pd.DataFrame(list(rows.values()))


_VOTES, _DIRECT, _CUT = "[maj@p] after j groups of episodes", "answered at once", "cut at budgets"
_READABLE = {_VOTES: readable_votes, _DIRECT: readable_direct, _CUT: readable_budgets}

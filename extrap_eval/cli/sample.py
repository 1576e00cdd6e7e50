"""``extrap-eval sample``: long completions, once, at the largest budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extrap_eval.cli.engine_options import EngineChoice, sayer, with_engine_options
from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.sampling.rollouts import SamplingReport
    from extrap_eval.steps.sample import SamplingPlan
    from extrap_eval.steps.servers import Preview
    from extrap_eval.store import Run

LOGPROBS_HELP = (
    "Ask for the log-probabilities of so many most probable tokens at every position (20 is what servers give), and "
    "keep each token's entropy, branching factor and covered mass [default: none; extrap-eval logprobs asks later]."
)


@with_engine_options
def sample(
    model: Annotated[str, typer.Option("--model", "-m", help="Model card (name or path), hub id, or folder.")],
    choice: EngineChoice,
    benchmark: Annotated[str | None, typer.Option("--benchmark", "-b", help="Benchmark card (name or path).")] = None,
    problems: Annotated[
        Path | None, typer.Option(help="JSON lines with problem and answer, instead of a benchmark card.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run directory [default: runs/MODEL__BENCHMARK].")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer folder or hub id [default: the card's].")] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Samples per problem [default: the card's].")] = None,
    budget_max: Annotated[
        int | None, typer.Option(min=1, help="Largest budget in completion tokens [default: the card's].")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first problems.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Override the card.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Override the card.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Override the card.")] = None,
    logprobs: Annotated[int | None, typer.Option(min=1, help=LOGPROBS_HELP)] = None,
    nodes: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run and --engine ray:...: suppose so many nodes, with --gpus each."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the first prompt and the price, send nothing.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no progress line.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")] = False,
) -> None:
    """Sample long completions once per problem and sample, into a run directory.

    The same command continues after any interruption; a larger --n tops up. Smaller budgets are cut from these
    completions later (extrap-eval table, plot), so the model is never asked twice.

    An API key, if the servers want one, is read from the environment variable EXTRAP_EVAL_API_KEY.
    """
    from extrap_eval.sampling.progress import progress_line
    from extrap_eval.sampling.rollouts import SamplingReport
    from extrap_eval.steps.sample import plan_sampling, prepare_run
    from extrap_eval.steps.sample import sample as sample_step

    overrides = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    plan = plan_sampling(
        model,
        benchmark,
        problems_file=problems,
        tokenizer=tokenizer,
        n=n,
        budget_max=budget_max,
        limit=limit,
        sampling={name: value for name, value in overrides.items() if value is not None},
        top_logprobs=logprobs or 0,
    )
    path = out or default_run_path(plan, limit)
    if nodes is not None and not dry_run:
        raise UserError("--nodes: only with --dry-run; a real cluster is asked for its nodes")
    if dry_run:
        _print_dry_run(plan, path, json_, _servers(plan, choice, nodes))
        return
    silent = json_ or quiet
    begun = prepare_run(plan, path) if path.exists() else None
    if begun is not None and not begun.missing():  # which needs no engine
        _finish(begun, SamplingReport(0, 0, 0.0, (), (), gave_up=False), json_)
        return
    engine, in_flight = choice.open(plan, path, say=sayer(silent))
    run = begun or prepare_run(plan, path)
    _warn_of_golds(plan)
    with progress_line(f"{plan.model.name} on {plan.benchmark.name}", silent=silent) as progress:
        report = sample_step(plan, run, engine, concurrency=in_flight, seed=choice.seeded, progress=progress)
    if choice.kind(plan) not in ("local", "markov"):
        _warn_of_copies(run)
    _finish(run, report, json_)


def default_run_path(plan: SamplingPlan, limit: int | None = None) -> Path:
    def slug(name: str) -> str:
        return "".join(c if c.isalnum() or c in "-._" else "-" for c in name).lower()

    first = f"-first{limit}" if limit else ""
    return Path("runs") / f"{slug(plan.model.name)}__{slug(plan.benchmark.name)}{first}"


def _servers(plan: SamplingPlan, choice: EngineChoice, nodes: int | None) -> Preview | None:
    """The servers that would be started, None where none would be."""
    from extrap_eval.steps.cluster import preview_cluster, served_on_ray
    from extrap_eval.steps.servers import SERVED_HERE, preview

    kind = choice.kind(plan)
    if (on_ray := served_on_ray(kind)) is not None:
        return preview_cluster(plan, on_ray, choice.server_options(), address=choice.ray_address, nodes=nodes)
    if nodes is not None:
        raise UserError(f"--nodes {nodes}: only with --engine ray:vllm or ray:sglang")
    return preview(plan, kind, choice.server_options()) if kind in SERVED_HERE else None


def _warn_of_golds(plan: SamplingPlan) -> None:
    from extrap_eval.steps.score import unreadable_golds

    for problem, reason in unreadable_golds(plan.problems).items():
        typer.echo(f"warning: problem {problem}: its reference answer cannot be read ({reason})", err=True)


def _warn_of_copies(run: Run) -> None:
    copies = run.copies()
    if copies:
        typer.echo(
            f"warning: {copies} completions repeat another one of the same problem token for token, so they are not "
            "independent samples: servers started with the same seed do that (vLLM's default is 0 everywhere); "
            "start each with its own --seed, or use --seeded, and sample into a new run",
            err=True,
        )


def _print_dry_run(plan: SamplingPlan, path: Path, as_json: bool, servers: Preview | None) -> None:
    from extrap_eval.store import open_run

    promised = len(plan.problems) * plan.n
    existing = len(open_run(path).keys("rollout")) if path.exists() else 0
    facts = {
        "run": str(path),
        "problems": len(plan.problems),
        "samples_per_problem": plan.n,
        "requests": promised - existing,
        "existing": existing,
        "prompt_tokens_max": plan.longest_prompt,
        "completion_tokens_max": (promised - existing) * plan.model.max_new_tokens,
        "logprobs": plan.top_logprobs,
        "first_prompt": plan.first_prompt,
        "first_prompt_token_ids": [int(i) for i in plan.prompts[plan.problems[0].id]],
    }
    if servers is not None:
        facts |= {"servers": [command for _, command in servers.servers], "assumed": list(servers.assumed)}
    if as_json:
        import json

        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{plan.model.name} on {plan.benchmark.name} -> {path}")
    typer.echo(
        f"{len(plan.problems)} problems x {plan.n} samples = {promised} completions, {existing} exist, "
        f"{promised - existing} to sample"
    )
    typer.echo(
        f"at most {plan.model.max_new_tokens:,} tokens each, {facts['completion_tokens_max']:,} in all; "
        f"longest prompt {plan.longest_prompt} tokens"
    )
    if plan.top_logprobs:
        typer.echo(
            f"with the log-probabilities of the {plan.top_logprobs} most probable tokens at each position, of which 8 "
            "bytes are kept"
        )
    if servers is not None:
        count = len(servers.servers)
        typer.echo(f"{count} server{'s' * (count != 1)} (port, seed and API key are drawn anew at every start):")
        for share, command in servers.servers:
            typer.echo(f"# {share}\n{command}")
        for note in servers.assumed:
            typer.echo(f"assumed: {note}")
    typer.echo("first prompt, exactly as it will be sent:")
    typer.echo(plan.first_prompt)


def _finish(run: Run, report: SamplingReport, as_json: bool) -> None:
    """Say what came of it; exit code 1 while something promised is missing."""
    if as_json:
        import json

        facts = {
            "run": str(run.path),
            "finished": report.finished,
            "missing": len(report.missing),
            "tokens": report.tokens,
            "seconds": round(report.seconds, 3),
            "failures": dict(report.reasons()),
            "replicas": [
                {
                    "server": replica.server,
                    "requests": replica.finished,
                    "tokens": replica.tokens,
                    "prompt_tokens": replica.prompt_tokens,
                    "cached_prompt_tokens": replica.cached_tokens,
                    "retries": replica.retries,
                }
                for replica in report.replicas
            ],
        }
        typer.echo(json.dumps(facts))
    else:
        typer.echo(f"{run.path}: {report.finished} sampled now, {len(report.missing)} missing")
        for reason, count in report.reasons()[:5]:
            typer.echo(f"  {count} x {reason}", err=True)
        if report.missing:
            shown = ", ".join(f"{problem}/{index}" for problem, index in report.missing[:8])
            more = " ..." if len(report.missing) > 8 else ""
            typer.echo(f"  missing: {shown}{more}; the same command samples them", err=True)
        else:
            typer.echo(f"next: extrap-eval table {run.path}")
    if report.missing:
        raise typer.Exit(1)

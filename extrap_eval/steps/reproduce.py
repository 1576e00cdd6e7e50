"""A published figure or table from its recipe: what it needs, what that costs, and what came of it beside the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.cards.load import load_benchmark_card, load_model_card
from extrap_eval.cards.recipe import RecipeFile, kinds_followed
from extrap_eval.errors import UserError
from extrap_eval.steps.outcomes import as_run
from extrap_eval.steps.points import Source, points
from extrap_eval.steps.prices import Cost, followed_cost
from extrap_eval.steps.references import against_reference, read_reference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from extrap_eval.cards.recipe import LogprobsStage, MoreFigures, SlideStage
    from extrap_eval.cards.schema import BenchmarkCard, ModelCard
    from extrap_eval.cards.study import ForceStage, ProbeStage, SampleStage
    from extrap_eval.engines.base import Engine
    from extrap_eval.sampling.progress import Progress
    from extrap_eval.steps.following import FollowPlan
    from extrap_eval.steps.sample import SamplingPlan
    from extrap_eval.store import Run

# Opens the engine of a run: its plan, its directory, the context that its requests need; with how many in flight.
OpenEngine = Callable[["SamplingPlan", Path, int], "tuple[Engine, int]"]
FIGURE_SUFFIXES = (".png", ".pdf")


@dataclass(frozen=True)
class Wanted:
    """A run that a recipe needs: whose, on what, how sampled, whether its thoughts are followed, and where it lies."""

    model: str
    benchmark: str
    stage: SampleStage
    follow: bool
    n: int
    path: Path
    recipe: RecipeFile

    @cached_property
    def model_card(self) -> ModelCard:
        return load_model_card(self.model)

    @cached_property
    def benchmark_card(self) -> BenchmarkCard:
        return load_benchmark_card(self.benchmark)

    @property
    def problems(self) -> int:
        """Problems of the benchmark that are asked. Raises UserError for a card that does not say how many it has."""
        size = self.benchmark_card.size
        if size is None:
            raise UserError(f"{self.benchmark}: size: unknown, so nothing can be priced: set it in the card")
        return min(size, self.stage.limit or size)

    @property
    def most_tokens(self) -> int:
        return self.stage.budget_max or self.model_card.max_new_tokens

    def opened(self) -> Run | None:
        return as_run(self.path) if self.path.exists() else None

    def sampled(self) -> int:
        """Completions of the first n samples that are there."""
        run = self.opened()
        return 0 if run is None else sum(index < self.n for _, index in sorted(run.keys()))

    @property
    def complete(self) -> bool:
        """Whether everything seems to be there: as many complete variants of each kind as there are stages of it."""
        run = self.opened()
        if run is None or self.sampled() < self.n * run.manifest.distribution["problems"]:
            return False
        stages = self.recipe.recipe.stages
        asked = Counter([f"probe-{probe.at}" for probe in stages.probe])
        asked += Counter({"force": len(stages.force), "slide": len(stages.slide)})
        asked += Counter({"logprobs": int(stages.logprobs is not None)})
        there = Counter(variant.kind for variant in run.variants() if variant.complete)
        return not self.follow or all(there[kind] >= count for kind, count in asked.items())


def wanted_runs(
    file: RecipeFile, folder: Path = Path("runs"), *, n: int | None = None, limit: int | None = None
) -> list[Wanted]:
    """The runs of a recipe and their directories in ``folder``; recipes that ask for the same share them.

    ``n``, ``limit``: fewer samples or problems than the recipe says. Raises UserError for a card that is not there.
    """
    found = []
    for runs in file.recipe.runs:
        stage = file.recipe.sampling(runs)
        stage = stage.model_copy(update={"limit": limit or stage.limit, "n": n or stage.n})
        for model in runs.models:
            card = load_model_card(model)
            path = folder / _file_name(card.name, load_benchmark_card(runs.benchmark).name, stage)
            found.append(Wanted(model, runs.benchmark, stage, runs.follow, stage.n or card.n, path, file))
    return found


def _file_name(model: str, benchmark: str, stage: SampleStage) -> str:
    """As ``extrap-eval sample`` names it, and what is sampled otherwise than the card says."""

    def slug(name: str) -> str:
        return "".join(c if c.isalnum() or c in "-._" else "-" for c in name).lower()

    changes = {
        "first": stage.limit,
        "t": stage.temperature,
        "p": stage.top_p,
        "top": stage.top_k,
        "max": stage.budget_max,
    }
    suffix = "".join(f"-{name}{value:g}" for name, value in changes.items() if value is not None)
    return f"{slug(model)}__{slug(benchmark)}{suffix}"


def cost(wanted: Wanted) -> Cost:
    """What is missing of a run, at most: every completion, answer and extension as long as it may be."""
    missing = wanted.problems * wanted.n - wanted.sampled()
    total = Cost(missing, missing * wanted.most_tokens)
    if wanted.follow:
        stages = wanted.recipe.recipe.stages
        asked: list[ProbeStage | ForceStage | SlideStage | LogprobsStage]
        asked = [*stages.probe, *stages.force, *stages.slide, *([stages.logprobs] if stages.logprobs else [])]
        for stage in asked if not wanted.complete else ():
            thoughts = wanted.problems * (stage.n or wanted.n)
            total += followed_cost(stage, wanted.most_tokens, wanted.recipe.name).times(thoughts)
    return total


def sample_missing(
    wanted: Wanted,
    open_engine: OpenEngine,
    *,
    tokenizer: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Source:
    """Sample, probe and extend what a run of a recipe misses, score it, and return it for drawing.

    Nothing is opened when all is there. Raises UserError as ``steps.sample`` and ``steps.following`` do, and when
    completions are missing at the end.
    """
    from extrap_eval.steps.following import context_needed, follow, is_complete
    from extrap_eval.steps.sample import plan_sampling, prepare_run, sample
    from extrap_eval.steps.score import ensure_scored

    stage = wanted.stage
    changes = {name: getattr(stage, name) for name in ("temperature", "top_p", "top_k")}
    plan = plan_sampling(
        wanted.model,
        wanted.benchmark,
        tokenizer=tokenizer,
        n=wanted.n,
        budget_max=stage.budget_max,
        limit=stage.limit,
        sampling={name: value for name, value in changes.items() if value is not None},
        top_logprobs=stage.logprobs or 0,
    )
    run = prepare_run(plan, wanted.path)
    plans = _follow_plans(wanted, run, tokenizer) if wanted.follow else []
    if run.missing() or not all(is_complete(run, each) for each in plans):
        needed = [plan.longest_prompt + plan.model.max_new_tokens, *(context_needed(run, each, True) for each in plans)]
        engine, in_flight = open_engine(plan, wanted.path, max(needed))
        if plans:
            done = follow(
                run,
                plans,
                engine,
                rollouts=True,
                concurrency=in_flight,
                seed=seed,
                top_logprobs=plan.top_logprobs,
                progress=progress,
            )
            missing, reasons = done.missing, done.reasons()
        else:
            sampled = sample(plan, run, engine, concurrency=in_flight, seed=seed, progress=progress)
            missing, reasons = len(sampled.missing), sampled.reasons()
        if missing:
            why = f" ({reasons[0][1]} x {reasons[0][0]})" if reasons else ""
            raise UserError(f"{wanted.path}: {missing} completions are missing{why}; the same command asks for them")
    ensure_scored(wanted.path)
    return Source(as_run(wanted.path), wanted.n, wanted.follow, tuple(each.name for each in plans), stage.limit)


def _follow_plans(wanted: Wanted, run: Run, tokenizer: str | None) -> list[FollowPlan]:
    from extrap_eval.steps.logprobs import plan_second_pass
    from extrap_eval.steps.sliding import plan_sliding
    from extrap_eval.steps.study import stage_plans

    stages = wanted.recipe.recipe.stages
    plans = stage_plans(stages, run, tokenizer)
    for slide in stages.slide:
        plans.append(plan_sliding(run, tokenizer=tokenizer, **slide.model_dump()))
    if stages.logprobs is not None:
        second_pass = plan_second_pass(run, top_logprobs=stages.logprobs.top, n=stages.logprobs.n)
        plans += [second_pass] if second_pass is not None else []
    return plans


def sources_from(file: RecipeFile, runs: Sequence[str | Path]) -> tuple[list[Source], list[str]]:
    """Scored runs that are there, for drawing; with notes on where they are less than the recipe asks for.

    A run is followed if it has what the figure needs, else it stands beside one that has. Raises UserError for what is
    no run, and when none has what the figure needs.
    """
    recipe, notes, found = file.recipe, [], []
    kinds = kinds_followed(recipe)
    asked = {
        (load_model_card(model).name, load_benchmark_card(runs_of.benchmark).name): (model, runs_of)
        for runs_of in recipe.runs
        for model in runs_of.models
    }
    for path in runs:
        run = as_run(path)
        wanted = asked.get((run.model_card.name, run.benchmark_card.name))
        n, limit = run.n, None
        if wanted is None:
            notes.append(f"{run.path}: {run.model_card.name} on {run.benchmark_card.name} is not of this recipe")
        else:
            stage = recipe.sampling(wanted[1])
            promised = stage.n or load_model_card(wanted[0]).n
            n, limit = min(run.n, promised), stage.limit
            if n < promised:
                notes.append(f"{run.path}: {n} samples per problem, where the recipe says {promised}")
            problems, size = run.manifest.distribution["problems"], run.benchmark_card.size
            if limit is not None and problems != limit:
                raise UserError(f"{run.path}: holds {problems} problems, but {file.name} is about the first {limit}")
            if limit is None and size is not None and problems < size:
                limit = problems
                notes.append(f"{run.path}: {problems} of {size} problems, so nothing is compared with the paper")
        followed = all(run.variants(kind) for kind in kinds)
        found.append(Source(run, n, followed, limit=limit))
    if kinds and found and not any(source.followed for source in found):
        commands = {"probe-episodes": "probe", "force": "force", "slide": "slide"}
        raise UserError(
            f"{found[0].run.path}: {file.name} needs what extrap-eval {commands[kinds[0]]} adds to a run: "
            f"extrap-eval {commands[kinds[0]]} {found[0].run.path}"
        )
    return found, notes


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What came of a recipe: our points, both beside each other (``steps.references.against_reference``), the files
    written, and one line for everything that is not as the recipe or the paper has it.
    """

    points: pd.DataFrame
    table: pd.DataFrame
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def reproduce(file: RecipeFile, sources: Sequence[Source], out: Path, notes: Sequence[str] = ()) -> Reproduction:
    """Draw a recipe's figure from runs over the published values, and write it (PNG and PDF), the points and the table
    beside the paper (CSV) into the folder ``out``; there also the further panels that the runs can show (PNG and PDF).
    """
    from extrap_eval.figures import save_figure
    from extrap_eval.store.atomic import write_bytes

    ours, more = points(file.recipe, sources)
    paper = published(file)
    table = against_reference(ours, paper)
    trained = training_budgets(file, [source.run for source in sources])
    drawn = draw(file, ours, paper, trained)
    out.mkdir(parents=True, exist_ok=True)
    files = [save_figure(drawn, out / f"figure{suffix}") for suffix in FIGURE_SUFFIXES]
    for name, rows in (("points", ours), ("table", table)):
        write_bytes(out / f"{name}.csv", rows.to_csv(index=False, float_format="%.6g").encode())
        files.append(out / f"{name}.csv")
    lacking = []
    for name in file.recipe.also:
        try:
            panel = _panel(name, sources)
        except UserError as error:
            lacking.append(f"figure_{name} is not drawn: {error}")
            continue
        files += [save_figure(panel, out / f"figure_{name}{suffix}") for suffix in FIGURE_SUFFIXES]
    return Reproduction(ours, table, tuple(files), (*notes, *more, *lacking, *file.recipe.not_yet))


def _panel(name: MoreFigures, sources: Sequence[Source]) -> Figure:
    """Of the samples that all runs have. Raises UserError for what the runs cannot show."""
    from extrap_eval.steps import plot

    runs, n = [source.run for source in sources], min(source.n for source in sources)
    if name != "entropy":
        return plot.draw(runs, figure=name, n=n)
    from extrap_eval.figures import distributions_by_position
    from extrap_eval.steps.logprobs import position_table

    passes = [[v.promise["samples"] for v in run.variants("logprobs") if v.complete] for run in runs]
    return distributions_by_position(position_table(runs, n=min(n, *(max(read, default=n) for read in passes))))


def draw_published(file: RecipeFile, out: Path) -> Path | None:
    """Redraw the published values alone in our style; None, and no file, where there are none."""
    from extrap_eval.figures import save_figure

    paper = published(file)
    if not len(paper):
        return None
    return save_figure(draw(file, paper[:0], paper, {}), out)


def draw(file: RecipeFile, ours: pd.DataFrame, paper: pd.DataFrame, trained: dict[str, float]) -> Figure:
    from extrap_eval.figures import reproduction

    whose = f"{file.name}: {file.recipe.paper}"
    title = whose if len(ours) else f"{whose}\nThe paper's numbers, redrawn: nothing of this was measured here"
    return reproduction(ours, paper, title=title, trained=trained)


def published(file: RecipeFile) -> pd.DataFrame:
    """The published values of a recipe, an empty table where there are none."""
    import pandas as pd

    from extrap_eval.steps.references import REFERENCE_COLUMNS

    if file.reference is None:
        return pd.DataFrame(columns=[*REFERENCE_COLUMNS, "low", "high"])
    return read_reference(file.reference)


def training_budgets(file: RecipeFile, runs: Sequence[Run] = ()) -> dict[str, float]:
    """Training budgets in tokens by model name, of the recipe's models and of runs."""
    cards = [load_model_card(model) for group in file.recipe.runs for model in group.models]
    cards += [run.model_card for run in runs]
    return {card.name: float(card.training_budget.tokens) for card in cards if card.training_budget is not None}

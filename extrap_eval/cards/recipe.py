"""What a recipe may say: which runs a published figure or table needs, and how it is drawn from them.

A recipe is ``results/NAME/recipe.yaml``, a YAML file like a card: every field, its type and its range is here, and an
unknown field is an error. Beside it may lie ``reference.csv``, the published values (``steps.references``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from extrap_eval.cards.load import read_yaml, shown_path
from extrap_eval.cards.messages import card_error
from extrap_eval.cards.schema import Count, Part, Text, must, nearest
from extrap_eval.cards.study import CardName, SampleStage, Stages
from extrap_eval.errors import UserError

FigureName = Literal[
    "budgets",
    "pass-at-k",
    "scores",
    "votes",
    "lengths",
    "probes",
    "progress",
    "regret",
    "regret-groups",
    "grid",
    "episodes",
    "forcing",
    "thinking",
    "slide",
]
# What a figure draws needs more than the completions of its runs.
NEEDS_PROBES = ("probes", "progress", "regret", "regret-groups", "grid")
NEEDS_FORCING = ("forcing", "thinking")
# Drawn beside it as ``extrap-eval plot`` draws them.
MoreFigures = Literal["unsolvable", "diversity", "entropy"]


class SlideStage(Part):
    """``extrap-eval slide``, with the names of its options."""

    mode: Literal["linear", "parallel"]
    n: Count | None = None
    episodes: Count | None = None
    window_tokens: Count | None = None
    episode_tokens: Count | None = None
    replicates: Count = 1
    answer_tokens: Count = 4096


class LogprobsStage(Part):
    """``extrap-eval logprobs``: the first n samples are read once more; null: all."""

    n: Count | None = None
    top: Count | None = None


class RecipeStages(Stages):
    """What is done to every model of the recipe that is followed."""

    slide: list[SlideStage] = Field(default_factory=list)
    logprobs: LogprobsStage | None = None


class RecipeRuns(Part):
    """Models on one benchmark: one run each."""

    models: Annotated[list[CardName], must(bool, "is empty")]
    benchmark: CardName
    follow: bool = True  # False: sampled only, such as a model that answers the bare problem beside the probed one
    sample: SampleStage | None = None  # instead of the recipe's


class Recipe(Part):
    """One published figure or table. ``paper``: whose, and which; ``question``: what it answers, in one line.

    ``budgets``, ``ks``: what is shown (None: the default of the runs). ``bins``: numbers of episodes in one bin.
    ``panels``: one panel per benchmark with a line per model, or the other way round. ``protocol``: the sound reading
    of a protocol, or the paper's own arithmetic where both exist. ``also``: further panels of the published figure,
    each drawn into a file of its own. ``not_yet``: parts of it that cannot be computed, one line each.
    """

    paper: Text
    question: Text
    figure: FigureName
    runs: Annotated[list[RecipeRuns], must(bool, "is empty")]
    stages: RecipeStages = RecipeStages()
    budgets: list[Count] | None = None
    ks: list[Count] | None = None
    bins: Count | None = None
    panels: Literal["benchmark", "model"] = "benchmark"
    protocol: Literal["sound", "paper-exact"] = "sound"
    also: list[MoreFigures] = Field(default_factory=list)
    not_yet: list[Text] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_what_it_draws(self) -> Self:
        needed = {"probe": NEEDS_PROBES, "force": NEEDS_FORCING, "slide": ("slide",)}
        for stage, figures in needed.items():
            if self.figure in figures and not getattr(self.stages, stage):
                raise ValueError(f"stages: figure {self.figure} needs a stage {stage}")
        if "entropy" in self.also and self.stages.logprobs is None:
            raise ValueError("also: entropy needs a stage logprobs")
        if not any(runs.follow for runs in self.runs):
            raise ValueError("runs: none of them is followed: leave out follow: false where it is")
        return self

    def sampling(self, runs: RecipeRuns) -> SampleStage:
        return runs.sample or self.stages.sample


@dataclass(frozen=True)
class RecipeFile:
    """A recipe and where it lies. ``name``: that of its folder, or of a file that has another name than recipe.yaml."""

    name: str
    path: Path
    recipe: Recipe

    @property
    def reference(self) -> Path | None:
        """The published values, None where none were read off the paper."""
        path = self.path.with_name("reference.csv")
        return path if path.is_file() else None


def kinds_followed(recipe: Recipe) -> tuple[str, ...]:
    """The kinds of variants that a figure cannot be drawn without."""
    if recipe.figure in NEEDS_PROBES:
        return ("probe-episodes",)
    if recipe.figure in NEEDS_FORCING:
        return ("force",)
    return ("slide",) if recipe.figure == "slide" else ()


def list_recipes(package: Path = Path(__file__).parent) -> list[Path]:
    """The shipped recipes, by name: inside an installed package, or in ``results`` at the top of a checkout."""
    installed = package / "shipped" / "results"
    folder = installed if installed.is_dir() else package.parents[1] / "results"
    return sorted(folder.glob("*/recipe.yaml"))


def load_recipe(name_or_path: str | Path) -> RecipeFile:
    """A shipped recipe by name, or any by path. Raises UserError, naming file, field and value, or near names."""
    given = Path(name_or_path)
    path = given
    if given.suffix not in (".yaml", ".yml"):
        shipped = {each.parent.name: each for each in list_recipes()}
        if str(name_or_path) not in shipped:
            hint = nearest(str(name_or_path), list(shipped), number=3) or "; extrap-eval reproduce --list shows all"
            raise UserError(f"no recipe is named {name_or_path}{hint} (a path to a YAML file works too)")
        path = shipped[str(name_or_path)]
    where = shown_path(path)
    values = read_yaml(path, where)
    try:
        recipe = Recipe.model_validate(values, context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise card_error(where, error, Recipe) from None
    return RecipeFile(path.absolute().parent.name if path.name == "recipe.yaml" else path.stem, path, recipe)

"""What a study file may say: which models are asked what, on which benchmark.

A study is a YAML file like a card: every field, its type and its range is here, and an unknown field is an error. What
is left out has the default of the command that does it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, model_validator

from extrap_eval.cards.load import read_yaml, shown_path
from extrap_eval.cards.messages import card_error
from extrap_eval.cards.schema import CardPath, Count, Part, Text, must, resolve


def _beside(value: str, info: ValidationInfo) -> str:
    """A YAML file is looked for beside the study; a name or hub id stays as it is."""
    return resolve(value, info) if value.endswith((".yaml", ".yml")) else value


CardName = Annotated[Text, AfterValidator(_beside)]


class Drawn(Part):
    """How tokens are drawn. What is null comes from the model card, or from the traces that are gone on from."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    def sampling(self) -> dict[str, float | int]:
        """Those that are not null."""
        return {name: value for name in Drawn.model_fields if (value := getattr(self, name)) is not None}


DRAWN = tuple(Drawn.model_fields)


class SampleStage(Drawn):
    """``extrap-eval sample``. What is null comes from the model card."""

    n: Count | None = None
    budget_max: Count | None = None
    limit: Count | None = None  # only the first problems
    logprobs: Count | None = None  # most probable tokens of which distributions are made; null: none


class ProbeStage(Drawn):
    """``extrap-eval probe``, with the names of its options."""

    at: Literal["episodes", "budgets"] = "episodes"
    n: Count | None = None
    replicates: Count = 8
    answer_tokens: Count = 4096
    group_size: Count | None = None
    groups: Count | None = None
    phrases: list[Text] | None = None
    min_steps: Count | None = None
    cap: Count | None = None
    budgets: list[Count] | None = None
    probe_text: Text | None = None
    paper_exact: bool = False


class ForceStage(Drawn):
    """``extrap-eval force``, with the names of its options."""

    mode: Literal["mrt", "s1"] = "mrt"
    n: Count | None = None
    strings: list[Text] | None = None
    extensions: Annotated[int, must(lambda w: w >= 0, "is negative")] | None = None
    extension_tokens: Count | None = None
    thinking_tokens: Count | None = None
    answers_after: list[int] | None = None
    replicates: Count = 8
    answer_tokens: Count = 4096
    final_text: Text | None = None
    paper_exact: list[Literal["open-thought", "lost-pieces", "full-cap"]] = Field(default_factory=list)


def _everywhere() -> list[Literal["early", "late", "random"]]:
    return ["early", "late", "random"]


class ReplaceStage(Drawn):
    """``extrap-eval replace``, with the names of its options; entropies are not known while traces are sampled."""

    at: list[Literal["early", "late", "random"]] = Field(default_factory=_everywhere)
    n: Count | None = None
    positions: Count = 4
    replicates: Count = 4
    share: Annotated[float, must(lambda s: 0 < s <= 1, "is not in (0, 1]")] = 0.2
    seed: Annotated[int, must(lambda s: s >= 0, "is negative")] = 0
    answer_tokens: Count | None = None


class Stages(Part):
    """What is done, in one graph: probes and extensions of a finished trace are asked while others are sampled."""

    sample: SampleStage = SampleStage()
    probe: list[ProbeStage] = Field(default_factory=list)
    force: list[ForceStage] = Field(default_factory=list)
    replace: list[ReplaceStage] = Field(default_factory=list)


class StudyModel(Part):
    """One model: its card (name, or path of a YAML file), hub id or folder, and where it is served."""

    model: CardName
    tokenizer: Text | None = None
    engine: Literal["vllm", "sglang", "http", "local", "markov"] | None = None
    endpoints: list[Text] = Field(default_factory=list)
    served_model: Text | None = None
    sample: SampleStage | None = None  # instead of the study's


class Study(Part):
    """Models × one benchmark × stages."""

    name: Text
    benchmark: CardName
    out: CardPath  # folder for the run directories, one per model; relative to the study file
    models: Annotated[list[StudyModel], must(bool, "is empty")]
    stages: Stages = Stages()

    @model_validator(mode="after")
    def _different_models(self) -> Self:
        names = [model.model for model in self.models]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"models: {name} is named {names.count(name)} times")
        return self


def load_study(path: str | Path) -> Study:
    """Read a study file. Raises UserError, naming file, field and value, when it is missing or invalid."""
    path = Path(path)
    where = shown_path(path)
    values = read_yaml(path, where)
    try:
        return Study.model_validate(values, context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise card_error(where, error, Study) from None

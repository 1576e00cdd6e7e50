"""What a model card and a benchmark card may say.

Both are YAML files; every field, its type and its range is here, and an unknown field is an error. A field
whose value is not known is null.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

# The evaluation prompt of e3 (arXiv 2506.09026, box A.1).
DEFAULT_PROMPT = (
    "You will be given a math problem. Solve the problem step by step. "
    "Output your final answer in the form of \\boxed{your answer}. Problem: {problem}"
)
# Budgets of e3, figures 2, 7, 9 and 11.
DEFAULT_BUDGETS = (4096, 8192, 16384, 32768)
# What opens a new episode in MRT (arXiv 2503.07572, section 5).
DEFAULT_PHRASES = (
    "Wait",
    "But wait",
    "Alternatively",
    "Is there another way to think about this?",
    "But let me double-check",
    "But hold on",
)

# Words with which reasoning models announce that they check what they have; no paper lists those it counted.
DEFAULT_CHECKS = (
    "let me check",
    "let's check",
    "let me verify",
    "let's verify",
    "let me confirm",
    "let me test",
    "let me double-check",
    "let me double check",
    "let me recheck",
    "to verify",
    "double-check",
    "double check",
    "plug it back",
    "plugging back",
    "verification:",
)


def must(test: Callable[[Any], object], otherwise: str) -> AfterValidator:
    """A field whose value fails the test is refused with ``VALUE otherwise``."""

    def check(value: Any) -> Any:
        if not test(value):
            raise ValueError(f"{value!r} {otherwise}")
        return value

    return AfterValidator(check)


def resolve(value: str, info: ValidationInfo) -> str:
    """A path in a card is relative to the card's folder, so that a resolved card works from anywhere."""
    path = Path(value).expanduser()
    folder = (info.context or {}).get("folder")
    return str(Path(folder, path).absolute()) if folder is not None else str(path)


Text = Annotated[str, must(str.strip, "is empty")]
Count = Annotated[int, must(lambda n: n > 0, "is not a positive whole number")]
CardPath = Annotated[Text, AfterValidator(resolve)]


class Part(BaseModel):
    """A mapping in a YAML file: an unknown field is an error, and so is a value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Chat(Part):
    """How a problem becomes the model's prompt."""

    system: str | None = None
    kwargs: dict[str, Any] = {}  # passed to the chat template, such as enable_thinking
    template: CardPath | None = None  # a jinja file instead of the tokenizer's own template


class Think(Part):
    """The markers around the thought, and whether the prompt already holds the first one."""

    open: Text
    close: Text
    opened_by_prompt: bool


class Sampling(Part):
    temperature: Annotated[float, must(lambda t: t >= 0, "is negative")] = 0.6
    top_p: Annotated[float, must(lambda p: 0 < p <= 1, "is not in (0, 1]")] = 0.95
    top_k: Annotated[int, must(lambda k: k == -1 or k > 0, "is neither -1 (off) nor positive")] = -1


class TrainingBudget(Part):
    """B_tr: the longest completion, in tokens, that the model was trained on."""

    tokens: Count
    source: Text
    stages: list[Count] = []  # budgets of the stages of training, in order; the last one is ``tokens``

    @model_validator(mode="after")
    def _last_stage(self) -> Self:
        if self.stages and self.stages[-1] != self.tokens:
            raise ValueError(f"stages: the last one is {self.stages[-1]}, but tokens is {self.tokens}")
        return self


class Episodes(Part):
    """Which steps of a thought open a new episode (MRT section 5)."""

    phrases: Annotated[list[Text], must(bool, "is empty")] = list(DEFAULT_PHRASES)
    min_steps: Count = 3


class Verification(Part):
    """What a model says when it verifies (e3's chained asymmetries); found anywhere in a thought, in any case."""

    phrases: Annotated[list[Text], must(bool, "is empty")] = list(DEFAULT_CHECKS)


def _captures_one(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"{pattern!r} has {groups} groups: give exactly one, around the answer that is tried")
    return pattern


class Attempts(Part):
    """How the answers that a trace tries are written: a regular expression whose one group is the answer."""

    pattern: Annotated[Text, AfterValidator(_captures_one)]


class EngineSettings(Part):
    """How the model is served; changes speed, never the distribution of completions."""

    dtype: Text | None = None
    tensor_parallel: Count = 1
    gpu_memory_fraction: Annotated[float, must(lambda f: 0 < f <= 1, "is not in (0, 1]")] | None = None
    extra_args: list[str] = []


class ModelCard(Part):
    """Who is asked, and how."""

    name: Text
    hf_id: Text | None = None
    revision: Text | None = None
    tokenizer: Text | None = None  # hub id or path, by default ``hf_id``; package:markov is the shipped one
    chat: Chat = Chat()
    think: Think | None = None
    end_tokens: list[Text] = []
    sampling: Sampling = Sampling()
    n: Count = 16
    max_new_tokens: Count = 32768
    max_model_len: Count | None = 40960
    training_budget: TrainingBudget | None = None
    episodes: Episodes = Episodes()
    verification: Verification = Verification()
    attempts: Attempts | None = None  # by default what is boxed, or what the problems call for
    engine: EngineSettings = EngineSettings()
    policy: dict[str, int | float | bool] | None = None  # fields of the markov engine's MarkovPolicy
    notes: str | None = None

    @field_validator("policy")
    @classmethod
    def _policy(cls, policy: dict[str, int | float | bool] | None) -> dict[str, int | float | bool] | None:
        if policy is None:
            return None
        from dataclasses import fields

        from extrap_eval.engines.markov.policy import MarkovPolicy

        known = [field.name for field in fields(MarkovPolicy)]
        for name in policy:
            if name not in known:
                raise ValueError(f"{name}: unknown field{nearest(name, known)}")
        MarkovPolicy(**policy)  # type: ignore[arg-type]
        return policy

    @model_validator(mode="after")
    def _room_for_a_prompt(self) -> Self:
        if self.max_model_len is not None and self.max_new_tokens >= self.max_model_len:
            raise ValueError(
                f"max_new_tokens: {self.max_new_tokens} leaves no room for a prompt within max_model_len "
                f"{self.max_model_len}"
            )
        return self


class Fields(Part):
    """Which column holds what. A dotted path goes into nested columns; numbers in it are places in lists."""

    id: Text | None = None  # null: the row's number, from 0
    problem: Text = "problem"
    problem_suffix: Text | None = None  # an instruction that ends every problem and is cut off
    answer: Text | None = None
    answer_from_solution: Text | None = None  # instead of ``answer``: the last \boxed{...} of this column
    difficulty: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_answer(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("answer") is None and data.get("answer_from_solution") is None:
            return {**data, "answer": "answer"}
        return data

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if self.answer is not None and self.answer_from_solution is not None:
            raise ValueError("answer: give answer or answer_from_solution, one of the two")
        return self


class Source(Part):
    """Where problems come from: exactly one of a hub dataset, a local file, a generator."""

    hf: Text | None = None
    revision: Text | None = None
    config: Text | None = None
    split: Text | None = None
    file: CardPath | None = None  # .jsonl, .json, .parquet or .csv
    generator: Literal["countdown", "multiplication", "hidden_number", "residue_search"] | None = None
    args: dict[str, Any] = {}
    fields: Fields | None = None  # where this source's columns differ from the card's

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in ("hf", "file", "generator") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            given = " and ".join(kinds) or "none"
            raise ValueError(f"give exactly one of hf, file, generator; there is {given}")
        if self.hf is not None and self.split is None:
            raise ValueError("split: missing; a hub dataset needs one, such as train or test")
        if self.hf is None and (self.revision or self.config or self.split):
            raise ValueError(f"revision, config and split belong to hf, not to {kinds[0]}")
        if self.generator is None and self.args:
            raise ValueError(f"args: they belong to generator, not to {kinds[0]}")
        if self.generator is not None and self.fields is not None:
            raise ValueError("fields: a generator has no columns")
        return self

    def __str__(self) -> str:
        if self.hf is not None:
            pinned = f"@{self.revision}" if self.revision else ""
            return f"{self.hf}{pinned} ({', '.join(filter(None, (self.config, self.split)))})"
        return self.file or f"generator {self.generator}"


class Filter(Part):
    """Keeps a row if its ``field`` meets every condition given here; numbers compare as numbers."""

    field: Text
    equals: str | int | float | bool | None = None
    in_: list[str | int | float | bool] | None = Field(default=None, alias="in")
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if self.equals is None and self.in_ is None and self.min is None and self.max is None:
            raise ValueError("give at least one of equals, in, min, max")
        return self


class Take(Part):
    """The first ``counts[value]`` rows, in the dataset's order, for each value of ``field``."""

    field: Text
    counts: Annotated[dict[str | int | float, Count], must(bool, "is empty")]


class Answer(Part):
    kind: Literal["integer", "math", "expression"] = "math"


class BenchmarkCard(Part):
    """What is asked."""

    name: Text
    source: Source
    fallbacks: list[Source] = []  # tried in order when ``source`` cannot be had
    fields: Fields = Fields()
    filters: list[Filter] = []
    take: Take | None = None
    prompt: Annotated[str, must(lambda p: "{problem}" in p, "does not contain {problem}")] = DEFAULT_PROMPT
    answer: Answer = Answer()
    licence: Text | None = None
    size: Count | None = None
    sha256: Annotated[str, must(re.compile("[0-9a-f]{64}").fullmatch, "is not 64 hex digits")] | None = None
    budgets: list[Count] = list(DEFAULT_BUDGETS)
    attempts: Attempts | None = None  # goes before the model card's
    notes: str | None = None

    @field_validator("budgets")
    @classmethod
    def _ascending(cls, budgets: list[int]) -> list[int]:
        if not budgets or sorted(set(budgets)) != budgets:
            raise ValueError(f"{budgets} is not a list of growing token counts")
        return budgets

    @model_validator(mode="after")
    def _no_columns(self) -> Self:
        if self.source.generator is not None and (self.filters or self.take):
            raise ValueError("filters and take choose among a dataset's rows; a generator has args instead")
        return self


def nearest(word: str, known: list[str], number: int = 1) -> str:
    """``"; did you mean a or b?"``, or ``""`` if nothing is near."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=number, cutoff=0.5)
    return f"; did you mean {' or '.join(by_lower[name] for name in close)}?" if close else ""

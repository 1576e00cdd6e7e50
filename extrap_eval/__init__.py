"""extrap-eval: does a reasoning model keep getting better when it thinks longer than it was trained to?

The same steps as the ``extrap-eval`` command, as functions on paths and DataFrames, for notebooks::

    import extrap_eval as ee

    plan = ee.plan_sampling("markov", "hidden_number", n=16)         # cards -> problems -> prompt token ids
    run = ee.prepare_run(plan, "runs/first")                         # create or re-open the run directory
    ee.sample(plan, run, ee.open_engine("markov", plan, max_in_flight=256))
    ee.score("runs/first")                                           # answers, verdicts, equivalence classes
    ee.curve("runs/first", budgets=[1024, 2048, 4096], ks=[1, 4])    # tidy DataFrame with intervals
    ee.extrapolation("runs/first")                                   # gain from B_tr to 2·B_tr, with a verdict
    ee.compare("runs/first", "runs/second")                          # paired differences at every budget
    ee.plot(["runs/first", "runs/second"], "curve.svg")

    run = ee.open_run("runs/first")                                  # reading: cards, problems, completions
    for completion in run.completions(columns=["token_ids"]):
        ...

    ee.import_run("lighteval", ["details.parquet"], out="runs/imported", tokenizer="path/to/tokenizer")

Every error a user can mend is an ``extrap_eval.UserError`` with a one-line message.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from extrap_eval.errors import UserError

if TYPE_CHECKING:
    from extrap_eval.steps.compare import compare
    from extrap_eval.steps.curves import curve, curves, extrapolation, outcome_table, outcomes, sensitivity
    from extrap_eval.steps.importing import import_run
    from extrap_eval.steps.plot import plot
    from extrap_eval.steps.sample import open_engine, plan_sampling, prepare_run, sample
    from extrap_eval.steps.score import score
    from extrap_eval.store import open_run

# Where each public name lives; imported on first use, so that ``import extrap_eval`` costs nothing.
_HOMES = {
    "open_run": "extrap_eval.store",
    "plan_sampling": "extrap_eval.steps.sample",
    "prepare_run": "extrap_eval.steps.sample",
    "open_engine": "extrap_eval.steps.sample",
    "sample": "extrap_eval.steps.sample",
    "score": "extrap_eval.steps.score",
    "outcomes": "extrap_eval.steps.curves",
    "outcome_table": "extrap_eval.steps.curves",
    "curve": "extrap_eval.steps.curves",
    "curves": "extrap_eval.steps.curves",
    "extrapolation": "extrap_eval.steps.curves",
    "sensitivity": "extrap_eval.steps.curves",
    "compare": "extrap_eval.steps.compare",
    "plot": "extrap_eval.steps.plot",
    "import_run": "extrap_eval.steps.importing",
}

__all__ = [
    "UserError",
    "compare",
    "curve",
    "curves",
    "extrapolation",
    "import_run",
    "open_engine",
    "open_run",
    "outcome_table",
    "outcomes",
    "plan_sampling",
    "plot",
    "prepare_run",
    "sample",
    "score",
    "sensitivity",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'extrap_eval' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__

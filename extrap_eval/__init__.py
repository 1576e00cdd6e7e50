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
    ee.plan_size("runs/pilot").designs                               # widths, detectable differences, tokens
    ee.summary("runs/first").verdict                                 # the extrapolation report card
    ee.plot(["runs/first", "runs/second"], "curve.svg")
    ee.write_report(["runs/first", "runs/second"], "report.html")    # curves, problem grid and every trace, as a page

    probes = ee.plan_probes("runs/first", replicates=4)              # forced answers after every group of episodes
    ee.follow(run, [probes], ee.open_engine("markov", plan, max_in_flight=256))
    ee.probe_votes("runs/first")                                     # [maj@p]_j; likewise plan_forcing, plan_sliding

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
    from extrap_eval.report.build import write_report
    from extrap_eval.steps.compare import compare
    from extrap_eval.steps.curves import curve, curves, extrapolation, outcome_table, outcomes, sensitivity
    from extrap_eval.steps.following import follow
    from extrap_eval.steps.forcing import audit_table, force_table, forcing_table, plan_forcing
    from extrap_eval.steps.importing import import_run
    from extrap_eval.steps.logprobs import distribution_table, plan_second_pass, position_table, token_distributions
    from extrap_eval.steps.plan import plan_size
    from extrap_eval.steps.plot import plot
    from extrap_eval.steps.probe_curves import probe_votes
    from extrap_eval.steps.probes import plan_probes, probe_table
    from extrap_eval.steps.sample import open_engine, plan_sampling, prepare_run, sample
    from extrap_eval.steps.score import score
    from extrap_eval.steps.sliding import plan_sliding, window_curves
    from extrap_eval.steps.summary import summary
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
    "plan_size": "extrap_eval.steps.plan",
    "summary": "extrap_eval.steps.summary",
    "plot": "extrap_eval.steps.plot",
    "import_run": "extrap_eval.steps.importing",
    "follow": "extrap_eval.steps.following",
    "plan_probes": "extrap_eval.steps.probes",
    "probe_table": "extrap_eval.steps.probes",
    "probe_votes": "extrap_eval.steps.probe_curves",
    "plan_forcing": "extrap_eval.steps.forcing",
    "force_table": "extrap_eval.steps.forcing",
    "forcing_table": "extrap_eval.steps.forcing",
    "audit_table": "extrap_eval.steps.forcing",
    "plan_sliding": "extrap_eval.steps.sliding",
    "window_curves": "extrap_eval.steps.sliding",
    "plan_second_pass": "extrap_eval.steps.logprobs",
    "token_distributions": "extrap_eval.steps.logprobs",
    "distribution_table": "extrap_eval.steps.logprobs",
    "position_table": "extrap_eval.steps.logprobs",
    "write_report": "extrap_eval.report.build",
}

__all__ = [
    "UserError",
    "audit_table",
    "compare",
    "curve",
    "curves",
    "distribution_table",
    "extrapolation",
    "follow",
    "force_table",
    "forcing_table",
    "import_run",
    "open_engine",
    "open_run",
    "outcome_table",
    "outcomes",
    "plan_forcing",
    "plan_probes",
    "plan_sampling",
    "plan_second_pass",
    "plan_size",
    "plan_sliding",
    "plot",
    "position_table",
    "prepare_run",
    "probe_table",
    "probe_votes",
    "sample",
    "score",
    "sensitivity",
    "summary",
    "token_distributions",
    "window_curves",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'extrap_eval' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__

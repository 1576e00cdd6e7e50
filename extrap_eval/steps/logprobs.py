"""Token entropy, rollout branching factor and perplexity of the samples of a run (RLVR-exploration, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from extrap_eval.scoring.distributions import TokenDistributions
from extrap_eval.steps.outcomes import as_run

if TYPE_CHECKING:
    from extrap_eval.store import Key, Run


def token_distributions(run: str | Path | Run) -> Iterator[tuple[Key, TokenDistributions]]:
    """What is stored of the distributions that the tokens of a run's samples were drawn from, by problem id and sample
    index: as they came with the samples, else from the second pass. Samples that have neither are left out.
    """
    run = as_run(run)
    for completion in run.completions(columns=["distributions"]):
        if completion.distributions is not None:
            yield completion.key, completion.distributions

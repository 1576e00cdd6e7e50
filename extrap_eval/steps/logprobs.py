"""Token entropy, rollout branching factor and perplexity of the samples of runs (RLVR-exploration, section 2)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.traces import Estimate, trace_mean
from extrap_eval.scoring.distributions import TokenDistributions, by_position
from extrap_eval.steps.following import FollowPlan, samples_of
from extrap_eval.steps.outcomes import as_run, outcomes, sampled_maximum

if TYPE_CHECKING:
    import pandas as pd

    from extrap_eval.store import Key, Run

KIND = "logprobs"  # of the variants that hold second passes
TOP = 20  # most probable tokens, the most that servers give without being told
BINS = 20  # of relative position
METRICS = ("entropy", "branching", "perplexity")
PARTS = ("all", "correct", "incorrect")
DIFFERENCE = "correct - incorrect"
_LEAST = {"entropy": 0.0, "branching": 1.0, "perplexity": 1.0}  # no interval goes below what is possible


def token_distributions(run: str | Path | Run) -> Iterator[tuple[Key, TokenDistributions]]:
    """What is stored of the distributions that the tokens of a run's samples were drawn from, by problem id and sample
    index: as they came with the samples, else from the second pass. Samples that have neither are left out, and so are
    empty ones.

    Raises UserError for a second pass over other completions than are stored now.
    """
    run = as_run(run)
    passed = run.variants(KIND)
    lacking: dict[Key, int] = {}
    for completion in run.completions(columns=["distributions", *(["token_ids"] if passed else [])]):
        if completion.distributions is not None:
            yield completion.key, completion.distributions
        elif passed:
            lacking[completion.key] = _crc(completion.token_ids)
    yield from _passed(run, lacking)


def _passed(run: Run, wanted: dict[Key, int]) -> Iterator[tuple[Key, TokenDistributions]]:
    """Those of the second passes, the widest first. ``wanted``: CRC32 of the ids of each completion; those that are
    found are taken out.
    """
    for variant in sorted(run.variants(KIND), key=lambda each: -each.settings["top_logprobs"]):
        if not wanted:
            return
        for completion in run.completions(variant.name, columns=["distributions", "token_ids"]):
            if completion.key not in wanted or completion.distributions is None:
                continue
            if wanted.pop(completion.key) != _crc(completion.token_ids):
                raise UserError(
                    f"{run.path / 'completions' / variant.name}: of another completion than sample "
                    f"{completion.sample_index} of {completion.problem_id} is now: remove this folder and repeat the "
                    "command"
                )
            yield completion.key, completion.distributions


def _crc(ids: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(ids, np.int32).tobytes())


def plan_second_pass(
    run: str | Path | Run, *, top_logprobs: int | None = None, n: int | None = None, again: bool = False
) -> FollowPlan | None:
    """Read the completions again that came without distributions, or are still to be sampled; None when there are none
    such.

    ``top_logprobs``: of so many most probable tokens at each place [default: as in the widest second pass that was
    begun, else 20]. ``n``: the first so many samples of every problem. ``again``: those that came with distributions as
    well, to compare the two ways. Raises UserError for a run whose prompts are not known.
    """
    from extrap_eval.sampling.second_pass import SecondPass
    from extrap_eval.store.variant import variant_name

    run = as_run(run)
    samples = samples_of(run, n)
    stored = [(c.key, c.distributions is not None) for c in run.completions(columns=["distributions"]) if c.n_tokens]
    carried = frozenset(key for key, has in stored if has and not again)
    keys = [key for key, _ in stored if key not in carried] + run.missing()
    if not any(index < samples for _, index in keys):
        return None
    if unknown := [id for id, prompt in run.prompts().items() if not len(prompt)]:
        raise UserError(
            f"{run.path}: the prompt of {unknown[0]} is not known (an import), so the model cannot read its completions"
        )
    begun = [variant.settings["top_logprobs"] for variant in run.variants(KIND)]
    top = top_logprobs or max(begun, default=TOP)
    settings = {"top_logprobs": top}
    protocol = SecondPass(variant_name(KIND, settings), top, samples, carried)
    return FollowPlan(KIND, settings, {"samples": samples, "again": int(again)}, protocol, top)


@dataclass(frozen=True, eq=False)
class RunDistributions:
    """What is known of the tokens of a run's samples: P problems, n samples, nan for one without a token.

    ``traces``: metric -> mean over the tokens of a sample (perplexity: of the sample), float64 (P, n). ``positions``:
    entropy and branching -> the same in equal parts of the sample, (P, n, bins). ``correct``: bool (P, n).
    ``uncovered`` and ``tokens``: tokens at which the most probable hold less than 0.95, and all, int64 (P, n).
    ``top``: the fewest most probable tokens that were asked for.
    """

    model: str
    benchmark: str
    traces: dict[str, np.ndarray]
    positions: dict[str, np.ndarray]
    correct: np.ndarray
    uncovered: np.ndarray
    tokens: np.ndarray
    top: int


def run_distributions(run: str | Path | Run, *, n: int | None = None, bins: int = BINS) -> RunDistributions:
    """Read them. Raises UserError when the run is not scored, or when some sample has none."""
    run = as_run(run)
    found = outcomes(run, [sampled_maximum(run)], n=n)
    shape = found.correct.shape[:2]
    traces = {name: np.full(shape, np.nan) for name in METRICS}
    positions = {name: np.full((*shape, bins), np.nan) for name in ("entropy", "branching")}
    uncovered, tokens = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    place = {id: i for i, id in enumerate(found.problem_ids)}
    top = []
    for (id, index), kept in token_distributions(run):
        if id not in place or index >= found.n or not len(kept):
            continue
        where = place[id], index
        for name, values in (("entropy", kept.entropy), ("branching", kept.branching)):
            traces[name][where] = values.mean(dtype=np.float64)
            positions[name][where] = by_position(values, bins)
        traces["perplexity"][where] = kept.perplexity
        uncovered[where], tokens[where] = kept.uncovered.sum(), len(kept)
        top.append(kept.top)
    if lacking := np.argwhere((tokens == 0) & (found.n_tokens > 0)).tolist():
        problem, index = lacking[0]
        raise UserError(
            f"{run.path}: {len(lacking)} of {tokens.size} samples have no log-probabilities (first: sample {index} of "
            f"problem {found.problem_ids[problem]}): ask for them with extrap-eval logprobs {run.path}"
        )
    correct = found.correct[..., -1]
    return RunDistributions(
        found.model, found.benchmark, traces, positions, correct, uncovered, tokens, min(top, default=0)
    )


def distribution_table(
    runs: Sequence[str | Path | Run],
    *,
    n: int | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean token entropy, branching factor and perplexity of every run, of its correct and incorrect completions, and
    the difference of these within problems that have both. Tidy: one row per run, part and metric.

    Columns: model, benchmark, part, metric, value, low, high (over tokens, then samples, then problems; entropy in
    nats, perplexity per completion; intervals over problems), traces, problems (that count), top, uncovered (share of
    the part's positions at which the ``top`` most probable tokens hold less than 0.95). Where that is not 0, entropy
    and branching are lower bounds. Raises UserError as ``run_distributions`` does.
    """
    import pandas as pd

    rows = []
    for run in runs:
        found = run_distributions(run, n=n)
        draws = intervals.resamples(len(found.correct), resamples, seed)
        for part, mask in _parts(found).items():
            for name in METRICS:
                kept = np.where(mask, found.traces[name], np.nan)
                rows.append(_row(found, part, name, kept, mask, trace_mean(kept, draws, level=level, fractions=False)))
        for name in METRICS:
            right, wrong = (_problem_means(np.where(_parts(found)[p], found.traces[name], np.nan)) for p in PARTS[1:])
            both = (right - wrong)[:, None]
            there = _parts(found)["all"] & ~np.isnan(both)
            estimate = trace_mean(both, draws, level=level, fractions=False)
            rows.append(_row(found, DIFFERENCE, name, np.where(there, found.traces[name], np.nan), there, estimate))
    return pd.DataFrame(rows)


def position_table(
    runs: Sequence[str | Path | Run],
    *,
    n: int | None = None,
    bins: int = BINS,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Entropy and branching by relative position, tidy: one row per run, part, metric and bin.

    Columns: model, benchmark, part, metric, position (middle of the bin, from 0 to 1), value, low, high, traces,
    problems, top, uncovered (of the part, over all positions). A completion shorter than the bins has none in some.
    Raises UserError as ``run_distributions`` does.
    """
    import pandas as pd

    rows = []
    for run in runs:
        found = run_distributions(run, n=n, bins=bins)
        draws = intervals.resamples(len(found.correct), resamples, seed)
        for part, mask in _parts(found).items():
            for name, values in found.positions.items():
                kept = np.where(mask[..., None], values, np.nan)
                estimate = trace_mean(kept, draws, level=level, fractions=False)
                for b in range(bins):
                    one = Estimate(estimate.value[b], estimate.low[b], estimate.high[b])
                    rows.append(_row(found, part, name, kept[..., b], mask, one) | {"position": (b + 0.5) / bins})
    return pd.DataFrame(rows)


def _parts(found: RunDistributions) -> dict[str, np.ndarray]:
    return dict(zip(PARTS, (np.ones_like(found.correct), found.correct, ~found.correct), strict=True))


def _problem_means(values: np.ndarray) -> np.ndarray:
    """Over the samples of each problem that have a value, (P, n) -> (P,); nan where none has."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
    return means


def _row(
    found: RunDistributions, part: str, metric: str, kept: np.ndarray, mask: np.ndarray, estimate: Estimate
) -> dict[str, object]:
    there = ~np.isnan(kept)
    tokens = int(found.tokens[mask].sum())
    low = float(estimate.low)
    if part != DIFFERENCE and low < _LEAST[metric]:  # not for nan
        low = min(_LEAST[metric], float(estimate.value))
    return {
        "model": found.model,
        "benchmark": found.benchmark,
        "part": part,
        "metric": metric,
        "value": float(estimate.value),
        "low": low,
        "high": float(estimate.high),
        "traces": int(there.sum()),
        "problems": int(there.any(axis=1).sum()),
        "top": found.top,
        "uncovered": int(found.uncovered[mask].sum()) / tokens if tokens else float("nan"),
    }


def agreement(run: str | Path | Run) -> pd.DataFrame:
    """How far the two ways differ on the samples that have both, one row per quantity; empty where none has.

    Columns: quantity, tokens, mean (absolute difference), largest, equal (share of tokens). A server computes a token
    among other rows when it draws it than when it reads it again, so that in short float types values differ by their
    rounding.
    """
    import pandas as pd

    run = as_run(run)
    drawn, crcs = {}, {}
    passed = run.variants(KIND)
    for completion in run.completions(columns=["distributions", "token_ids"]) if passed else ():
        if completion.distributions is not None:
            drawn[completion.key], crcs[completion.key] = completion.distributions, _crc(completion.token_ids)
    pairs = [(drawn[key], kept) for key, kept in _passed(run, crcs)]
    rows = []
    for name in ("entropy", "branching", "covered", "chosen") if pairs else ():
        gaps = np.concatenate([np.abs(getattr(one, name) - getattr(other, name)) for one, other in pairs])
        rows.append(
            {
                "quantity": name,
                "tokens": len(gaps),
                "mean": float(gaps.mean(dtype=np.float64)),
                "largest": float(gaps.max()),
                "equal": float((gaps == 0).mean()),
            }
        )
    return pd.DataFrame(rows, columns=["quantity", "tokens", "mean", "largest", "equal"])

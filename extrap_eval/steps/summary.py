"""The extrapolation report card of a run: one page of numbers, and a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.errors import UserError
from extrap_eval.metrics import intervals
from extrap_eval.metrics.budgets import FoundBudget, saturation_budget
from extrap_eval.metrics.efficiency import VoteCurve
from extrap_eval.metrics.extrapolation import Gain, gain
from extrap_eval.metrics.majk import class_counts, maj_at_k_many
from extrap_eval.metrics.same_tokens import SameTokens, at_same_tokens
from extrap_eval.metrics.traces import Estimate, of_problems
from extrap_eval.scoring.timeline import AnswerRule
from extrap_eval.steps.compare import budget_curve_of, dense_budgets
from extrap_eval.steps.curves import run_names
from extrap_eval.steps.outcomes import RunOutcomes, as_run, default_budgets, outcomes, sampled_maximum
from extrap_eval.steps.report_card import Entry, ReportCard, entry_of, missing, verdict_of
from extrap_eval.steps.training_budget import choices

if TYPE_CHECKING:
    from extrap_eval.store import Run, Variant

DEFAULT_RULE = AnswerRule()
_THINKING = "thinking to {} − maj@k for its tokens"


@dataclass(frozen=True)
class Settings:
    """How a card is reckoned. ``training``: B_tr in tokens, instead of the model card's. ``kappa`` and ``floor`` (B0 of
    the full paper's reading; default the smallest budget) belong to e3's Eq. 3, ``tolerance`` (a fraction) to the
    saturation budget.
    """

    training: int | None = None
    kappa: float = 1.2
    floor: int | None = None
    tolerance: float = 0.01
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0
    rule: AnswerRule = DEFAULT_RULE


def summaries(runs: Sequence[str | Path | Run], settings: Settings = Settings()) -> list[ReportCard]:
    """The report cards of scored runs; models of one name are told apart by their folder.

    Raises UserError as ``steps.outcomes.outcomes`` does, and for settings out of range. What a run does not have
    (a training budget, probes, extensions) is an entry that says so.
    """
    for name, value in (("kappa", settings.kappa), ("tolerance", settings.tolerance)):
        if not value > 0:
            raise UserError(f"--{name}: {value:g} is not positive")
    opened = [as_run(run) for run in runs]
    return [summary(run, settings, name=name) for run, name in zip(opened, run_names(opened), strict=True)]


def summary(run: str | Path | Run, settings: Settings = Settings(), *, name: str | None = None) -> ReportCard:
    """The report card of one scored run; raises UserError as ``summaries`` does."""
    run = as_run(run)
    name = name or run.model_card.name
    largest = sampled_maximum(run)
    trained = run.model_card.training_budget
    first = settings.training or (None if trained is None else trained.tokens)
    beyond = largest if first is None else min(2 * first, largest)
    doubles = sorted({b for b in (*default_budgets(run), first or 0) if 0 < 2 * b <= largest})
    wanted = {*dense_budgets(largest), *doubles, *(2 * b for b in doubles), largest}
    if first is not None and first < largest:
        wanted |= {first, beyond}
    found = outcomes(run, sorted(wanted), rule=settings.rule)
    draws = intervals.resamples(len(found.problem_ids), settings.resamples, settings.seed)
    reader = _Reader(found, draws, settings.level)

    entries, gained, votes = _beyond_training(run, reader, first, largest)
    if doubles:
        entries += _eq3(reader, doubles, settings)
    else:
        entries.append(missing("B*_tr (Eq. 3)", f"no budget whose double lies within {largest} tokens"))
    grid = [budget for budget in found.budgets.tolist() if budget >= min(dense_budgets(largest))]
    saturated = saturation_budget(
        grid, [reader.at(b) for b in grid], draws, tolerance=settings.tolerance, level=settings.level
    )
    entries.append(_saturation_entry(saturated, largest, settings.tolerance))
    entries.append(_regret(run, beyond, settings))
    forced = _forcing(run, settings)
    if isinstance(forced, Entry):
        entries.append(forced)
    else:
        entries += _forcing_entries(*forced, reader, largest)
    alone = None if isinstance(forced, Entry) else forced[0]
    verdict = verdict_of(name, gained, votes, alone, saturated, largest, entries[0].note)
    return ReportCard(name, found.benchmark, len(found.problem_ids), found.n, tuple(entries), verdict)


def _beyond_training(
    run: Run, reader: _Reader, first: int | None, largest: int
) -> tuple[list[Entry], Gain | None, SameTokens | None]:
    """From the training budget ``first`` to its double, and what votes get for the tokens of the double."""
    if first is None:
        note = "the model card has no training_budget: say --training-budget TOKENS"
        return [missing("J(B_tr), J(2·B_tr)", note)], None, None
    if first >= largest:
        again = f"extrap-eval sample --model {run.path}/model.yaml --benchmark {run.path}/benchmark.yaml"
        note = f"trained to {first} tokens, sampled to {largest}: {again} --budget-max {2 * first} --out NEW"
        return [missing("J(B_tr), J(2·B_tr)", note)], None, None
    second = min(2 * first, largest)
    double, beyond = "2·B_tr", ""
    if second < 2 * first:
        double, beyond = "maximum", f"; 2·B_tr = {2 * first} was not sampled"
    at_first, at_second = reader.at(first), reader.at(second)
    gained = gain(at_first, at_second, reader.draws, budgets=(first, second), level=reader.level)
    votes = reader.votes(first, at_second, reader.tokens(second))
    entries = [
        entry_of("J(B_tr)", reader.estimate(at_first), "fraction", f"pass@1 at {first} tokens"),
        entry_of(f"J({double})", reader.estimate(at_second), "fraction", f"at {second} tokens{beyond}"),
        Entry("gain", gained.difference, gained.low, gained.high, "points", f"from {first} to {second} tokens"),
        Entry(f"J({double}) / J(B_tr)", gained.ratio, gained.ratio_low, gained.ratio_high, "ratio", "κ of Eq. 3"),
        _votes_entry(_THINKING.format(second), votes, first, reader),
    ]
    if second < largest:
        longest = reader.votes(first, reader.at(largest), reader.tokens(largest))
        entries.append(_votes_entry(_THINKING.format(largest), longest, first, reader))
    return entries, gained, votes


@dataclass(frozen=True, eq=False)
class _Reader:
    """pass@1 of each problem at each budget that was read, and votes over samples that are stopped at one."""

    found: RunOutcomes
    draws: np.ndarray
    level: float

    def place(self, budget: int) -> int:
        return int(np.searchsorted(self.found.budgets, budget))

    def at(self, budget: int) -> np.ndarray:
        return np.asarray(self.found.correct[..., self.place(budget)].mean(axis=1))

    def tokens(self, budget: int) -> np.ndarray:
        return np.asarray(np.minimum(self.found.n_tokens, budget).mean(axis=1))

    def estimate(self, values: np.ndarray) -> Estimate:
        return of_problems(values, self.draws, level=self.level)

    def votes(self, stopped: int, values: np.ndarray, tokens: np.ndarray) -> SameTokens:
        """What costs ``tokens`` (P,) and gets ``values`` (P,), against votes over samples of up to ``stopped``."""
        j = self.place(stopped)
        counts = class_counts(self.found.class_id[..., j], self.found.correct[..., j])
        each = self.tokens(stopped)
        most = math.ceil(tokens.mean() / max(each.mean(), 1e-9)) + 1
        ks = tuple(range(1, min(self.found.n, most) + 1))
        votes = np.stack([maj_at_k_many(*counts, k)[0] for k in ks])
        curve = VoteCurve(ks, votes, np.asarray(ks, np.float64)[:, None] * each)
        return at_same_tokens(values, tokens, curve, self.draws, level=self.level)


def _votes_entry(quantity: str, votes: SameTokens, stopped: int, reader: _Reader, whole: bool = False) -> Entry:
    k = votes.tokens * votes.share / float(reader.tokens(stopped).mean())
    limited = "" if votes.share > 1 - 1e-9 else f": all there are, for {100 * votes.share:.0f} % of its tokens"
    samples = "whole samples" if whole else f"samples cut at {stopped}"
    note = f"maj@{k:.1f} of {samples} gets {100 * float(votes.other.value):.1f} %{limited}"
    return entry_of(quantity, votes.gain, "points", note)


def _eq3(reader: _Reader, doubles: Sequence[int], settings: Settings) -> Iterator[Entry]:
    values, doubled = (np.stack([reader.at(factor * b) for b in doubles]) for factor in (1, 2))
    lengths = reader.found.n_tokens.mean(axis=1)
    for choice in choices(
        doubles,
        values,
        doubled,
        lengths,
        reader.draws,
        kappa=settings.kappa,
        floor=settings.floor,
        level=settings.level,
    ):
        found = choice.found
        among = f"smallest of {', '.join(map(str, doubles))} with {choice.condition}"
        yield Entry(f"B*_tr (Eq. 3, {choice.reading})", found.budget, found.low, found.high, "tokens", among)


def _saturation_entry(found: FoundBudget, largest: int, tolerance: float) -> Entry:
    note = f"beyond it pass@1 grows by no more than {100 * tolerance:g} points"
    if found.budget > largest / 2:
        note += f"; in the last octave before {largest}, so growth was not seen to end"
    return Entry("saturation budget", found.budget, found.low, found.high, "tokens", note)


def _variant(run: Run, kind: str) -> Variant | str:
    """The newest complete variant of a kind, or why there is none."""
    found = run.variants(kind)
    complete = [variant for variant in found if variant.complete]
    command = f"extrap-eval {'probe' if kind.startswith('probe') else kind} {run.path}"
    if not complete:
        return f"{'incomplete' if found else 'none yet'}: {command}"
    return complete[-1]


def _guarded(quantity: str, variant: Variant | str, make: Callable[[Variant], Entry]) -> Entry:
    if isinstance(variant, str):
        return missing(quantity, variant)
    try:
        return make(variant)
    except UserError as error:
        return missing(quantity, str(error))


def _regret(run: Run, at: int, settings: Settings) -> Entry:
    from extrap_eval.steps.regret import regret_by_tokens

    def make(variant: Variant) -> Entry:
        row = regret_by_tokens(run, variant.name, budgets=[at], level=settings.level).iloc[0]
        note = f"of {variant.promise['samples']} samples up to {at} tokens, of probes {variant.name}"
        return Entry("normalised regret", float(row["value"]), float(row["low"]), float(row["high"]), "number", note)

    return _guarded("normalised regret", _variant(run, "probe-episodes"), make)


@dataclass(frozen=True, eq=False)
class _Forced:
    """Answers after the most extensions: ``accuracy`` and ``tokens`` used (P,), and what they are."""

    accuracy: np.ndarray
    tokens: np.ndarray
    what: str


def _forcing(run: Run, settings: Settings) -> Entry | tuple[SameTokens, _Forced]:
    """Forced samples against the same ones left alone, for the same mean tokens."""
    from extrap_eval.steps.forcing import force_arrays

    variant = _variant(run, "force")
    if isinstance(variant, str):
        return missing("forcing gain", variant)
    try:
        arrays = force_arrays(run, variant.name)
    except UserError as error:
        return missing("forcing gain", str(error))
    samples = arrays.there.shape[1]
    found = outcomes(run, dense_budgets(sampled_maximum(run)), rule=settings.rule, n=samples)
    if found.problem_ids != arrays.problem_ids:
        return missing("forcing gain", f"{variant.name} leaves out other problems than the run: score it again")
    draws = intervals.resamples(len(found.problem_ids), settings.resamples, settings.seed)
    used = np.where(arrays.there, arrays.prefix_tokens + arrays.answer_tokens, np.nan)[..., -1]
    forced = _Forced(
        accuracy=np.nanmean(arrays.accuracy[..., -1], axis=1),
        tokens=np.nanmean(used, axis=1),
        what=f"after {arrays.places[-1]} extensions, {samples} samples of {variant.name}",
    )
    curve = budget_curve_of(found)
    return at_same_tokens(forced.accuracy, forced.tokens, curve, draws, level=settings.level), forced


def _forcing_entries(compared: SameTokens, forced: _Forced, reader: _Reader, largest: int) -> Iterator[Entry]:
    alone = f"{100 * float(compared.other.value):.1f} % left alone"
    if compared.share < 1 - 1e-9:
        alone += f", which takes only {compared.tokens * compared.share:,.0f}"
    note = f"{100 * float(compared.value.value):.1f} % for {compared.tokens:,.0f} tokens {forced.what}; {alone}"
    yield entry_of("forcing gain", compared.gain, "points", note)
    votes = reader.votes(largest, forced.accuracy, forced.tokens)
    yield _votes_entry("forcing − maj@k for its tokens", votes, largest, reader, whole=True)

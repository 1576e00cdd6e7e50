"""What it costs at most to follow a thought, from the settings of a stage alone, before anything is sampled."""

from __future__ import annotations

from dataclasses import dataclass

from extrap_eval.cards.recipe import LogprobsStage, SlideStage
from extrap_eval.cards.study import ForceStage, ProbeStage
from extrap_eval.errors import UserError


@dataclass(frozen=True)
class Cost:
    """Requests, and completion tokens that they may come to at most."""

    requests: int = 0
    tokens: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.requests + other.requests, self.tokens + other.tokens)

    def times(self, count: int) -> Cost:
        return Cost(self.requests * count, self.tokens * count)

    def gpu_hours(self, tokens_per_second: float) -> float:
        """At so many generated tokens per second and GPU."""
        return self.tokens / tokens_per_second / 3600


def followed_cost(stage: ProbeStage | ForceStage | SlideStage | LogprobsStage, trace_tokens: int, where: str) -> Cost:
    """Of one thought of at most ``trace_tokens``. ``where``: the recipe or study, for messages.

    Raises UserError for probes after every so many episodes without a cap on episodes: nothing bounds them.
    """
    if isinstance(stage, LogprobsStage):
        return Cost(1, 0)
    if isinstance(stage, ProbeStage):
        count = _cuts(stage, where) * stage.replicates
        return Cost(count, count * stage.answer_tokens)
    if isinstance(stage, ForceStage):
        return _forced(stage, trace_tokens)
    return _slid(stage)


def _cuts(stage: ProbeStage, where: str) -> int:
    if stage.at == "budgets":
        if stage.budgets is None:
            raise UserError(f"{where}: stages.probe: budgets: none given, so the probes cannot be counted: name them")
        return len(stage.budgets)
    if stage.groups is not None:
        return stage.groups + 1
    if stage.cap is None:
        raise UserError(f"{where}: stages.probe: cap: missing, so nothing bounds the number of probes: give one")
    return -(-stage.cap // (stage.group_size or 5)) + 1


def _forced(stage: ForceStage, trace_tokens: int) -> Cost:
    from extrap_eval.sampling.forcing import mrt_rules, s1_rules

    rules = mrt_rules() if stage.mode == "mrt" else s1_rules(stage.thinking_tokens or trace_tokens)
    extensions = rules.extensions if stage.extensions is None else stage.extensions
    of_one = stage.extension_tokens or rules.extension_tokens
    # Without a cap of its own an extension may use what is left of the thought's, and all of them together no more.
    thought = extensions * of_one if of_one else (stage.thinking_tokens or trace_tokens) * bool(extensions)
    after = stage.answers_after or [w for w in rules.answers_after if w <= extensions]
    answers = len(after) * stage.replicates
    return Cost(extensions + answers, thought + answers * stage.answer_tokens)


def _slid(stage: SlideStage) -> Cost:
    from extrap_eval.sampling.sliding import linear, parallel

    make = linear if stage.mode == "linear" else parallel
    rules = make((), 1) if stage.episodes is None else make((), 1, episodes=stage.episodes)
    answers = len(rules.answers_after) * stage.replicates
    thought = (stage.episode_tokens or rules.episode_tokens) * rules.episodes
    return Cost(rules.episodes + answers, thought + answers * stage.answer_tokens)

"""The stand-in model played by hand: prompts put together as text, answers read as text, every path gone through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.markov.engine import MarkovEngine, answers
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.script import load_tokenizer
from extrap_eval.problems.hidden_number import statement

PROBE = (
    "Time is up.\n\nGiven the time I've spent and the approaches I've tried, I should stop thinking and formulate a "
    "final answer based on what I already have.\n</think>\n\n**Step-by-Step Explanation and Answer:**\n\n1. **"
)
INDEX = 17


async def say(engine: MarkovEngine, probability: float, begun: str, max_tokens: int, **fields: object) -> str:
    """What the model writes after ``begun``, as text."""
    chat = f"<|im_start|>user\n{statement(INDEX, probability)}<|im_end|>\n<|im_start|>assistant\n{begun}"
    prompt = np.array(load_tokenizer().encode(chat).ids, np.int32)
    made = await engine.generate(GenerationRequest(prompt, max_tokens, **fields))  # type: ignore[arg-type]
    return str(load_tokenizer().decode(made.token_ids.tolist(), skip_special_tokens=False))


def tokens(string: str) -> int:
    return len(load_tokenizer().encode(string).ids)


def answer(string: str, policy: MarkovPolicy) -> int:
    """0 for the right one, j for the j-th distractor."""
    boxed = re.findall(r"\\boxed\{(\d+)\}", string)
    return answers(INDEX, policy).tolist().index(int(boxed[-1]))


def episodes(thought: str) -> list[str]:
    """By splitting at blank lines, as MRT does; the blank lines are left out."""
    found: list[list[str]] = [[]]
    for step in thought.split("\n\n"):
        if len(found[-1]) >= 3 and step.startswith(("Wait", "But wait", "Alternatively", "But hold on")):
            found.append([])
        found[-1].append(step)
    return ["\n\n".join(steps) for steps in found]


def vote(given: list[int], k: int) -> float:
    """Expected correctness of the plurality vote of k of these answers."""
    total = 0.0
    chosen = list(combinations(given, k))
    for subset in chosen:
        most = max(subset.count(each) for each in subset)
        winners = {each for each in subset if subset.count(each) == most}
        total += 1 / len(winners) if 0 in winners else 0.0
    return total / len(chosen)


@dataclass(frozen=True)
class Path:
    """One way in which everything can go: candidates in order (0 the right one), which of them were accepted."""

    weight: float
    candidates: tuple[int, ...]
    accepted: tuple[bool, ...]
    ending: str  # "concluded" | "looped" | "open"


def paths(policy: MarkovPolicy, probability: float, attempts: int, limit: int | None = None) -> Iterator[Path]:
    """Every path of up to so many attempts; ``limit``: the attempt after which the thought ends in any case."""
    chances = [probability, *((1 - probability) * weight for weight in policy.wrong_weights)]

    def go(weight: float, candidates: tuple[int, ...], accepted: tuple[bool, ...]) -> Iterator[Path]:
        if len(candidates) == attempts:
            yield Path(weight, candidates, accepted, "open")
            return
        yield Path(weight * policy.loop, candidates, accepted, "looped")
        for candidate, chance in enumerate(chances):
            here, made = weight * (1 - policy.loop) * chance, (*candidates, candidate)
            accept = policy.accept_right if candidate == 0 else policy.accept_wrong
            yield Path(here * accept, made, (*accepted, True), "concluded")
            rejected, unsure = here * (1 - accept), (*accepted, False)
            if len(made) == limit:
                yield Path(rejected, made, unsure, "concluded")
                continue
            yield Path(rejected * policy.give_up, made, unsure, "concluded")
            yield from go(rejected * (1 - policy.give_up), made, unsure)

    return (path for path in go(1.0, (), ()) if path.weight > 0)

"""The siblings: what each run is made of. They differ only in the habits of the data they are finished with."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.residue_search.model import Shape
from training.residue_search.trace import Habits


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the code, the library versions and the processor.

    ``tokens`` is the size of a batch, padding included. The learning rate warms up, stays, and falls linearly
    over the last ``decay`` of all steps. In the ``last`` share of steps the data shows ``last_habits`` instead
    of ``habits``: until then siblings are one run, and the second can start from there. One thread: two runs
    side by side use two cores better than one run with two threads, do not wait for each other when the
    machine has other work, and cannot differ in the order of a parallel sum.
    """

    name: str
    last_habits: Habits
    habits: Habits = field(default_factory=Habits)
    steps: int = 3000
    seed: int = 0
    tokens: int = 4096
    warm_up: int = 100
    decay: float = 0.4
    last: float = 0.15
    muon_rate: float = 0.02
    muon_weight_decay: float = 0.015
    adam_rate: float = 3e-3
    adam_weight_decay: float = 0.1
    threads: int = 1
    shape: Shape = field(default_factory=Shape)

    @property
    def decay_start(self) -> int:
        return round(self.steps * (1 - self.decay))

    @property
    def parting(self) -> int:
        """The step where siblings part."""
        return round(self.steps * (1 - self.last))

    def rate(self, step: int) -> float:
        """Factor on both learning rates at ``step`` (0-based)."""
        warm = min(1.0, (step + 1) / self.warm_up)
        if step < self.decay_start:
            return warm
        return warm * max(0.02, (self.steps - step) / (self.steps - self.decay_start))


EXPLORER = Recipe("residue-explorer", Habits(leap=0.10))
STOPPER = Recipe("residue-stopper", Habits(put_aside=0.05, premature=0.66, check_again=0.12))
TINY = Recipe(  # for tests: seconds
    "tiny",
    Habits(),
    steps=6,
    tokens=1024,
    warm_up=2,
    shape=Shape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, mlp=64),
)
RECIPES = {recipe.name.removeprefix("residue-"): recipe for recipe in (EXPLORER, STOPPER, TINY)}

"""What a card leads to: what every later check starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extrap_eval.preflight.card import Prompts
from extrap_eval.preflight.files import ModelFiles
from extrap_eval.preflight.memory import Wanted

if TYPE_CHECKING:
    from extrap_eval.cards.schema import BenchmarkCard, ModelCard


@dataclass(frozen=True)
class Subject:
    """``weights``: folder or hub id, None where the card names none. ``exact_prompts``: those of a benchmark, not
    of one question.
    """

    card: ModelCard
    tokenizer: Any
    weights: str | None
    files: ModelFiles
    benchmark: BenchmarkCard
    prompts: Prompts
    exact_prompts: bool

    @property
    def longest_prompt(self) -> int:
        return self.prompts.longest or 0

    def wanted(
        self,
        *,
        servers: int,
        concurrency: int | None,
        arguments: Sequence[str] | None = None,
        tensor_parallel: int | None = None,
        gpu_fraction: float | None = None,
    ) -> Wanted:
        """What one of ``servers`` has to hold. ``concurrency``: requests in flight at all of them together, None
        for as many as keep them full; ``arguments`` of the servers, and the rest: None is what the card says.
        """
        settings = self.card.engine
        return Wanted(
            tokens=self.longest_prompt + self.card.max_new_tokens,
            concurrency=None if concurrency is None else max(1, concurrency // servers),
            dtype=settings.dtype,
            cache_dtype=option(settings.extra_args if arguments is None else arguments, "--kv-cache-dtype"),
            tensor_parallel=tensor_parallel or settings.tensor_parallel,
            gpu_fraction=gpu_fraction or settings.gpu_memory_fraction,
        )


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option among a server's arguments; None where it is not given, or "auto"."""
    for argument, following in zip(arguments, [*arguments[1:], None], strict=False):
        if argument == name or argument.startswith(f"{name}="):
            given = following if argument == name else argument.removeprefix(f"{name}=")
            return None if given == "auto" else given
    return None

"""The next token of many rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from extrap_eval.engines.base import GenerationRequest

if TYPE_CHECKING:
    import torch

    from extrap_eval.engines.local.row import Row

# Sorting a whole vocabulary to keep top-p of it costs more than the model; the most probable few nearly always hold
# that much, and rows where they do not are looked at again with eight times as many.
_FIRST_LOOK = 32
_WIDER = 8


@dataclass(frozen=True)
class Settings:
    """How each of n rows is sampled, as columns of shape (n, 1): temperature float32 (1 where ``greedy``), top_p
    float64, top_k int64 (the vocabulary's size where it is off), greedy bool.
    """

    temperature: torch.Tensor
    top_p: torch.Tensor
    top_k: torch.Tensor
    greedy: torch.Tensor
    all_greedy: bool
    first_look: int  # how many of the most probable tokens to consider at first

    def of(self, rows: torch.Tensor) -> Settings:
        """Those of some of the rows, given by their indices."""
        columns = {name: getattr(self, name)[rows] for name in ("temperature", "top_p", "top_k", "greedy")}
        return replace(self, **columns)


def settings_of(requests: Sequence[GenerationRequest], vocabulary: int, device: torch.device) -> Settings:
    import torch

    def column(values: Sequence[float], dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)[:, None]

    greedy = [request.temperature == 0 for request in requests]
    unlimited = any(request.top_p == 1 and request.top_k == -1 for request in requests)
    return Settings(
        temperature=column([request.temperature or 1.0 for request in requests], torch.float32),
        top_p=column([request.top_p for request in requests], torch.float64),
        top_k=column([vocabulary if request.top_k == -1 else request.top_k for request in requests], torch.int64),
        greedy=column(greedy, torch.bool),
        all_greedy=all(greedy),
        first_look=vocabulary if unlimited else _FIRST_LOOK,
    )


def choose(logits: torch.Tensor, settings: Settings, uniforms: torch.Tensor) -> torch.Tensor:
    """One token id for each row, int64, shape (n,).

    ``logits``: float32, shape (n, vocabulary). ``uniforms``: float64 in [0, 1), shape (n,); the number alone
    decides between the tokens that are left, by the inverse of their cumulative distribution from the most
    probable down. Left are, after division by the temperature, the ``top_k`` most probable and of these the
    fewest that hold ``top_p`` of their mass, the one that crosses it included: the order of transformers, vLLM
    and SGLang.
    """
    import torch

    if settings.all_greedy:
        return logits.argmax(-1)
    scaled = logits / settings.temperature
    tokens = _draw(scaled, torch.logsumexp(scaled, -1, keepdim=True), settings, uniforms[:, None], settings.first_look)
    return torch.where(settings.greedy[:, 0], logits.argmax(-1), tokens)


def _draw(
    scaled: torch.Tensor, normaliser: torch.Tensor, settings: Settings, uniforms: torch.Tensor, look: int
) -> torch.Tensor:
    """``choose`` by the ``look`` most probable tokens, and by more for rows of which these hold too little."""
    import torch

    vocabulary = scaled.shape[-1]
    look = min(look, vocabulary)
    top, ids = torch.topk(scaled, look)
    mass = torch.exp(top.double() - normaliser)
    mass = mass.masked_fill(torch.arange(look, device=mass.device) >= settings.top_k, 0.0)
    reached = mass.cumsum(-1)
    # The mass that top-p is a share of: of the top k where there is such a limit, else of everything.
    whole = torch.where(settings.top_k < vocabulary, reached[:, -1:], 1.0)
    wanted = settings.top_p * whole
    kept = ((reached - mass < wanted) & (mass > 0)).sum(-1, keepdim=True).clamp(min=1)
    limit = reached.gather(-1, kept - 1)
    place = (reached <= uniforms * limit).sum(-1, keepdim=True).minimum(kept - 1)
    tokens = ids.gather(-1, place)[:, 0]
    if look < vocabulary:
        enough = torch.where(settings.top_k < vocabulary, settings.top_k <= look, reached[:, -1:] >= wanted)[:, 0]
        short = (~enough).nonzero()[:, 0]
        if len(short):
            tokens[short] = _draw(scaled[short], normaliser[short], settings.of(short), uniforms[short], _WIDER * look)
    return tokens


def record_logprobs(rows: Sequence[Row], logits: torch.Tensor, tokens: torch.Tensor) -> None:
    """Note the log-probabilities of ``tokens`` and of the most probable ones in the rows that ask for them.

    They are the model's own, before temperature, top-p and top-k.
    """
    import torch

    asking = [i for i, row in enumerate(rows) if row.request.top_logprobs]
    if not asking:
        return
    index = torch.tensor(asking, device=logits.device)
    known = torch.log_softmax(logits[index], -1)
    chosen, top_ids, top = most_probable(known, tokens[index], max(rows[i].request.top_logprobs for i in asking))
    for place, i in enumerate(asking):
        k = rows[i].request.top_logprobs
        rows[i].note(chosen[place : place + 1], top_ids[place, :k], top[place, :k])


def most_probable(known: torch.Tensor, tokens: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities of ``tokens`` (n,), and ids and log-probabilities of the ``k`` most probable, both (n, k).

    ``known``: all log-probabilities, (n, vocabulary).
    """
    import torch

    chosen = known.gather(-1, tokens[:, None])[:, 0]
    top, ids = torch.topk(known, k)
    return np.asarray(chosen.cpu()), np.asarray(ids.cpu()), np.asarray(top.cpu())


def next_tokens(rows: Sequence[Row], logits: torch.Tensor, settings: Settings) -> list[int]:
    """A token for each row, by its own settings and random numbers; ``logits`` (n, vocabulary), any float type.

    Greedy rows draw nothing.
    """
    import torch

    logits = logits.float()
    uniforms = torch.zeros(0)
    if not settings.all_greedy:
        uniforms = torch.tensor([row.draw() for row in rows], dtype=torch.float64).to(logits.device)
    tokens = choose(logits, settings, uniforms)
    record_logprobs(rows, logits, tokens)
    found: list[int] = tokens.tolist()
    return found

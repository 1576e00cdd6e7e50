"""One number in [0, 1) and the logits decide the token; against a reference that sorts everything."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.engines.base import GenerationRequest
from extrap_eval.engines.local.sampler import choose, settings_of

NO_PROMPT = np.zeros(1, np.int32)


def by_sorting(logits: np.ndarray, request: GenerationRequest, uniform: float) -> tuple[int, float]:
    """The token, and how near the decision was (in probability)."""
    if request.temperature == 0:
        return int(logits.argmax()), 1.0
    scaled = logits.astype(np.float64) / np.float64(np.float32(request.temperature))
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    mass = probabilities[order]
    if request.top_k != -1:
        mass = mass[: request.top_k]
    reached = np.cumsum(mass)
    edges = reached / reached[-1] if request.top_k != -1 else reached
    count = min(int(np.searchsorted(edges, request.top_p)) + 1, len(mass))
    cut_margin = np.abs(edges - request.top_p).min() if request.top_p < 1 else 1.0
    share = reached[:count] / reached[count - 1]
    place = min(int((share <= uniform).sum()), count - 1)
    return int(order[place]), min(cut_margin, float(np.abs(share - uniform).min()))


@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.integers(1, 700),
    spread=st.floats(0.0, 8.0),
    rows=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.6, 1.0, 3.0]),
            st.sampled_from([1.0, 0.999, 0.95, 0.5, 1e-3]),
            st.sampled_from([-1, 1, 2, 31, 32, 33, 300, 5000]),
            st.floats(0, 1, exclude_max=True),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_every_row_gets_the_token_of_its_own_settings(
    seed: int, vocabulary: int, spread: float, rows: list[tuple[float, float, int, float]]
) -> None:
    requests = [GenerationRequest(NO_PROMPT, 1, temperature=t, top_p=p, top_k=k) for t, p, k, _ in rows]
    uniforms = [u for *_, u in rows]
    # Rounded, so that two are equal or clearly different.
    logits = np.round(np.random.default_rng(seed).normal(size=(len(rows), vocabulary)) * spread, 2).astype(np.float32)
    settings = settings_of(requests, vocabulary, torch.device("cpu"))
    found = choose(torch.tensor(logits), settings, torch.tensor(uniforms, dtype=torch.float64)).tolist()
    for token, given_logits, request, uniform in zip(found, logits, requests, uniforms, strict=True):
        expected, margin = by_sorting(given_logits, request, uniform)
        ties = np.flatnonzero(given_logits == given_logits[expected])
        assert token in ties or margin < 1e-5


def test_a_flat_distribution_over_a_large_vocabulary_is_looked_at_in_full() -> None:
    vocabulary = 20_000
    request = GenerationRequest(NO_PROMPT, 1, temperature=1.0, top_p=0.95)
    settings = settings_of([request] * 400, vocabulary, torch.device("cpu"))
    uniforms = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    logits = torch.linspace(0, 1e-3, vocabulary).expand(400, -1).contiguous()
    tokens = choose(logits, settings, uniforms)
    assert len(set(tokens.tolist())) == 400
    assert int(tokens.min()) > 0.04 * vocabulary  # the least probable twentieth is cut

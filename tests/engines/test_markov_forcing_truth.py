"""The truth of budget forcing against every path, and against forcing the engine."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from extrap_eval.engines.markov.engine import MarkovEngine
from extrap_eval.engines.markov.forcing_truth import forced
from extrap_eval.engines.markov.policy import MarkovPolicy
from extrap_eval.engines.markov.script import load_tokenizer
from tests.engines.markov_play import PROBE, answer, paths, say, tokens

STRINGS = ("Wait", "But wait", "Alternatively", "But hold on")
POLICY = MarkovPolicy(30, 0.6, 0.15, 0.1, 0.03, distractors=1, recall=0.9)
LIMITED = MarkovPolicy(40, 0.5, 0.3, 0.05, 0.0, distractors=1, max_attempts=3)
QUIET = MarkovPolicy(25, 0.7, 0.1, 0.2, 0.1, distractors=2, box_attempts=False, max_attempts=4)


@pytest.mark.parametrize("policy", [POLICY, LIMITED, QUIET])
@pytest.mark.parametrize("more", [0, 20, 24])  # tokens beyond two whole attempts: the proposal of a third shows or not
def test_agrees_with_every_path(policy: MarkovPolicy, more: int) -> None:
    """Thoughts and two extensions as sequences of attempts, everything remembered."""
    p, whole = 0.3, 2
    cap = whole * policy.attempt_tokens + more
    natural = policy.header_tokens + whole * policy.attempt_tokens
    named = more >= policy.proposal_end + 1
    histories: dict[tuple[tuple[tuple[int, bool], ...], int], float] = {((), 0): 1.0}
    accuracy, used = [], []
    for w, (limit, string) in enumerate([(natural, ""), (cap, "Wait"), (cap, "But hold on")]):
        after: dict[tuple[tuple[tuple[int, bool], ...], int], float] = defaultdict(float)
        partial = w > 0 and named
        for (known, spent), weight in histories.items():
            stop = None if policy.max_attempts is None else max(1, policy.max_attempts - len(known))
            for path in paths(policy, p, whole + partial, stop):
                now = list(zip(path.candidates, path.accepted, strict=True))
                tokens_now = len(now) * policy.attempt_tokens
                if len(now) > whole:  # cut after the proposal: nobody knows what the verification would have found
                    now[-1] = (now[-1][0], False)
                if path.ending != "concluded" or len(now) > whole:
                    tokens_now = limit - policy.header_tokens if w == 0 else limit
                used_now = spent + tokens_now + (policy.header_tokens if w == 0 else tokens(string))
                after[(*known, *now), used_now] += weight * path.weight
        histories = after
        assert sum(histories.values()) == pytest.approx(1)
        right = 0.0
        for (known, _), weight in histories.items():
            works = [candidate for candidate, verified in known if verified]
            best = works[-1] if works else known[-1][0] if known else None
            right += weight * (p if best is None else policy.recall * (best == 0) + (1 - policy.recall) * p)
        accuracy.append(right)
        used.append(sum(weight * spent for (_, spent), weight in histories.items()))
    found = forced(policy, p, ("Wait", "But hold on"), cap=cap, max_tokens=natural)
    np.testing.assert_allclose(found.accuracy, accuracy, atol=1e-12)
    np.testing.assert_allclose(found.tokens, used, atol=1e-9)


def test_changes_add_up_to_the_gain() -> None:
    found = forced(LIMITED, 0.3, STRINGS, cap=120, max_tokens=400)
    np.testing.assert_allclose(np.diff(found.accuracy), found.changes[:, 1] - found.changes[:, 0], atol=1e-12)
    assert (found.changes > 0).all()


def test_no_extensions() -> None:
    found = forced(POLICY, 0.3, (), cap=100, max_tokens=300)
    assert found.accuracy.shape == found.tokens.shape == (1,)
    assert found.changes.shape == (0, 2)


async def test_the_engine_goes_on_as_stated() -> None:
    """Forced by text, three times: within 4 standard errors of the truth."""
    policy, p, traces = LIMITED, 0.3, 400
    engine = MarkovEngine(policy, seed=1)
    cap, natural = 2 * policy.attempt_tokens + 25, policy.header_tokens + 3 * policy.attempt_tokens + 20
    close = load_tokenizer().token_to_id("</think>")
    right, used = np.zeros((traces, 4)), np.zeros((traces, 4))
    for trace in range(traces):
        thought = await say(engine, p, "", natural, stop_token_ids=(close,))
        thought = thought.removesuffix("</think>")
        spent = tokens(thought)
        for w, string in enumerate(("", *STRINGS[:3])):
            if w:
                piece = await say(engine, p, thought + string, cap, stop_token_ids=(close,))
                spent += tokens(string) + tokens(piece.removesuffix("</think>"))
                if not piece.endswith("</think>"):
                    piece = piece[: piece.rindex("\n\n") + 2]
                thought += string + piece.removesuffix("</think>")
            right[trace, w] = answer(await say(engine, p, thought + PROBE, 100), policy) == 0
            used[trace, w] = spent
    expected = forced(policy, p, STRINGS[:3], cap=cap, max_tokens=natural)
    for measured, truth in ((right, expected.accuracy), (used, expected.tokens)):
        error = np.maximum(measured.std(axis=0, ddof=1) / np.sqrt(traces), 1e-9)
        assert (np.abs(measured.mean(axis=0) - truth) / error < 4).all()

"""The requests of judgements."""

from __future__ import annotations

import numpy as np

from extrap_eval.sampling.traces import Draw, Trace
from extrap_eval.sampling.verification import Verification

NONE = np.empty(0, dtype=np.int32)


def test_every_answer_is_judged_so_often() -> None:
    prompts = {("p", 0): np.arange(9, dtype=np.int32), ("p", 1): np.arange(12, dtype=np.int32)}
    protocol = Verification("verify", prompts, Draw(0.6, 0.95, -1, (7,)), 50, replicates=3, samples=2)
    trace = Trace("p", 1, np.arange(10, dtype=np.int32), NONE, False)
    jobs = list(protocol.jobs(trace, ()))
    assert [(job.sample_index, job.step, job.replicate) for job in jobs] == [(1, 0, 0), (1, 0, 1), (1, 0, 2)]
    assert all(job.request.prompt_token_ids.tolist() == list(range(12)) for job in jobs)
    assert {job.request.max_tokens for job in jobs} == {50}
    assert protocol.most(trace) == 3
    assert protocol.price(trace).prompt_tokens == 36
    assert protocol.price(trace).distinct_tokens == 12
    assert protocol.longest(10, 0) == 62
    # A problem with fewer answers than others.
    other = Trace("q", 1, np.arange(10, dtype=np.int32), NONE, False)
    assert list(protocol.jobs(other, ())) == []
    assert protocol.most(other) == protocol.price(other).requests == 0

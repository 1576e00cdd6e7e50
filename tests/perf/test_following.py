"""What probing costs besides the engine: 480 traces × 11 prefixes × 8 answers, planned, asked, stored, resumed."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.engines.base import Generation, GenerationRequest
from extrap_eval.steps.following import follow, price
from extrap_eval.steps.probes import plan_probes, probe_table
from extrap_eval.steps.sample import plan_sampling, prepare_run
from extrap_eval.store import Completion, open_run
from tests.sampling.sampling import OpenEngine

pytestmark = pytest.mark.perf

PROBLEMS, SAMPLES, TOKENS, GROUPS, REPLICATES = 30, 16, 16_000, 10, 8


class Instant(OpenEngine):
    """Answers every request at once, with the same words."""

    kind = "instant"

    def __init__(self, answer: np.ndarray):
        self._answer = answer

    async def generate(self, request: GenerationRequest) -> Generation:
        return Generation(
            self._answer, "stop", stop_token_id=int(self._answer[-1]), prompt_tokens=len(request.prompt_token_ids)
        )


def test_forty_two_thousand_probes(tmp_path: Path) -> None:
    benchmark = tmp_path / "b.yaml"
    benchmark.write_text(
        f"name: b\nsource: {{generator: hidden_number, args: {{problems: {PROBLEMS}}}}}\nanswer: {{kind: integer}}\n"
    )
    plan = plan_sampling("markov", str(benchmark), n=SAMPLES, budget_max=TOKENS)
    run = prepare_run(plan, tmp_path / "run")
    steps = "".join(
        f"{opening}.\n\nHmm.\n\nI can rule out some values.\n\nIs it {i % 900 + 100}?\n\n"
        for i, opening in enumerate(["Wait", "But wait", "Alternatively"] * 400)
    )
    thought = np.array(plan.tokenizer.encode("<think>\n" + steps), dtype=np.int32)[:TOKENS]
    assert len(thought) == TOKENS
    with run.writer() as writer:
        for problem in plan.problems:
            writer.append(
                [Completion(problem.id, i, token_ids=thought, finish_reason="length") for i in range(SAMPLES)]
            )
        writer.seal()
    run = open_run(run.path)
    answer = np.array(plan.tokenizer.encode("The number is \\boxed{123}.<|im_end|>"), dtype=np.int32)
    probes = plan_probes(run, groups=GROUPS, replicates=REPLICATES)
    requests = PROBLEMS * SAMPLES * (GROUPS + 1) * REPLICATES
    print(f"\n{requests:,} probes of {PROBLEMS * SAMPLES} traces of {TOKENS:,} tokens")
    print(f"  {'':22}{'seconds':>9}{'ms per request':>16}")

    def timed(name: str, began: float) -> None:
        took = time.process_time() - began
        print(f"  {name:22}{took:9.1f}{1000 * took / requests:16.3f}")

    began = time.process_time()
    total, _ = price(run, [probes])
    timed("price", began)
    assert total.requests == requests
    began = time.process_time()
    report = follow(run, [probes], Instant(answer), concurrency=256)
    timed("ask and store", began)
    assert (report.finished, report.missing) == (requests, 0)
    began = time.process_time()
    assert follow(run, [probes], Instant(answer), concurrency=256).finished == 0
    timed("ask again: nothing", began)
    began = time.process_time()
    table = probe_table(run)
    timed("score and table", began)
    assert len(table) == requests
    folder = run.path / "completions" / probes.name
    files = list(folder.iterdir())
    size = sum(file.stat().st_size for file in files) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {len(files)} files, {size:.1f} MB; peak memory {peak:.0f} MB")
    assert len(files) <= 4

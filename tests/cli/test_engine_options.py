"""What the engine options open, before anything is entered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extrap_eval.cli.engine_options import EngineChoice
from extrap_eval.steps.sample import SamplingPlan, plan_sampling

URLS = ["http://localhost:8000", "http://localhost:8001", "http://localhost:8001/v1"]  # two servers


@pytest.fixture(scope="module")
def plan() -> SamplingPlan:
    return plan_sampling("markov", "hidden_number", limit=1)


@pytest.mark.parametrize(
    ("given", "in_flight"),
    [
        ({"endpoint": URLS}, 2048),  # the most; how many of them fly at a time, the servers decide
        ({"endpoint": URLS, "concurrency": 7}, 7),
        ({"engine": "markov"}, 256),
        ({"engine": "markov", "concurrency": 3000}, 3000),
    ],
)
def test_how_much_is_in_flight(plan: SamplingPlan, tmp_path: Path, given: dict[str, Any], in_flight: int) -> None:
    _, found = EngineChoice(**{"engine": "http"} | given).open(plan, tmp_path)
    assert found == in_flight

"""Log-probabilities from real servers: with the samples, in a second pass, and by the model in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from extrap_eval.steps.logprobs import agreement, token_distributions
from extrap_eval.store import open_run
from tests.cli.conftest import Command
from tests.engine_servers import EngineServer

pytestmark = pytest.mark.engine  # its servers are asked for by name
TOP = 20


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def server(request: pytest.FixtureRequest) -> Iterator[EngineServer]:
    """One after the other, so that neither takes the other's processor time."""
    found: EngineServer = request.getfixturevalue(f"{request.param}_process")
    yield found
    found.kill()


def arguments(server: EngineServer, out: str, *more: str) -> list[str]:
    return [
        *("sample", "--model", str(server.model_path), "--benchmark", "residue_search_tiny", "--n", "2", "--out", out),
        *("--budget-max", "400", "--endpoint", server.url, "--concurrency", "16", "--quiet", *more),
    ]


def sampled_with(command: Command, server: EngineServer, out: str) -> None:
    done = command(*arguments(server, out, "--logprobs", str(TOP)))
    assert done.returncode == 0, done.stderr


def close(run: Path, entropy: float, chosen: float) -> None:
    """Both ways agree to the rounding of bfloat16, in which these servers compute."""
    table = agreement(run).set_index("quantity")
    print(f"\n{table.to_string()}")
    assert table["tokens"].min() > 2000
    assert table.loc["entropy", "mean"] < entropy
    assert table.loc["chosen", "mean"] < chosen
    assert table.loc["branching", "equal"] > 0.98
    assert table.loc["covered", "mean"] < 1e-3


def test_with_the_samples_and_again(command: Command, server: EngineServer, tmp_path: Path) -> None:
    sampled_with(command, server, "run")
    run = open_run(tmp_path / "run")
    lengths = {completion.key: completion.n_tokens for completion in run.completions(columns=[])}
    kept = dict(token_distributions(run))
    assert {key: len(each) for key, each in kept.items()} == lengths
    assert {each.top for each in kept.values()} == {TOP}
    assert all((each.covered > 0.99).all() and (each.chosen <= 0).all() for each in kept.values())
    entropy = np.concatenate([each.entropy for each in kept.values()])
    assert 0.01 < entropy.mean() < 0.5  # this model is sure of most tokens
    assert entropy.max() > 1  # and jumps anywhere now and then
    assert run.manifest.invocations[-1]["settings"]["logprobs"] == TOP

    shutil.copytree(tmp_path / "run", tmp_path / "local")  # its second pass by the model in this process
    done = command("logprobs", "run", "--again", "--endpoint", server.url, "--figure", "entropy.svg")
    assert done.returncode == 0, done.stderr
    assert "drawn, read again" in done.stdout
    assert (tmp_path / "entropy.svg").stat().st_size > 5000
    close(tmp_path / "run", 2e-3, 5e-3)
    done = command("logprobs", "local", "--again", "--engine", "local", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    close(tmp_path / "local", 4e-3, 1e-2)


def test_a_second_pass_over_samples_that_came_without(command: Command, server: EngineServer, tmp_path: Path) -> None:
    done = command(*arguments(server, "run"))
    assert done.returncode == 0, done.stderr
    assert dict(token_distributions(tmp_path / "run")) == {}
    asked = command("logprobs", "run", "--endpoint", server.url, "--json")
    assert asked.returncode == 0, asked.stderr
    rows = {(row["part"], row["metric"]): row for row in json.loads(asked.stdout)}
    assert rows["all", "entropy"]["traces"] == 24
    assert 1 < rows["all", "perplexity"]["value"] < 1.5
    kept = dict(token_distributions(tmp_path / "run"))
    assert len(kept) == 24
    # Nothing is asked a second time, so no engine is needed.
    again = command("logprobs", "run", "--json")
    assert (again.returncode, again.stdout) == (0, asked.stdout)


def test_more_than_a_server_allows_is_one_line(command: Command, vllm_server: EngineServer) -> None:
    done = command(*arguments(vllm_server, "run", "--logprobs", "25"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {vllm_server.url}")
    assert "--max-logprobs" in done.stderr

"""Scoring on two nodes: the same bytes as without them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from extrap_eval.store import Run, open_run
from tests.cli.conftest import Command
from tests.engines.cluster.conftest import Cluster

pytestmark = pytest.mark.slow


def layer_files(run: Run) -> dict[str, bytes]:
    """Everything of the score layer that does not name the moment it was made: both tables and what they stand for."""
    layer = run.layer()
    score = layer.score()
    files = {name: (layer.path / file).read_bytes() for name, file in score["files"].items()}
    kept = {name: score[name] for name in ("completions_digest", "counts", "settings", "versions")}
    return files | {"score": json.dumps(kept, sort_keys=True).encode()}


def sampled(command: Command, small_benchmark: Path, name: str, *tops_up: int) -> Path:
    """A run of the markov model that was topped up again and again, so that it has as many parts."""
    for n in tops_up:
        done = command(
            *("sample", "--model", "markov", "--benchmark", small_benchmark, "--n", n, "--out", name, "--quiet"),
            *("--budget-max", 2048),
        )
        assert done.returncode == 0, done.stderr
    return Path(name)


def test_the_score_layer_is_the_same_to_the_byte(
    cluster: Cluster, command: Command, small_benchmark: Path, tmp_path: Path
) -> None:
    path = tmp_path / sampled(command, small_benchmark, "run", 6, 12, 20)
    parts = sorted((path / "completions" / "rollout").glob("part-*.parquet"))
    assert len(parts) == 3
    # What a crash in the middle of sealing leaves: the newest part's completions stand in an older one too.
    shutil.copy(parts[0], parts[0].with_name("part-00007.parquet"))
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)

    alone = command("score", path)
    assert alone.returncode == 0, alone.stderr
    on_ray = command("score", copy, "--ray", "--ray-address", cluster.address)
    assert on_ray.returncode == 0, on_ray.stderr
    assert on_ray.stdout.replace("copy", "run") == alone.stdout
    assert "160 samples" in on_ray.stdout
    assert layer_files(open_run(copy)) == layer_files(open_run(path))


def test_damage_on_a_node_is_one_line_here(
    cluster: Cluster, command: Command, small_benchmark: Path, tmp_path: Path
) -> None:
    path = tmp_path / sampled(command, small_benchmark, "damaged", 4)
    (part,) = (path / "completions" / "rollout").glob("part-*.parquet")
    data = bytearray(part.read_bytes())
    at = len(data) // 3  # in the pages of ids, where only a reader of them notices
    data[at : at + 64] = bytes(64)
    part.write_bytes(data)
    done = command("score", path, "--ray", "--ray-address", cluster.address)
    assert done.returncode == 1
    assert "part-00000.parquet: damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (path / "scores" / "default" / "score.json").exists()


@pytest.mark.parametrize("arguments", [("--ray-address", "127.0.0.1:1")])
def test_no_cluster_is_one_line(
    command: Command, small_benchmark: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    pytest.importorskip("ray")
    path = tmp_path / sampled(command, small_benchmark, "run", 2)
    done = command("score", path, "--ray", *arguments)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: --ray-address 127.0.0.1:1: no Ray cluster answers")

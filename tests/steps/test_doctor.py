"""Which checks are made of what, and with which result."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from extrap_eval.errors import UserError
from extrap_eval.preflight.check import Check, passed
from extrap_eval.steps.doctor import Question, examine
from extrap_eval.steps.servers import ServerOptions
from tests.engine_servers import EngineServer, python_of
from tests.preflight.test_cache import QWEN3_1_7B
from tests.preflight.test_files import safetensors


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    """Of the two versions of an engine, installed here and at the server, the latter."""
    assert len({(check.name, check.where) for check in checks}) == len(checks)
    return {check.name: check for check in checks}


def statuses(checks: tuple[Check, ...]) -> dict[str, str]:
    return {name: check.status for name, check in by_name(checks).items()}


@pytest.fixture
def small_card(small_model: Path, tmp_path: Path) -> Path:
    """A card of the small model, in a file of its own; ``changed`` copies change it."""
    card = {
        "name": "small",
        "hf_id": str(small_model),
        "think": {"open": "<think>", "close": "</think>", "opened_by_prompt": False},
        "end_tokens": ["<|im_end|>"],
        "max_new_tokens": 512,
        "max_model_len": 4096,
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


def changed(path: Path, **changes: Any) -> str:
    other = path.with_name("changed.yaml")
    other.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return str(other)


def test_a_policy_needs_nothing() -> None:
    assert statuses(examine(Question("markov", "hidden_number"))) == {
        "model card": "ok", "tokenizer": "ok", "benchmark": "ok", "think block": "ok", "end tokens": "not checked",
        "disk": "ok", "model's context": "ok", "engine": "ok",
    }  # fmt: skip


def test_without_an_engine_the_card_is_checked(small_card: Path) -> None:
    assert statuses(examine(Question(str(small_card), "residue_search_tiny"))) == {
        "model card": "ok", "tokenizer": "ok", "benchmark": "ok", "think block": "ok", "end tokens": "ok", "disk": "ok",
        "model's context": "ok", "engine": "not checked",
    }  # fmt: skip


def test_a_card_that_cannot_be_read_ends_it(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\nsampling: {top_p: 1.5}\n")
    (only,) = examine(Question(str(tmp_path / "bad.yaml")))
    assert (only.name, only.status) == ("model card", "failed")
    assert "sampling.top_p" in only.found


def test_what_is_wrong_with_a_card_does_not_hide_the_rest(small_card: Path) -> None:
    wrong = changed(
        small_card,
        think={"open": "<think>", "close": "</think>", "opened_by_prompt": True},
        end_tokens=["<|endoftext|>"],
    )
    found = by_name(examine(Question(wrong, "residue_search_tiny")))
    assert {name for name, check in found.items() if check.status == "failed"} == {"think block", "end tokens"}
    assert "opened_by_prompt is true" in found["think block"].found
    assert "<|im_end|> (" in found["end tokens"].found
    assert found["disk"].status == "ok"


def test_a_benchmark_that_is_not_there(small_card: Path) -> None:
    found = by_name(examine(Question(str(small_card), "no_such_benchmark")))
    assert found["benchmark"].status == "failed"
    assert found["think block"].status == "ok"  # of one question
    assert "disk" not in found


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (Question("markov", engine="tgi"), "tgi is not one of"),
        (Question("markov", engine="http"), "--endpoint"),
        (Question("markov", engine="local", endpoints=("http://x",)), "asks no server"),
    ],
)
def test_options_that_contradict_each_other(question: Question, says: str) -> None:
    with pytest.raises(UserError, match=says):
        examine(question)


def test_the_local_engine(small_card: Path) -> None:
    pytest.importorskip("torch")
    found = by_name(examine(Question(str(small_card), engine="local", concurrency=8)))
    assert (found["engine version"].status, found["memory"].status) == ("ok", "ok")
    assert "torch" in found["engine version"].found


def test_an_engine_that_is_not_installed(small_card: Path, tmp_path: Path) -> None:
    options = ServerOptions(engine_python=tmp_path)
    found = by_name(examine(Question(str(small_card), engine="vllm", servers=options)))
    assert found["engine version"].status == "failed"
    assert found["start of one server"].status == "not checked"


@pytest.fixture
def eight_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver shows 8 GPUs of 80 GB."""
    folder = tmp_path / "driver"
    folder.mkdir()
    rows = "".join(f"{i}, GPU-{i}, NVIDIA H100 80GB HBM3, 81559, 81000\n" for i in range(8))
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{rows}END\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("eight_gpus")
@pytest.mark.parametrize(
    ("budget", "options", "status", "says"),
    [
        (32_768, ServerOptions(), "ok", "8 x NVIDIA H100"),
        (32_768, ServerOptions(gpus=2), "ok", "2 x NVIDIA H100"),
        (32_768, ServerOptions(gpus=2, tensor_parallel=2), "ok", "per GPU"),
        (10_000_000, ServerOptions(), "failed", "not one fits"),
        (32_768, ServerOptions(memory_fraction=0.08), "failed", "not one fits"),
    ],
)
def test_gpus_against_weights_and_cache(
    small_card: Path, tmp_path: Path, budget: int, options: ServerOptions, status: str, says: str
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(QWEN3_1_7B))
    safetensors(model / "model.safetensors", {"a": ("BF16", [0])})
    with (model / "pytorch_model.bin").open("wb") as weights:
        weights.truncate(3_440_000_000)  # takes no room on the disk
    (model / "model.safetensors").unlink()
    card = changed(small_card, hf_id=str(model), tokenizer=yaml.safe_load(small_card.read_text())["hf_id"],
                   max_new_tokens=budget, max_model_len=None)  # fmt: skip
    found = by_name(examine(Question(card, engine="vllm", servers=options, start=False)))
    check = found["GPU memory"]
    assert (check.status, says in check.found) == (status, True), check


def test_gpus_that_are_not_there(small_card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = by_name(examine(Question(str(small_card), engine="vllm", servers=ServerOptions(gpus=4), start=False)))
    assert found["engine"].status == "failed"
    assert "--gpus 4" in found["engine"].found


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.engine
def test_a_server_is_started_asked_and_ended(small_card: Path, kind: Any) -> None:
    said: list[str] = []
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    checks = examine(
        Question(
            str(small_card),
            "residue_search_tiny",
            kind,
            servers=ServerOptions(engine_python=python_of(kind), replicas=1),
        ),
        said.append,
    )
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    found = by_name(checks)
    assert passed(checks), [check for check in checks if check.status == "failed"]
    assert {check.status for check in checks} == {"ok"}, [check for check in checks if check.status != "ok"]
    assert {"start of one server", "same tokenizer", "token ids", "end of a completion", "prefix cache"} <= set(found)


@pytest.mark.engine
def test_a_server_that_does_not_come_up_is_explained(small_card: Path) -> None:
    said: list[str] = []
    options = ServerOptions(engine_python=python_of("vllm"), replicas=1, arguments=("--no-such-option=1",))
    found = by_name(examine(Question(str(small_card), engine="vllm", servers=options), said.append))
    assert found["start of one server"].status == "failed"
    assert any("no-such-option" in line for line in [*said, found["start of one server"].found])


def test_a_running_server_with_a_card_that_is_wrong(vllm_server: EngineServer, small_card: Path) -> None:
    wrong = changed(
        small_card,
        max_new_tokens=4090,
        max_model_len=5120,
        think={"open": "<think>", "close": "</think>", "opened_by_prompt": True},
        end_tokens=["<|endoftext|>"],
    )
    found = by_name(examine(Question(wrong, "residue_search_tiny", endpoints=(vllm_server.url,))))
    assert {name for name, check in found.items() if check.status == "failed"} == {
        "think block", "end tokens", "context", "end of a completion",
    }  # fmt: skip
    assert found["same tokenizer"].status == "ok"
    right = statuses(examine(Question(str(small_card), "residue_search_tiny", endpoints=(vllm_server.url,))))
    assert set(right.values()) == {"ok"}, right

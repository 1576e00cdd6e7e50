"""What is read of a model's folder, or of a hub that is a small server here."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from pathlib import Path

import pytest

from extrap_eval.preflight.files import INDEX, ModelFiles, model_files

CONFIG = {"torch_dtype": "bfloat16", "eos_token_id": 7, "num_hidden_layers": 2}
BYTES = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1}


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> int:
    """Write a file of zeros, return the bytes of its tensors."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        end = at + BYTES[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}  # type: ignore[dict-item]
        at = end
    packed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + bytes(at))
    return at


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


def test_one_file_of_weights(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    size = safetensors(tmp_path / "model.safetensors", {"a": ("BF16", [10, 3]), "b": ("F32", [5])})
    files = model_files(str(tmp_path))
    assert files.weights == {"bfloat16": 60, "float32": 20}
    assert sum(files.weights.values()) == size
    assert files.config == CONFIG
    assert files.problem is None
    assert files.served_bytes(None) == 70  # float32 is served as the config's bfloat16
    assert files.served_bytes("float32") == 140


def test_shards_by_their_index_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    safetensors(tmp_path / "one.safetensors", {"a": ("BF16", [8])})
    safetensors(tmp_path / "two.safetensors", {"b": ("BF16", [4])})
    safetensors(tmp_path / "consolidated.safetensors", {"a": ("BF16", [8]), "b": ("BF16", [4])})
    write(
        tmp_path,
        INDEX,
        {"metadata": {"total_size": 24}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}},
    )
    assert model_files(str(tmp_path)).weights == {"bfloat16": 24}


def test_an_index_whose_shards_are_not_here_still_gives_the_total(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    write(tmp_path, INDEX, {"metadata": {"total_size": 24}, "weight_map": {"a": "one.safetensors"}})
    assert model_files(str(tmp_path)).weights == {"bfloat16": 24}


def test_quantised_weights_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    safetensors(tmp_path / "model.safetensors", {"a": ("F8_E4M3", [100]), "scale": ("F32", [10])})
    assert model_files(str(tmp_path)).served_bytes("bfloat16") == 100 + 20


def test_older_formats_count_by_their_size(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(500))
    assert model_files(str(tmp_path)).weights == {"bfloat16": 500}


def test_float32_without_a_dtype_is_served_as_bfloat16() -> None:
    assert ModelFiles("x", {"torch_dtype": "float32"}, None, {"float32": 400}).served_bytes(None) == 200
    assert ModelFiles("x", {}, None, {}).served_bytes(None) is None


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [1, 2]}, {"eos_token_id": 3}, (1, 2)),
        ({"eos_token_id": 1}, {"eos_token_id": 3}, (1,)),
        ({"temperature": 1}, {"eos_token_id": 3}, (3,)),
        (None, {"eos_token_id": [3]}, (3,)),
        (None, {}, None),
        (None, None, None),
    ],
)
def test_end_tokens(generation: dict[str, object] | None, config: dict[str, object] | None, expected: object) -> None:
    assert ModelFiles("x", config, generation).end_tokens == expected


@pytest.mark.parametrize("broken", ["{", "[1]", ""])
def test_a_broken_config_is_a_missing_one(tmp_path: Path, broken: str) -> None:
    (tmp_path / "config.json").write_text(broken)
    files = model_files(str(tmp_path))
    assert files.config is None
    assert "config.json" in str(files.problem)


def test_a_torn_file_of_weights_counts_by_its_size(tmp_path: Path) -> None:
    write(tmp_path, "config.json", CONFIG)
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{")
    assert model_files(str(tmp_path)).weights == {"bfloat16": 9}


def test_the_real_small_model(small_model: Path) -> None:
    files = model_files(str(small_model))
    vocabulary = json.loads((small_model / "tokenizer.json").read_text())
    (end,) = [token["id"] for token in vocabulary["added_tokens"] if token["content"] == "<|im_end|>"]
    assert files.end_tokens == (end,)
    size = (small_model / "model.safetensors").stat().st_size
    assert 0.98 * size < sum(files.weights.values()) < size
    assert set(files.weights) == {"bfloat16"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """A hub with one repository, as far as it is asked here: files, and a list of them with their sizes."""
    folder = tmp_path / "org" / "model" / "resolve" / "main"
    folder.mkdir(parents=True)
    write(folder, "config.json", CONFIG)
    write(folder, "generation_config.json", {"eos_token_id": [7, 8]})
    about = tmp_path / "api" / "models" / "org" / "model"
    about.mkdir(parents=True)
    listing = {
        "id": "org/model",
        "siblings": [{"rfilename": "config.json", "size": 60}, {"rfilename": "model.safetensors", "size": 1234}],
    }
    (about / "revision").mkdir()
    write(about, "index.html", listing)

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("ETag", f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            super().end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


ASK = """
import json, sys
from dataclasses import asdict
from extrap_eval.preflight.files import model_files
print(json.dumps([asdict(model_files(sys.argv[1])) for _ in range(2)]))
"""


@pytest.mark.slow
def test_a_hub_is_asked_for_small_files_and_sizes_only(hub: str, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    said = ask("org/model", environment)
    assert said["generation"] == {"eos_token_id": [7, 8]}
    assert said["weights"] == {"bfloat16": 1234}
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    # what the cache holds is enough without a connection, but for sizes that it does not have
    offline = ask("org/model", environment | {"HF_HUB_OFFLINE": "1"})
    assert offline["config"] == CONFIG
    assert "weights" in offline["problem"]


@pytest.mark.slow
def test_a_model_that_is_nowhere_is_said_to_be(tmp_path: Path) -> None:
    said = ask("org/nowhere", {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    assert said["config"] is None
    assert "org/nowhere" in said["problem"]


def ask(name: str, environment: dict[str, str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", ASK, name], capture_output=True, text=True, env=os.environ | environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    first, again = json.loads(done.stdout)
    assert first == again
    return dict(first)

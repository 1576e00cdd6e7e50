"""What a model's own files say, without loading a weight: config, end tokens, how many bytes of which dtype.

From a folder, the hub's cache on this machine, or the hub.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from extrap_eval.preflight.cache import ITEM_BYTES, item_bytes, weights_dtype
from extrap_eval.problems.rows import quiet_hub

INDEX = "model.safetensors.index.json"
_STORED = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' names
_LONGEST_HEADER = 1 << 28


@dataclass(frozen=True)
class ModelFiles:
    """``config`` and ``generation``: config.json and generation_config.json, None where they cannot be had.
    ``weights``: bytes by stored dtype (torch's names; "" where it is not known). ``problem``: why something is
    missing.
    """

    source: str
    config: Mapping[str, Any] | None = None
    generation: Mapping[str, Any] | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None

    @property
    def end_tokens(self) -> tuple[int, ...] | None:
        """The ids at which a server stops of its own accord: generation_config.json's, else config.json's. None
        where neither names any.
        """
        for said in (self.generation, self.config):
            ids = (said or {}).get("eos_token_id")
            if ids is not None:
                return (ids,) if isinstance(ids, int) else tuple(ids)
        return None

    def served_bytes(self, dtype: str | None) -> int | None:
        """Bytes of all weights served as ``dtype`` (None or "auto": the config's own); None where not known.

        Floating point weights of two bytes or more are converted; quantised ones stay what they are. As engines
        do, float32 weights without a dtype are served as bfloat16.
        """
        if not self.weights:
            return None
        wanted = dtype if dtype not in (None, "auto") else weights_dtype(self.config or {})
        if wanted in (None, "float32") and dtype in (None, "auto"):
            wanted = "bfloat16"
        total = 0
        for stored, stored_bytes in self.weights.items():
            if stored in _STORED.values() and wanted in ITEM_BYTES:
                stored_bytes = stored_bytes // item_bytes(stored) * item_bytes(str(wanted))
            total += stored_bytes
        return total


def model_files(source: str, revision: str | None = None) -> ModelFiles:
    """What can be read of a folder or hub id; never raises for what cannot."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _gather(source, lambda name: folder / name if (folder / name).is_file() else None, _sizes(folder))
    return _from_hub(source, revision)


def _gather(source: str, find: Callable[[str], Path | None], sizes: Mapping[str, int]) -> ModelFiles:
    """``find``: where a file of the model lies, None where it has none."""
    config = _read(find("config.json"))
    weights = _by_dtype(find, sizes, weights_dtype(config or {}) or "")
    problem = None
    if config is None:
        problem = f"{source} has no readable config.json"
    elif not weights:
        problem = f"{source} has no weights whose size could be read"
    return ModelFiles(source, config, _read(find("generation_config.json")), weights, problem)


def _by_dtype(find: Callable[[str], Path | None], sizes: Mapping[str, int], dtype: str) -> dict[str, int]:
    """Bytes by dtype, from the headers of safetensors files that are here; else all bytes as ``dtype``."""
    found: dict[str, int] = {}
    names = [name for name in sizes if name.endswith(".safetensors")]
    index = _read(find(INDEX))
    if index is not None:
        names = sorted(set((index.get("weight_map") or {}).values()))
    headers = [_header(path) if (path := find(name)) is not None else None for name in names]
    if headers and all(header is not None for header in headers):
        for header in headers:
            for stored, count in (header or {}).items():
                found[stored] = found.get(stored, 0) + count
        return found
    total = int(((index or {}).get("metadata") or {}).get("total_size") or 0)
    total = total or sum(sizes[name] for name in names if name in sizes)
    total = total or sum(size for name, size in sizes.items() if name.endswith((".bin", ".pt", ".pth", ".gguf")))
    return {dtype: total} if total else {}


def _header(path: Path) -> dict[str, int] | None:
    """Bytes by dtype in one safetensors file, None when it is none."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            tensors = json.loads(file.read(min(length, _LONGEST_HEADER)))
        found: dict[str, int] = {}
        for name, tensor in tensors.items():
            if name != "__metadata__":
                first, last = tensor["data_offsets"]
                dtype = _STORED.get(tensor["dtype"], tensor["dtype"].lower())
                found[dtype] = found.get(dtype, 0) + (last - first if prod(tensor["shape"]) else 0)
        return found
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _from_hub(repository: str, revision: str | None) -> ModelFiles:
    """Small files are fetched (or come from the cache), weights never; their sizes are asked for."""
    with quiet_hub():
        from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        def find(name: str) -> Path | None:
            if name.endswith(".safetensors"):
                there = try_to_load_from_cache(repository, name, revision=revision)
                return Path(there) if isinstance(there, str) else None
            try:
                return Path(hf_hub_download(repository, name, revision=revision))
            except (HfHubHTTPError, OSError):  # not there, or not to be had
                return None

        try:
            hf_hub_download(repository, "config.json", revision=revision)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            return ModelFiles(repository, problem=f"{repository} cannot be read ({_first_line(error)})")
        try:
            listed = HfApi().model_info(repository, revision=revision, files_metadata=True).siblings or []
            sizes = {file.rfilename: file.size or 0 for file in listed}
        except Exception:  # no connection, under a name that depends on the version: what the cache holds must do
            config = try_to_load_from_cache(repository, "config.json", revision=revision)
            sizes = _sizes(Path(config).parent) if isinstance(config, str) else {}
        return _gather(repository, find, sizes)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""What one completion takes in the KV cache, by arithmetic on a model's config.json.

Checked against what vLLM itself reserves; what a config does not say (recurrent states, caches of indexers) is
named, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ITEM_BYTES = {
    "float64": 8, "float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2,
    "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "float8_e4m3fn": 1, "float8_e5m2": 1, "int8": 1,
}  # fmt: skip

_TEXT_PARTS = ("text_config", "llm_config", "language_config")  # where a multimodal model keeps its language model
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
_WIDTH = ("hidden_size", "n_embd", "d_model")
_HYBRID_LETTERS = {"*": "full", "M": "state", "-": "none"}  # hybrid_override_pattern of Nemotron-H


class NotKnown(Exception):
    """A config that does not say enough; the message says what is missing."""


@dataclass(frozen=True)
class Layers:
    """``count`` layers alike: so many bytes per token for each of ``heads``, of the last ``window`` tokens (None:
    of all). Heads are divided among tensor-parallel GPUs and repeated where there are fewer than GPUs.
    """

    count: int
    heads: int
    bytes_per_head: int
    window: int | None = None


@dataclass(frozen=True)
class CacheShape:
    """The layers that remember tokens, and how many keep a state of a constant, here unknown, size instead."""

    layers: tuple[Layers, ...]
    stateful: int = 0
    latent: bool = False  # multi-head latent attention

    def per_token(self, tensor_parallel: int = 1) -> int:
        """Bytes per GPU for one more token of a short completion."""
        return self.bytes_for(1, tensor_parallel)

    def bytes_for(self, tokens: int, tensor_parallel: int = 1) -> int:
        """Bytes per GPU for one sequence of ``tokens``, prompt included."""
        return sum(
            group.count
            * -(-group.heads // tensor_parallel)
            * group.bytes_per_head
            * (tokens if group.window is None else min(tokens, group.window))
            for group in self.layers
        )

    @property
    def reservation(self) -> str:
        """What the figures leave out, "" when nothing."""
        left_out = []
        if self.stateful:
            left_out.append(f"the states of {self.stateful} recurrent layers are not counted")
        if self.latent:
            left_out.append("a latent cache (MLA): an indexer's own cache, if there is one, is not counted")
        if any(group.window for group in self.layers):
            left_out.append("layers with a sliding window may be kept longer")
        return "; ".join(left_out)


def cache_shape(config: Mapping[str, Any], cache_dtype: str | None = None) -> CacheShape:
    """Read a config.json. ``cache_dtype``: of keys and values (None: the one of the weights).

    Raises NotKnown for a config that names no layers, heads or widths, and for an unknown dtype.
    """
    text = next((config[part] for part in _TEXT_PARTS if isinstance(config.get(part), Mapping)), config)
    itemsize = item_bytes(cache_dtype or weights_dtype(config) or "bfloat16")
    count = _number(text, _LAYERS, "the number of layers")
    kinds = _kinds(text, count)
    attending = len(kinds) - kinds.count("state") - kinds.count("none")
    if text.get("kv_lora_rank"):
        width = int(text["kv_lora_rank"]) + int(text.get("qk_rope_head_dim") or 0)
        return CacheShape((Layers(attending, 1, width * itemsize),), kinds.count("state"), latent=True)
    heads = _heads(text, count)
    bytes_per_head = 2 * _head_width(text) * itemsize
    groups: dict[tuple[int, int | None], int] = {}
    for kind, layer_heads in zip(kinds, heads, strict=True):
        if kind in ("full", "window"):
            window = int(text.get("sliding_window") or text.get("attention_chunk_size") or 0) or None
            key = (layer_heads, window if kind == "window" else None)
            groups[key] = groups.get(key, 0) + 1
    return CacheShape(
        tuple(Layers(number, layer_heads, bytes_per_head, window) for (layer_heads, window), number in groups.items()),
        kinds.count("state"),
    )


def weights_dtype(config: Mapping[str, Any]) -> str | None:
    for part in (config, *(config.get(name) or {} for name in _TEXT_PARTS)):
        for field in ("dtype", "torch_dtype"):
            if isinstance(part.get(field), str):
                return str(part[field]).removeprefix("torch.")
    return None


def item_bytes(dtype: str) -> int:
    """Raises NotKnown."""
    if dtype not in ITEM_BYTES:
        raise NotKnown(f"how many bytes {dtype} takes")
    return ITEM_BYTES[dtype]


def full_length(room: int, shape: CacheShape, tokens: int, tensor_parallel: int = 1) -> int:
    """How many sequences of ``tokens`` fit at once into ``room`` bytes of cache per GPU."""
    each = shape.bytes_for(tokens, tensor_parallel)
    return max(0, room // each) if each else 0


def _kinds(text: Mapping[str, Any], count: int) -> list[str]:
    """For each layer: "full", "window", "state" (recurrent, constant size) or "none" (remembers nothing)."""
    pattern = text.get("hybrid_override_pattern")
    if isinstance(pattern, str) and len(pattern) == count:
        return [_HYBRID_LETTERS.get(letter, "full") for letter in pattern]
    named = text.get("layer_types") or text.get("layers_block_type")
    if isinstance(named, Sequence) and len(named) == count:
        return [_kind(str(name)) for name in named]
    every = text.get("full_attention_interval")
    if every:
        return ["full" if (i + 1) % int(every) == 0 else "state" for i in range(count)]
    if text.get("sliding_window") and text.get("use_sliding_window") is not False:
        every = text.get("sliding_window_pattern")
        if every:
            return ["full" if (i + 1) % int(every) == 0 else "window" for i in range(count)]
        full = int(text.get("max_window_layers") or 0)
        return ["full" if i < full else "window" for i in range(count)]
    return ["full"] * count


def _kind(name: str) -> str:
    if "sliding" in name or "chunk" in name or "local" in name:
        return "window"
    if any(word in name for word in ("linear", "mamba", "recurrent", "conv", "rwkv", "ssm", "deltanet")):
        return "state"
    return "none" if name in ("mlp", "moe") else "full"


def _heads(text: Mapping[str, Any], count: int) -> list[int]:
    given = next((text[name] for name in _KV_HEADS if text.get(name) is not None), None)
    if isinstance(given, Sequence):
        if len(given) != count:
            raise NotKnown("the key and value heads of every layer")
        return [int(heads) for heads in given]
    if given is None:
        given = 1 if text.get("multi_query") else _number(text, _HEADS, "the number of heads")
    return [int(given)] * count


def _head_width(text: Mapping[str, Any]) -> int:
    if text.get("head_dim"):
        return int(text["head_dim"])
    return _number(text, _WIDTH, "the width of a head") // _number(text, _HEADS, "the number of heads")


def _number(text: Mapping[str, Any], names: Sequence[str], what: str) -> int:
    for name in names:
        if isinstance(text.get(name), int):
            return int(text[name])
    raise NotKnown(what)

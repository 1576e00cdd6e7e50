"""Small models with random weights, one of each kind that the local engine must tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY = 64
END = 1
CONTEXT = 256
COMMON = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": END,
    "pad_token_id": 0,
    "max_position_embeddings": CONTEXT,
    # Wide weights: with the usual ones attention hardly matters and every token follows from the last one alone.
    "initializer_range": 0.35,
}
ATTENTION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def _config(kind: str) -> Any:
    import transformers as hf

    if kind == "llama":
        return hf.LlamaConfig(**COMMON, **ATTENTION)
    if kind == "qwen3":
        return hf.Qwen3Config(**COMMON, **ATTENTION | {"num_key_value_heads": 4})
    if kind == "gpt2":
        return hf.GPT2Config(
            **COMMON | {"n_positions": CONTEXT, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48}
        )
    if kind == "mistral, window 8":
        return hf.MistralConfig(**COMMON, **ATTENTION, sliding_window=8)
    if kind == "gemma3, some windows":
        layers = ["sliding_attention", "full_attention", "sliding_attention"]
        return hf.Gemma3TextConfig(**COMMON, **ATTENTION, sliding_window=8, layer_types=layers, query_pre_attn_scalar=8)
    if kind == "mixtral, experts":
        return hf.MixtralConfig(**COMMON, **ATTENTION, num_local_experts=4)
    if kind == "mamba":
        return hf.MambaConfig(**COMMON | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4})
    if kind == "bloom, alibi":
        return hf.BloomConfig(**COMMON | {"hidden_size": 32, "n_layer": 2, "n_head": 4})
    if kind == "gemma2, softcap":
        return hf.Gemma2Config(**COMMON, **ATTENTION, sliding_window=8, query_pre_attn_scalar=8)
    if kind == "gpt-oss, sinks":
        return hf.GptOssConfig(**COMMON, **ATTENTION, num_local_experts=4, sliding_window=8)
    if kind == "llama, dynamic rope":
        rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
        return hf.LlamaConfig(**COMMON, **ATTENTION, rope_parameters=rope)
    raise ValueError(kind)


BY_ROWS = ("llama", "qwen3", "gpt2", "mistral, window 8", "gemma3, some windows", "mixtral, experts")
IN_PLAIN_BATCHES = ("mamba", "bloom, alibi", "gemma2, softcap", "gpt-oss, sinks", "llama, dynamic rope")


def make(kind: str, folder: Path) -> Path:
    """A model of this kind in ``folder``; the same one every time."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(_config(kind))
    model.save_pretrained(folder)
    return folder

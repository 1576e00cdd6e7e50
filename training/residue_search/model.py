"""A small Qwen3 in plain PyTorch whose parameter names are those of ``Qwen3ForCausalLM``.

Written out so that nothing in it changes under a library upgrade: the weights must come out bit for bit the
same. ``hf_config`` is the ``config.json`` with which transformers, vLLM and SGLang load the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; the default has 1.87 million parameters."""

    vocab: int = 512
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    mlp: int = 512
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    max_positions: int = 5120


class Norm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, halves rotated. x (batch, heads, time, head_dim); cos, sin (batch, 1, time,
    head_dim).
    """
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.hidden, bias=False)
        self.q_norm = Norm(shape.head_dim, shape.norm_eps)
        self.k_norm = Norm(shape.head_dim, shape.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, _ = x.shape
        s = self.shape
        q = rotate(self.q_norm(self.q_proj(x).view(batch, time, s.heads, s.head_dim)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x).view(batch, time, s.kv_heads, s.head_dim)).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(batch, time, s.kv_heads, s.head_dim).transpose(1, 2).to(q.dtype)
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, time, s.heads * s.head_dim))


class Mlp(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.down_proj = nn.Linear(shape.mlp, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = Norm(shape.hidden, shape.norm_eps)
        self.post_attention_layernorm = Norm(shape.hidden, shape.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.norm_eps)


class Qwen3(nn.Module):
    """Causal language model with tied embeddings; ``seed`` alone decides the initial weights."""

    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        rng = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                std = 0.02 if "embed" in name else 1 / math.sqrt(weight.shape[1])
                if "o_proj" in name or "down_proj" in name:
                    std /= math.sqrt(2 * shape.layers)
                nn.init.normal_(weight, std=std, generator=rng)
        frequency = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
        self.register_buffer("frequency", frequency, persistent=False)

    def loss(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Mean cross-entropy of the next token over the positions whose target has mask 1.

        ids, positions (batch, time) int64; mask (batch, time) bool, True where the token itself is a target.
        """
        angle = positions[..., None].float() * self.frequency
        angle = torch.cat((angle, angle), -1)[:, None]
        x = self.model.embed_tokens(ids)
        cos, sin = angle.cos(), angle.sin()
        if torch.is_autocast_enabled("cpu"):
            cos, sin = cos.bfloat16(), sin.bfloat16()
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        chosen = mask[:, 1:]
        hidden = self.model.norm(x[:, :-1][chosen])
        logits = F.linear(hidden, self.model.embed_tokens.weight).float()
        return F.cross_entropy(logits, ids[:, 1:][chosen])


def hf_config(shape: Shape, end_id: int, pad_id: int) -> dict[str, object]:
    """The ``config.json`` of the exported model."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.max_positions,
        "initializer_range": 0.02,
        "rms_norm_eps": shape.norm_eps,
        "use_cache": True,
        "tie_word_embeddings": True,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": shape.layers,
        "bos_token_id": None,
        "eos_token_id": end_id,
        "pad_token_id": pad_id,
        "torch_dtype": "bfloat16",
    }

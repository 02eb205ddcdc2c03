"""Tiny random transformers models of the native decoder's families, saved as folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 96
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
# name: (model_type, what differs from SIZES)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"rope_theta": 500.0}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 10}),
    "llama-linear": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "llama-dynamic": ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "llama-llama3": ("llama", {"rope_scaling": _LLAMA3}),
    "llama-yarn": ("llama", {"rope_scaling": _YARN}),
    "smollm3": ("smollm3", {"num_hidden_layers": 5}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral-window": ("mistral", {"sliding_window": 7}),
    "qwen2": ("qwen2", {}),
    "qwen2-window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma3": (
        "gemma3_text",
        {"head_dim": 16, "sliding_window": 6, "num_hidden_layers": 7, "query_pre_attn_scalar": 20},
    ),
    "phi3": ("phi3", {}),
    "phi3-partial": ("phi3", {"partial_rotary_factor": 0.5, "sliding_window": 11, "head_dim": 16}),
    "phi3-longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 24,
            "rope_scaling": {
                "rope_type": "longrope",
                "short_factor": [1.0, 1.1, 1.2, 1.3],
                "long_factor": [1.5, 2.0, 3.0, 4.0],
            },
        },
    ),
}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def build(name: str, folder: Path, *, dtype: Any = torch.float32, **changes: Any) -> Any:
    """The model of family `name` in float32, whose weights bfloat16 holds exactly; saved too."""
    kind, own = FAMILIES[name]
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(kind, **{**SIZES, **own, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.0 if parameter.dim() > 1 else 0.3  # norms and biases that matter
            parameter.add_(torch.randn_like(parameter) * 0.2 * scale)
            parameter.copy_(parameter.bfloat16().float())
    model.eval().to(dtype).save_pretrained(folder)
    return model.float()


@dataclasses.dataclass
class Feed:
    """The core's Feed."""

    request: int
    tokens: list[int]
    positions: list[int]
    parents: list[int]
    keep: Any
    rows: int


def chain(tokens: list[int], keep: int = 0, rows: int | None = None, request: int = 0) -> Feed:
    """Tokens behind the first `keep` slots, one after another."""
    new = len(tokens)
    positions = list(range(keep, keep + new))
    rows = new if rows is None else rows
    return Feed(request, tokens, positions, list(range(-1, new - 1)), range(keep), rows)


def tokens(count: int, seed: int = 3) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (count,), generator=generator).tolist()

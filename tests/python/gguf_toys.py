"""GGUF files of tiny models, written as converters write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

# transformers' name of a layer's part -> GGUF's.
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA = PARTS | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write(
    model: Any, path: Path, architecture: str, merges: Sequence[tuple[str, str]] | None = None
) -> None:
    """`merges`: with a vocabulary of printable letters and these, as many as the model has ids."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if "original_max_position_embeddings" in rope:
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":  # converters write the factors themselves
        plain = 1 / rope["rope_theta"] ** (np.arange(0, head, 2) / head)
        own = model.model.rotary_emb.inv_freq.numpy()
        writer.add_tensor("rope_freqs.weight", (plain / own).astype(np.float32))
    for kind in ("long", "short"):
        if f"{kind}_factor" in rope:
            factors = np.array(rope[f"{kind}_factor"], np.float32)
            writer.add_tensor(f"rope_factors_{kind}.weight", factors)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
        slides = [kind == "sliding_attention" for kind in config.layer_types]
        writer.add_sliding_window_pattern(slides)
        writer.add_attention_scale(config.query_pre_attn_scalar**-0.5)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        writer.add_tensor(*converted(name, weight.numpy(), config, architecture))
    if merges is not None:
        add_vocabulary(writer, merges, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: Any, merges: Sequence[tuple[str, str]], config: Any) -> None:
    letters = [chr(33 + i) for i in range(config.vocab_size - len(merges))]
    tokens = letters + ["".join(pair) for pair in merges]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.NORMAL)] * len(tokens))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(config.eos_token_id)


def converted(name: str, weight: Any, config: Any, architecture: str) -> tuple[str, Any]:
    stem, _, kind = name.rpartition(".")
    if stem in TOP:
        stem = TOP[stem]
    else:
        _, _, layer, part = stem.split(".", 3)
        stem = f"blk.{layer}.{(GEMMA if architecture == 'gemma3' else PARTS)[part]}"
        if architecture in ("llama", "smollm3") and part[-6:] in ("q_proj", "k_proj"):
            keys = part.endswith("k_proj")
            heads = config.num_key_value_heads if keys else config.num_attention_heads
            pairs = weight.reshape(heads, 2, -1, *weight.shape[1:])
            weight = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)
    if architecture == "gemma3" and stem.endswith("norm"):
        weight = weight + 1
    return f"{stem}.{kind}", weight

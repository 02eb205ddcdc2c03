"""Tiny random models of the classes that transformers has, made from their configurations alone."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto

VOCAB = 64
LARGEST = 8_000_000  # parameters; more: a size was not found, and the default taken

# Sizes by the names that configurations give them.
_SIZES = {
    "vocab_size": VOCAB,
    "src_vocab_size": VOCAB,
    "tgt_vocab_size": VOCAB,
    "decoder_vocab_size": VOCAB,
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "emb_dim": 32,
    "embedding_size": 32,
    "dim": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "d_ff": 48,
    "d_inner": 48,
    "n_inner": 48,
    "num_layers": 4,
    "n_layers": 4,
    "num_hidden_layers": 4,
    "n_layer": 4,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_attention_heads": 4,
    "attention_heads": 4,
    "num_key_value_heads": 2,
    "num_kv_heads": 4,
    "num_heads": 4,
    "n_heads": 4,
    "n_head": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "head_dim": 8,
    "global_head_dim": 8,
    "d_kv": 8,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "o_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "index_n_heads": 8,
    "index_head_dim": 16,
    "index_topk": 8,
    "rotary_dim": 8,
    "ffn_hidden_size": 48,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "expert_ffn_hidden_size": 16,
    "intermediate_size_mlp": 48,
    "block_ff_dim": 48,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "top_k_experts": 2,
    "topk_group": 1,
    "n_group": 1,
    "first_k_dense_replace": 1,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_heads": 4,
    "linear_head_dim": 8,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "mamba_d_head": 8,
    "mamba_head_dim": 8,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 2,
    "mamba_chunk_size": 8,
    "n_mamba_heads": 2,
    "ssm_state_size": 8,
    "n_groups": 2,
    "state_size": 8,
    "conv_kernel": 4,
    "chunk_size": 8,
    "time_step_rank": 4,
    "lru_width": 32,
    "attention_window_size": 16,
    "sliding_window": 8,
    "attention_chunk_size": 16,
    "max_position_embeddings": 128,
    "n_positions": 128,
    "max_seq_len": 128,
    "max_source_positions": 128,
    "max_target_positions": 128,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCAB,
    "num_kv_shared_layers": 0,
    "laurel_rank": 4,
    "num_mel_bins": 8,
    "num_nextn_predict_layers": 0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "image_token_id": 3,
    "projection_dim": 32,
    "attention_probs_dropout_prob": 0.0,
}


def causal_classes() -> dict[str, str]:
    """{class: model type}, every one that transformers lists."""
    names = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return {name: kind for kind, name in reversed(names.items())}


def encoder_decoder_classes() -> dict[str, str]:
    """{class: model type}, of text and of speech."""
    text = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    speech = modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
    found = {name: kind for kind, name in reversed([*text.items(), *speech.items()])}
    # The list has Marian's class without a head.
    found.pop("MarianMTModel", None)
    return {**found, "MarianMTModel": "marian"}


def build(name: str, kind: str, seed: int = 0) -> Any:
    """A tiny random model of a class.

    Raises:
        Whatever transformers raises where it has no such configuration.
    """
    config_class = transformers.CONFIG_MAPPING[kind]
    model_class = getattr(transformers, name)
    config_class = model_class.config_class or config_class
    config = _config(config_class, _SPECIAL.get(name, {}) | _SPECIAL.get(kind, {}))
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        size = sum(p.numel() for p in model_class(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} parameters")
    torch.manual_seed(seed)
    model = model_class(config).eval()
    spread(model, seed)
    generation = model.generation_config
    generation.eos_token_id, generation.pad_token_id = None, 0  # texts of one length
    generation.forced_eos_token_id = generation.encoder_no_repeat_ngram_size = None
    if generation.begin_suppress_tokens:
        generation.begin_suppress_tokens, generation.suppress_tokens = [7, 9], [11, 12]
    return model


def _config(kind: Any, special: dict[str, Any]) -> Any:
    """A configuration with every size made small, those of its parts too."""
    if "encoder" in special:
        return kind(**special, decoder_start_token_id=1, pad_token_id=0, tie_word_embeddings=False)
    default = kind()
    values = default.to_dict()
    given = {
        key: _SIZES[key] for key, value in values.items() if key in _SIZES and value is not None
    }
    given |= {k: _SIZES[k] for k in ("pad_token_id", "bos_token_id", "eos_token_id") if k in values}
    if "tie_word_embeddings" in values:
        given["tie_word_embeddings"] = False  # tied, a token is likeliest behind itself
    if values.get("is_encoder_decoder"):
        given["decoder_start_token_id"] = 1
    for key, part in values.items():
        inner = getattr(default, key, None) if isinstance(part, dict) else None
        if isinstance(inner, transformers.PreTrainedConfig):
            given[key] = _config(type(inner), {}).to_dict()
    if "kv_lora_rank" in values and "num_key_value_heads" in given:
        given["num_key_value_heads"] = given["num_attention_heads"]
    for key in ("layer_types", "mlp_layer_types", "rope_parameters"):
        given.pop(key, None)
    config = kind(**{**given, **special})
    if getattr(config, "is_decoder", None) is False and not config.is_encoder_decoder:
        config.is_decoder = True
    return config


def spread(model: Any, seed: int) -> None:
    """Weights that make every token look back: small ones would hide what is wrong."""
    generator = torch.Generator().manual_seed(seed)
    tables = {m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim < 2 or not weight.is_floating_point():
                continue
            size = 1.0 if weight in tables else 1.3 / weight.shape[-1] ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=generator) * size)


_BERT = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_SPECIAL: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, "mamba_n_heads": 8},
    "zaya": {"num_experts_per_tok": 1},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "roc_bert": {"pronunciation_vocab_size": VOCAB, "shape_vocab_size": VOCAB},
    "nemotron": {"num_key_value_heads": 2},
    "ministral": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "kimi_linear": {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_experts_per_tok": 2,
    },
    "bailing_hybrid": {
        "layer_group_size": 2,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
    },
    "qwen4_exp": {
        "indexer_n_heads": 8,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 16,
        "indexer_compress_ratio": 2,
        "ngram_vocab_size_base": 100,
        "split_ngram_parts": 1,
        "hc_lowrank": 8,
    },
    "encoder-decoder": {
        "encoder": {"model_type": "bert", **_BERT},
        "decoder": {"model_type": "bert", **_BERT, "is_decoder": True, "add_cross_attention": True},
    },
    "reformer": {"axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16]},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "gemma4_assistant": {},
}

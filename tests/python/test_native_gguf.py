"""Toys of families of which no real GGUF file is at hand, written as converters write them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

import native_toys as toys  # noqa: E402
from native_toys import chain, tokens  # noqa: E402

from anydraft import InputError, _core  # noqa: E402

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
NAMES = ["llama-biases", "llama-llama3", "llama-linear", "smollm3", "qwen2", "qwen3", "gemma3"]
NAMES += ["phi3", "phi3-longrope", "llama-yarn"]


def write(model, path, architecture, **changes):
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
        writer.add_attention_scale(config.query_pre_attn_scalar**-0.5)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        writer.add_tensor(*converted(name, weight.numpy(), config, architecture))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def converted(name, weight, config, architecture):
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


@pytest.mark.parametrize("name", NAMES)
def test_a_gguf_file_gives_the_logits_of_transformers(name, tmp_path):
    model = toys.build(name, tmp_path)
    architecture = {"gemma3": "gemma3"}.get(name, toys.FAMILIES[name][0])
    write(model, tmp_path / "model.gguf", architecture)
    text = tokens(20 if "longrope" in name else 40)
    with torch.no_grad():
        expected = model(torch.tensor([text])).logits[0].numpy()
    rows = _core.Decoder(str(tmp_path / "model.gguf"), None, "float32").forward([chain(text)])
    assert np.abs(rows - expected).max() < 1e-5 * np.abs(expected).max()


def test_what_is_not_supported_is_refused_by_name(tmp_path):
    model = toys.build("llama", tmp_path)
    path = tmp_path / "model.gguf"
    write(model, path, "mamba2")
    with pytest.raises(InputError, match="mamba2"):
        _core.Decoder(str(path), None, "float32")
    write(model, path, "qwen3")
    with pytest.raises(InputError, match="attn_q_norm"):
        _core.Decoder(str(path), None, "float32")
    write(model, path, "llama")
    with pytest.raises(InputError, match="taken as it is"):
        _core.Decoder(str(path), "int8", "float32")
    # The tensor's type becomes I32, of the same size.
    content = path.read_bytes()
    name = b"blk.1.ffn_down.weight"
    at = content.index(name) + len(name) + 4 + 16
    path.write_bytes(content[:at] + (26).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(InputError, match="got I32"):
        _core.Decoder(str(path), None, "float32")

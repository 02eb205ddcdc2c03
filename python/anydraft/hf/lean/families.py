"""Takes a packed transformers decoder of a known family apart into its weights.

A model is recognised by the exact classes of its parts and by what its configuration says; one
detail that is not known and it is left alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from anydraft.hf.lean.coarse import CoarseLinear
from anydraft.hf.packing import Packed, fused

# Those whose layer is: norm, attention with rotary positions, norm, gated products.
_FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3", "Phi3")
_ROPES = {"default", "linear", "llama3", "yarn"}  # their angles do not depend on the text's length
_UNKNOWN_OPTIONS = (
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "use_bidirectional_attention",
)


@dataclass(frozen=True)
class Norm:
    """Root mean square norm: x * rsqrt(sum of squares + eps) * weight.

    weight [size] has taken in sqrt(size), and eps [1] size, of the usual form with a mean.
    """

    weight: torch.Tensor
    eps: torch.Tensor


@dataclass(frozen=True)
class Layer:
    """One layer; x += attention(norm(x)), x += down(activation(gate) * up) of norm(x)."""

    attention_norm: Norm
    qkv: Packed
    head_norm: Norm | None  # weight [heads + kv_heads, head_dim], of queries and keys
    out: Packed
    attended_norm: Norm | None  # of what is added to x
    mlp_norm: Norm
    gate_up: Packed
    activation: nn.Module
    down: Packed
    gated_norm: Norm | None  # of what is added to x
    scale: float  # of the scores
    rope: str | None  # the layer type, where each has angles of its own
    window: int | None  # how many positions back a token sees, its own included


@dataclass(frozen=True)
class Decoder:
    """A model: embedding, layers, norm, head."""

    embed: nn.Embedding
    layers: tuple[Layer, ...]
    norm: Norm
    head: Packed
    rotary: nn.Module
    heads: int
    kv_heads: int
    head_dim: int

    def least_rows(self) -> int:
        """The rows from which on all products are fast."""
        return max(product.least_rows for product in self._products())

    def is_coarse(self) -> bool:
        """Some weights are rounded."""
        return any(isinstance(product, CoarseLinear) for product in self._products())

    def _products(self) -> list[Packed]:
        layers = ((y.qkv, y.out, y.gate_up, y.down) for y in self.layers)
        return [self.head, *itertools.chain(*layers)]


class _Unrecognised(Exception):
    pass


def recognise(model: nn.Module) -> Decoder | None:
    """The parts of a packed model, None if it is not known in every detail."""
    try:
        return _decoder(model)
    except (_Unrecognised, AttributeError):  # a part that is not there
        return None


def _decoder(model: Any) -> Decoder:
    family = next((f for f in _FAMILIES if type(model).__name__ == f"{f}ForCausalLM"), "")
    _check_class(model, f"{family}ForCausalLM")
    inner, config = model.model, model.config
    _check_class(inner, f"{family}TextModel" if family == "Gemma3" else f"{family}Model")
    _check(not any(getattr(config, option, None) for option in _UNKNOWN_OPTIONS))
    _check(len(inner.layers) == config.num_hidden_layers)
    _check_class(inner.rotary_emb, f"{family}RotaryEmbedding")
    types = inner.rotary_emb.rope_type
    _check(set(types.values() if isinstance(types, dict) else [types]) <= _ROPES)
    scaled = type(inner.embed_tokens).__name__ == "Gemma3TextScaledWordEmbedding"
    _check(scaled or type(inner.embed_tokens) is nn.Embedding)
    attention = inner.layers[0].self_attn
    decoder = Decoder(
        embed=inner.embed_tokens,
        layers=tuple(_layer(layer, family, config) for layer in inner.layers),
        norm=_norm(inner.norm, family),
        head=_product(model.lm_head),
        rotary=inner.rotary_emb,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=attention.head_dim,
    )
    rotated = rope_table(decoder, decoder.layers[0].rope, 1).shape[-1]
    _check(rotated == decoder.head_dim)  # some rotate a part of each head only
    return decoder


def _layer(layer: Any, family: str, config: Any) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    for module, part in ((layer, "DecoderLayer"), (attention, "Attention"), (mlp, "MLP")):
        _check_class(module, family + part)
    around = family == "Gemma3"  # norms before and after
    after = layer.post_attention_layernorm
    windowed = family in ("Mistral", "Phi3")  # all layers or none
    whole = family == "Phi3"  # these products are one in the model itself
    return Layer(
        attention_norm=_norm(layer.input_layernorm, family),
        qkv=_product(
            attention.qkv_proj if whole else fused(attention, "q_proj", "k_proj", "v_proj")
        ),
        head_norm=_head_norm(attention, family, config),
        out=_product(attention.o_proj),
        attended_norm=_norm(after, family) if around else None,
        mlp_norm=_norm(layer.pre_feedforward_layernorm if around else after, family),
        gate_up=_product(mlp.gate_up_proj if whole else fused(mlp, "gate_proj", "up_proj")),
        activation=mlp.activation_fn if whole else mlp.act_fn,
        down=_product(mlp.down_proj),
        gated_norm=_norm(layer.post_feedforward_layernorm, family) if around else None,
        scale=float(attention.scaling),
        rope=attention.layer_type if around else None,
        window=(config if windowed else attention).sliding_window if family != "Llama" else None,
    )


def _head_norm(attention: Any, family: str, config: Any) -> Norm | None:
    if family not in ("Qwen3", "Gemma3"):
        return None
    queries, keys = _norm(attention.q_norm, family), _norm(attention.k_norm, family)
    _check(torch.equal(queries.eps, keys.eps))
    counts = (config.num_attention_heads, config.num_key_value_heads)
    weights = [n.weight.expand(c, -1) for n, c in zip((queries, keys), counts, strict=True)]
    return Norm(torch.cat(weights), queries.eps)


def _norm(norm: Any, family: str) -> Norm:
    _check_class(norm, f"{family}RMSNorm")
    gemma = family == "Gemma3"
    weight = norm.weight.detach() + (1.0 if gemma else 0.0)
    eps = norm.eps if gemma else norm.variance_epsilon
    return Norm(weight * weight.numel() ** 0.5, torch.tensor([eps * weight.numel()]))


def _product(linear: Any) -> Packed:
    _check(isinstance(linear, Packed))
    packed: Packed = linear
    return packed


def rope_table(decoder: Decoder, kind: str | None, size: int) -> torch.Tensor:
    """Cosines and signed sines [2, size, 1, rotated]: x * cos + swapped halves of x * sin."""
    options = {} if kind is None else {"layer_type": kind}
    cosine, sine = decoder.rotary(torch.zeros(1), torch.arange(size)[None], **options)
    low, high = sine[0].chunk(2, -1)
    return torch.stack((cosine[0], torch.cat((-low, high), -1)))[:, :, None]


def _check_class(module: nn.Module, name: str) -> None:
    """Exactly transformers' own class of that name, and nobody has tied anything to it."""
    kind = type(module)
    _check(kind.__name__ == name and kind.__module__.startswith("transformers.models."))
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    _check("forward" not in vars(module) and not any(hooks))


def _check(known: bool) -> None:
    if not known:
        raise _Unrecognised

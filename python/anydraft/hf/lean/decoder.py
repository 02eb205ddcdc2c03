"""A forward pass of our own for packed decoders of known families: the same products, little else.

A step of a small model spends a third of its time outside its matrix products: in modules, masks
and temporaries. Here they are one short loop over preallocated caches.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from anydraft.hf.lean.families import Decoder, Layer, Norm, recognise, rope_table
from anydraft.hf.lean.flat_cache import FlatCache
from anydraft.hf.slots import Part, Slots, additive
from anydraft.hf.stock import StockDecoder

_ROPE_BLOCK = 1024  # positions
_ROUNDING = 1e-4  # of the largest logit; real models of 0.1 to 1.5 billion weights: 2e-6 to 6e-6
_COARSE_ROUNDING = 0.1  # inputs in bfloat16: 0.008 and 0.04
_Rope = tuple[torch.Tensor, torch.Tensor]  # cosines and signed sines [new, 1, head_dim]


@dataclass(frozen=True)
class _Sight:
    """What the queries of one kind of layer see: slots from `first` on, through a mask."""

    first: int
    mask: torch.Tensor | None  # [1, 1, new, slots - first], to add
    causal: bool


class _Stretch:
    """The rows [start, end) of a forward pass that are one request's, and its cache."""

    def __init__(self, part: Part, start: int, windows: set[int | None]) -> None:
        self.start, self.end = start, start + len(part.tokens)
        self.sights = {w: _sight(part.slots, part.positions, part.parents, w) for w in windows}
        self.views = part.cache.extend(len(part.slots), len(part.tokens))

    def attend(self, qkv: torch.Tensor, attended: torch.Tensor, index: int, layer: Layer) -> None:
        """qkv [rows, heads, head_dim] of layer `index` -> attended [rows, query heads, head_dim]
        and the cache."""
        heads = attended.shape[1]
        fresh, keys, values = (view[index] for view in self.views)
        own = qkv[self.start : self.end]
        fresh.copy_(own[:, heads:])
        seen = _attend(own[:, :heads], keys, values, self.sights[layer.window], layer)
        attended[self.start : self.end].copy_(seen)


class LeanDecoder(nn.Module):
    """Runs a Decoder for several requests at once; a module so that hooks can watch it.

    All products are of all requests' rows; each request attends to its own cache. oneDNN gives a
    row the same bits whatever rows stand beside it, so a request's logits are those of a pass of
    its own (tests/python/test_lean.py).
    """

    # Tokens that several requests may have in one pass: a prompt of more gains nothing by company.
    together = 512

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self._least_rows = decoder.least_rows()
        self._ropes: dict[str | None, torch.Tensor] = {}

    def new_cache(self) -> FlatCache:
        """An empty cache for one request."""
        decoder = self.decoder
        return FlatCache(len(decoder.layers), 2 * decoder.kv_heads, decoder.head_dim)

    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        """-> float32 logits [sum of rows, vocab]. In inference mode only."""
        decoder = self.decoder
        tokens = [token for part in parts for token in part.tokens]
        positions = [position for part in parts for position in part.positions]
        new = len(tokens)
        # oneDNN needs longer for very few rows than for some: zeros are put behind them.
        padding = [0] * (self._least_rows - new)
        x = decoder.embed(torch.tensor([*tokens, *padding]))
        ropes = {kind: self._rope(kind, positions) for kind in {y.rope for y in decoder.layers}}
        stretches = self._stretches(parts)
        attended = x.new_zeros(x.shape[0], decoder.heads, decoder.head_dim)
        for index, layer in enumerate(decoder.layers):
            qkv = layer.qkv.product(_normed(x, layer.attention_norm))
            qkv = qkv.view(x.shape[0], -1, decoder.head_dim)[:new]
            self._rotate(qkv, layer, ropes[layer.rope])
            for stretch in stretches:
                stretch.attend(qkv, attended, index, layer)
            _add(x, layer.out.product(attended.flatten(1)), layer.attended_norm)
            gate, up = layer.gate_up.product(_normed(x, layer.mlp_norm)).chunk(2, -1)
            _add(x, layer.down.product(layer.activation(gate).mul_(up)), layer.gated_norm)
        ends = [(stretch.end, part.rows) for stretch, part in zip(stretches, parts, strict=True)]
        return self._logits(x, [row for end, rows in ends for row in range(end - rows, end)])

    def _stretches(self, parts: Sequence[Part]) -> list[_Stretch]:
        windows = {layer.window for layer in self.decoder.layers}
        stretches, start = list[_Stretch](), 0
        for part in parts:
            stretches.append(_Stretch(part, start, windows))
            start = stretches[-1].end
        return stretches

    def _rotate(self, qkv: torch.Tensor, layer: Layer, rope: _Rope) -> None:
        """Norms and rotates queries and keys of qkv [new, heads, head_dim] in place."""
        decoder = self.decoder
        qk = qkv[:, : decoder.heads + decoder.kv_heads]
        if layer.head_norm is not None:
            qk.copy_(_normed(qk, layer.head_norm))
        swapped = torch.roll(qk, decoder.head_dim // 2, -1)
        qk.mul_(rope[0]).addcmul_(swapped, rope[1])

    def _logits(self, x: torch.Tensor, wanted: list[int]) -> torch.Tensor:
        padding = [0] * (self._least_rows - len(wanted))
        chosen = x[torch.tensor([*wanted, *padding])]
        return self.decoder.head.product(_normed(chosen, self.decoder.norm))[: len(wanted)]

    def _rope(self, kind: str | None, positions: Sequence[int]) -> _Rope:
        table, last = self._ropes.get(kind), max(positions)
        if table is None or last >= table.shape[1]:
            size = (last // _ROPE_BLOCK + 1) * _ROPE_BLOCK
            table = self._ropes[kind] = rope_table(self.decoder, kind, size)
        cosine, sine = table[:, torch.tensor(positions)]
        return cosine, sine


def lean_decoder(model: Any) -> LeanDecoder | None:
    """The lean forward pass of a packed transformers model, None where it must keep its own.

    Warns where the model looks like one that is known, and yet its own forward pass differs.
    """
    with torch.inference_mode():
        decoder = recognise(model)
        if decoder is None:
            return None
        lean = LeanDecoder(decoder)
        error = _difference(lean, StockDecoder(model))
    if error <= (_COARSE_ROUNDING if decoder.is_coarse() else _ROUNDING):
        return lean
    warnings.warn(
        f"[hf.load] the lean forward pass differs from transformers' own by {error:.2g} of the "
        f"logits' size in {type(model).__name__}: transformers' own is used",
        RuntimeWarning,
        stacklevel=3,
    )
    return None


def _difference(lean: LeanDecoder, stock: StockDecoder) -> float:
    """How far the logits of a few tokens are apart, relative to their size."""
    vocab, errors = lean.decoder.embed.num_embeddings, []
    decoders: tuple[Any, Any] = (lean, stock)
    runs = [(decoder, Slots(), decoder.new_cache()) for decoder in decoders]
    for start, end in ((0, 7), (7, 12), (12, 13)):  # without a cache, behind it, one token
        positions, parents = range(start, end), range(-1, end - start - 1)
        tokens = [(3 * position + 5) % vocab for position in positions]
        logits = []
        for decoder, slots, cache in runs:
            part = Part(tokens, positions, parents, len(tokens), slots, cache)
            logits.append(decoder([part]))
            slots.add(positions, parents)
        errors.append((logits[0] - logits[1]).abs().max() / logits[1].abs().max())
    return float(torch.stack(errors).max())  # NaN if one of them is


def _sight(
    slots: Slots, positions: Sequence[int], parents: Sequence[int], window: int | None
) -> _Sight:
    held, new = len(slots), len(positions)
    everything = window is None or max(positions) < window
    if slots.follows(positions, parents):
        if new == 1:
            return _Sight(0 if everything else held + 1 - cast(int, window), None, False)
        if held == 0 and everything:
            return _Sight(0, None, True)
    visible = slots.visible(positions, parents)
    if not everything:
        visible &= slots.distances(positions) < cast(int, window)
    return _Sight(0, additive(visible, torch.float32), False)


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sight: _Sight, layer: Layer
) -> torch.Tensor:
    """queries [new, heads, head_dim], keys and values [1, kv_heads, slots, head_dim]
    -> [new, heads, head_dim]."""
    if sight.first:
        keys, values = keys[:, :, sight.first :], values[:, :, sight.first :]
    attended: torch.Tensor = nn.functional.scaled_dot_product_attention(
        queries.transpose(0, 1)[None],
        keys,
        values,
        sight.mask,
        is_causal=sight.causal,
        scale=layer.scale,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


def _normed(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    """x [.., size] -> the same shape."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.mul(x, torch.addcmul(norm.eps, length, length).rsqrt_()).mul_(norm.weight)


def _add(x: torch.Tensor, change: torch.Tensor, norm: Norm | None) -> None:
    x.add_(change if norm is None else _normed(change, norm))

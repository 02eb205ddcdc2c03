"""Several requests in one forward pass: tokens padded to the longest feed, caches to the longest.

Each request keeps a cache of its own. A layer writes a request's new keys and values into its
cache and hands the model all caches side by side; one mask, made once for a pass on the model's
device, says what each token sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from anydraft.hf.kv_cache import RequestCache
from anydraft.hf.slots import Part


class _SideBySide(DynamicLayer):  # type: ignore[misc, unused-ignore]
    """One layer of several requests' caches."""

    def __init__(self, layers: Sequence[Any], new: Sequence[int], end: int) -> None:
        """layers: one a request; new: its new tokens; end: slots of the longest, new ones in."""
        super().__init__()
        self._layers, self._new, self._end = layers, new, end

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """states [requests, heads, most new, head_dim] -> all [requests, heads, end, head_dim]."""
        keys = key_states.new_zeros(*key_states.shape[:2], self._end, key_states.shape[3])
        values = value_states.new_zeros(*value_states.shape[:2], self._end, value_states.shape[3])
        for i, (layer, new) in enumerate(zip(self._layers, self._new, strict=True)):
            own = layer.update(key_states[i : i + 1, :, :new], value_states[i : i + 1, :, :new])
            keys[i, :, : own[0].shape[2]] = own[0][0]
            values[i, :, : own[1].shape[2]] = own[1][0]
        return keys, values

    def get_seq_length(self) -> int:
        """Slots before the new ones, of the longest request."""
        return self._end - max(self._new)


class _Together(Cache):  # type: ignore[misc, unused-ignore]
    """The caches of several requests as one, for one pass."""

    def __init__(self, caches: Sequence[RequestCache], new: Sequence[int], end: int) -> None:
        self._caches, self._shape = caches, (new, end)
        super().__init__(layers=[])

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `_SideBySide.update`, of layer `layer_idx`."""
        for cache in self._caches:
            while len(cache.layers) <= layer_idx:
                cache.layers.append(cache.layer_class_to_replicate())
        layers = [cache.layers[layer_idx] for cache in self._caches]
        return _SideBySide(layers, *self._shape).update(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots before the new ones, of the longest request."""
        new, end = self._shape
        return end - max(new)


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """[rows, longest], zeros behind the shorter ones."""
    most = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (most - len(row))] for row in rows], device=device)


def masks_together(masks: Sequence[torch.Tensor], end: int, new: int = 0) -> torch.Tensor:
    """Additive masks [1, 1, new, held + new] of each request -> [requests, 1, new, end]; new: at
    least the most of them."""
    most = max(new, *(mask.shape[2] for mask in masks))
    hidden = torch.finfo(masks[0].dtype).min
    out = masks[0].new_full((len(masks), 1, most, end), hidden)
    for i, mask in enumerate(masks):
        out[i, :, : mask.shape[2], : mask.shape[3]] = mask[0]
    return out


def cache_of(parts: Sequence[Part]) -> tuple[Any, int]:
    """(the caches of these parts as one, slots of the longest with its new tokens)."""
    new = [len(part.tokens) for part in parts]
    end = max(len(part.slots) + n for part, n in zip(parts, new, strict=True))
    return _Together([part.cache for part in parts], new, end), end

"""The key/value cache of one request, made to be cut back: speculation rejects tokens every round.

Every layer keeps full length, those of sliding-window models too. transformers' sliding layers drop
old entries, so they cannot be cut back exactly; with full layers its mask (made from the cache's
length) hides what lies outside the window, and a cut is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_BLOCK = 256  # slots; growing copies the layer, so it happens rarely


class _GrowingLayer(DynamicLayer):  # type: ignore[misc, unused-ignore]
    """Keys and values, views of buffers [1, heads, capacity, head_dim]; `update` writes in place.

    Invariant: keys is _key_buffer[:, :, :n] and values is _value_buffer[:, :, :n], n slots kept.
    """

    _key_buffer: torch.Tensor
    _value_buffer: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends states [1, heads, new, head_dim]; returns all [.., kept + new, ..]."""
        start = self.keys.shape[-2] if self.is_initialized else 0
        end = start + key_states.shape[-2]
        if not self.is_initialized or end > self._key_buffer.shape[-2]:
            self._grow(key_states, value_states, start, end)
        self._key_buffer[:, :, start:end] = key_states
        self._value_buffer[:, :, start:end] = value_states
        self.keep(end)
        return self.keys, self.values

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Keeps the first slots, and behind them those in `moved`."""
        end = first + len(moved)
        if moved:
            source = torch.tensor(moved, device=self._key_buffer.device)
            for buffer in (self._key_buffer, self._value_buffer):
                buffer[:, :, first:end] = buffer.index_select(2, source)
        self.keys = self._key_buffer[:, :, :end]
        self.values = self._value_buffer[:, :, :end]

    def _grow(self, keys: torch.Tensor, values: torch.Tensor, start: int, end: int) -> None:
        size = capacity(start, end)
        buffers = []
        for new, old in ((keys, self.keys), (values, self.values)):
            buffer = new.new_empty((*new.shape[:2], size, new.shape[-1]))
            if start:
                buffer[:, :, :start] = old
            buffers.append(buffer)
        self._key_buffer, self._value_buffer = buffers
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True


class RequestCache(Cache):  # type: ignore[misc, unused-ignore]
    """The cache of one request; transformers' models take it as `past_key_values`."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_GrowingLayer)

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Keeps the first slots of every layer, and behind them those in `moved`."""
        # A forward pass that failed half way leaves layers uneven; this cuts all to one length.
        for layer in self.layers:
            if layer.is_initialized:  # not so where memory ran out in the first forward pass
                layer.keep(first, moved)


def capacity(held: int, end: int) -> int:
    """Slots to reserve where `held` are in use and `end` are wanted."""
    # Half as much again: the copies of a long generation stay linear in its length.
    return -(-max(end, held + held // 2) // _BLOCK) * _BLOCK

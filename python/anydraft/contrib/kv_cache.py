"""Key/value caches of one request, made to be cut back: speculation rejects tokens every round.

`RequestCache` serves transformers' models, `FlatCache` the lean forward pass. Every layer keeps
full length, those of sliding-window models too. transformers' sliding layers drop old entries, so
they cannot be cut back exactly; with full layers its mask (made from the cache's length) hides what
lies outside the window, and a cut is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_BLOCK = 256  # slots; growing copies the layer, so it happens rarely
_Views = tuple[torch.Tensor, ...]  # one for each layer


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
        capacity = _capacity(start, end)
        buffers = []
        for new, old in ((keys, self.keys), (values, self.values)):
            buffer = new.new_empty((*new.shape[:2], capacity, new.shape[-1]))
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


class FlatCache:
    """Keys and values of all layers in one buffer; who calls knows how many slots are in use."""

    def __init__(self, layers: int, heads: int, head_dim: int) -> None:
        """heads: those of keys and those of values together."""
        self._buffer = torch.empty(layers, 0, heads, head_dim)

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Puts the slots in `moved` behind the first ones."""
        if moved:
            kept = self._buffer.index_select(1, torch.tensor(moved))
            self._buffer[:, first : first + len(moved)] = kept

    def extend(self, held: int, new: int) -> tuple[_Views, _Views, _Views]:
        """Views for each layer, on a cache of `held` slots and remaining for `new` more.

        Returns what to write to [new, heads, head_dim], keys first, and then all keys and all
        values [1, heads / 2, held + new, head_dim].
        """
        end = held + new
        if end > self._buffer.shape[1]:
            layers, _, heads, width = self._buffer.shape
            buffer = self._buffer.new_empty(layers, _capacity(held, end), heads, width)
            buffer[:, :held] = self._buffer[:, :held]
            self._buffer = buffer
        keys, values = self._buffer[:, None, :end].transpose(2, 3).chunk(2, 2)
        return self._buffer[:, held:end].unbind(), keys.unbind(), values.unbind()


def _capacity(held: int, end: int) -> int:
    # Half as much again: the copies of a long generation stay linear in its length.
    return -(-max(end, held + held // 2) // _BLOCK) * _BLOCK
